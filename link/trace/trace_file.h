#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/status.h"
#include "base/unique_fd.h"

namespace dxg::trace {

// Where a recording goes. Used by one thread.
class Sink {
 public:
  virtual ~Sink() = default;
  // At the end, all or nothing: what is only half there is taken back.
  virtual Status Append(std::span<const std::byte> bytes) = 0;
  // Of what is there.
  virtual Status Overwrite(uint64_t offset, std::span<const std::byte> bytes) = 0;
  // Whether others can see that it is still written (TraceHeader.locked).
  virtual bool locked() const { return false; }
  // For messages.
  virtual const char* name() const { return "the recording"; }
};

// Whether somebody who writes that file has it locked. False also where nobody can tell.
bool IsLocked(int file);

// Whether the two paths lead to one file; false where one of them leads nowhere.
bool IsSameFile(const std::string& a, const std::string& b);

// A file for what a recording holds, made or emptied, that only its owner may read. Refused: with the errno
// of the system call; EINVAL, it is no regular file; EPERM, it is not ours alone. `option` is what messages
// begin with.
Result<UniqueFd> OpenPrivate(const std::string& path, const char* option);

// A file, which is made or truncated. Append refuses with EFBIG what would make it larger than `bytes_max`.
class FileSink final : public Sink {
 public:
  // Refused: as OpenPrivate.
  static Result<std::unique_ptr<Sink>> Create(const std::string& path, uint64_t bytes_max = ~0ull,
                                              const char* option = "--record");
  Status Append(std::span<const std::byte> bytes) override;
  Status Overwrite(uint64_t offset, std::span<const std::byte> bytes) override;
  bool locked() const override { return locked_; }

 private:
  FileSink(UniqueFd file, std::string path, uint64_t bytes_max);

  const UniqueFd file_;
  const std::string path_;
  const uint64_t bytes_max_;
  const bool locked_;
  uint64_t size_ = 0;
};

}  // namespace dxg::trace
