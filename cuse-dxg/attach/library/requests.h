#pragma once

#include <array>
#include <memory>
#include <span>

#include "cuse-dxg/attach/library/session.h"

namespace dxg::attach::library {

// An open(2) as the library says it.
class LibraryOpen final : public OpenRequest {
 public:
  LibraryOpen(LibrarySession& session, std::shared_ptr<Channel> channel, std::shared_ptr<Pending> call)
      : session_(session),
        channel_(std::move(channel)),
        call_(std::move(call)),
        caller_(channel_->caller()) {}
  ~LibraryOpen() override;

  const Caller& caller() const override { return caller_; }
  void Accept(uint64_t file) override;
  void Refuse(int error) override;

 private:
  LibrarySession& session_;
  const std::shared_ptr<Channel> channel_;
  std::shared_ptr<Pending> call_;  // null once answered
  const Caller caller_;
};

// The open of a shared object's file, which the client does not ask for itself.
class ObjectOpen final : public OpenRequest {
 public:
  ObjectOpen(Caller caller, Result<uint64_t>* file) : caller_(caller), file_(file) {}
  const Caller& caller() const override { return caller_; }
  void Accept(uint64_t file) override { *file_ = file; }
  void Refuse(int error) override { *file_ = Status::Refuse(error, "the object's file cannot be opened"); }

 private:
  const Caller caller_;
  Result<uint64_t>* const file_;  // the node answers such an open at once
};

// An ioctl(2) as the library says it.
class LibraryCall final : public IoctlRequest {
 public:
  LibraryCall(LibrarySession& session, std::shared_ptr<Channel> channel, LibrarySession::FilePtr file,
              std::shared_ptr<Pending> call, bool carries_struct, std::span<const std::byte> in);
  ~LibraryCall() override;

  const Caller& caller() const override { return caller_; }
  uint64_t file() const override { return file_->file; }
  uint32_t code() const override { return call_->code; }
  uint64_t argument() const override { return call_->argument; }
  std::span<const std::byte> in() const override {
    return {large_in_ ? large_in_.get() : small_in_.data(), in_bytes_};
  }
  bool kernel_copies_out() const override { return carries_struct_; }
  void Answer(int32_t result, std::span<const std::byte> out) override;
  void OnInterrupt(std::function<void()> interrupted) override;
  void OnKilled(std::function<bool()> killed) override;

 private:
  static constexpr size_t kInlineBytes = 256;  // as of FUSE's requests

  LibrarySession& session_;
  const std::shared_ptr<Channel> channel_;
  const LibrarySession::FilePtr file_;
  const std::shared_ptr<Pending> call_;
  const Caller caller_;
  const bool carries_struct_;
  bool answered_ = false;
  uint32_t in_bytes_;
  std::unique_ptr<std::byte[]> large_in_;
  std::array<std::byte, kInlineBytes> small_in_;  // not cleared: in() shows only what was copied
};

// Who sleeps on a file's descriptor until it is ready.
class FileWaiter final : public PollWaiter {
 public:
  FileWaiter(LibrarySession& session, uint64_t number) : session_(session), number_(number) {}
  void Wake() override;

 private:
  LibrarySession& session_;
  const uint64_t number_;
};

}  // namespace dxg::attach::library
