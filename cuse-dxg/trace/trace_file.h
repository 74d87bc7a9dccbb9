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
};

// A file, which is made or truncated.
class FileSink final : public Sink {
 public:
  static Result<std::unique_ptr<Sink>> Create(const std::string& path);
  Status Append(std::span<const std::byte> bytes) override;
  Status Overwrite(uint64_t offset, std::span<const std::byte> bytes) override;

 private:
  FileSink(UniqueFd file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}

  const UniqueFd file_;
  const std::string path_;
  uint64_t size_ = 0;
};

}  // namespace dxg::trace
