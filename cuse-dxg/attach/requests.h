#pragma once

#include <array>
#include <memory>
#include <span>

#include "cuse-dxg/attach/interrupts.h"
#include "cuse-dxg/attach/node.h"

struct fuse_req;
struct fuse_pollhandle;

namespace dxg::attach {

class Session;

// An open(2) as libfuse hands it over.
class FuseOpenRequest final : public OpenRequest {
 public:
  FuseOpenRequest(Session& session, fuse_req* request, Caller caller)
      : session_(session), request_(request), caller_(caller) {}
  ~FuseOpenRequest() override;

  const Caller& caller() const override { return caller_; }
  void Accept(uint64_t file) override;
  void Refuse(int error) override;

 private:
  Session& session_;
  fuse_req* request_;  // null once answered
  Caller caller_;
};

// An ioctl(2) as libfuse hands it over. One block of memory with its struct inside: this is the path of every
// call.
class FuseIoctlRequest final : public IoctlRequest {
 public:
  // What the kernel says of the call beside who makes it.
  struct Call {
    uint64_t file = 0;
    uint32_t code = 0;
    uint64_t argument = 0;
    bool kernel_copies = false;     // restricted: the struct came along, the answer is copied for us
    std::span<const std::byte> in;  // in the worker's read buffer, so only valid now
    size_t out_bytes_max = 0;
  };

  FuseIoctlRequest(Session& session, fuse_req* request, Caller caller, const Call& call);
  ~FuseIoctlRequest() override;

  const Caller& caller() const override { return caller_; }
  uint64_t file() const override { return file_; }
  uint32_t code() const override { return code_; }
  uint64_t argument() const override { return argument_; }
  std::span<const std::byte> in() const override { return {in_data(), in_bytes_}; }
  bool kernel_copies_out() const override { return kernel_copies_; }
  void Answer(int32_t result, std::span<const std::byte> out) override;
  void OnInterrupt(std::function<void()> interrupted) override;
  void OnKilled(std::function<bool()> killed) override;

 private:
  // The largest struct of the published calls is below this; a code made up by a client may name up to 16
  // KiB.
  static constexpr size_t kInlineBytes = 256;

  void Want(Interrupts::Wanted wanted);
  const std::byte* in_data() const { return large_in_ ? large_in_.get() : small_in_.data(); }

  Session& session_;
  fuse_req* request_;  // null once answered
  Caller caller_;
  uint64_t file_;
  uint64_t argument_;
  uint32_t code_;
  bool kernel_copies_;
  uint32_t in_bytes_;
  uint32_t out_bytes_max_;
  uint64_t interrupt_ticket_ = 0;
  std::unique_ptr<std::byte[]> large_in_;
  std::array<std::byte, kInlineBytes> small_in_;  // not cleared: in() shows only what was copied
};

// Clients that sleep in poll(2) on one file, as libfuse names them.
class FusePollWaiter final : public PollWaiter {
 public:
  explicit FusePollWaiter(fuse_pollhandle* handle) : handle_(handle) {}
  ~FusePollWaiter() override;
  void Wake() override;

 private:
  fuse_pollhandle* const handle_;
};

}  // namespace dxg::attach
