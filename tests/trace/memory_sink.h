#pragma once

#include <cerrno>
#include <cstring>
#include <string>

#include "base/mutex.h"
#include "link/trace/trace_file.h"

namespace dxg::trace {

// A file whose disk can be full, or stand still.
class MemoryFile {
 public:
  std::string bytes() {
    MutexLock lock(mutex_);
    return bytes_;
  }
  void set_bytes_max(size_t bytes) {
    MutexLock lock(mutex_);
    bytes_max_ = bytes;
  }
  void set_blocked(bool blocked) {
    MutexLock lock(mutex_);
    blocked_ = blocked;
    changed_.NotifyAll();
  }
  // Until somebody wants to write, and does not get to it.
  void WaitForWriter() {
    MutexLock lock(mutex_);
    while (!waiting_) changed_.Wait(mutex_);
  }
  // Until that many appends were refused.
  void WaitForRefusals(int refusals) {
    MutexLock lock(mutex_);
    while (refused_ < refusals) changed_.Wait(mutex_);
  }

  Status Append(std::span<const std::byte> bytes) {
    MutexLock lock(mutex_);
    while (blocked_) {
      waiting_ = true;
      changed_.NotifyAll();
      changed_.Wait(mutex_);
    }
    waiting_ = false;
    if (bytes_.size() + bytes.size() > bytes_max_) {
      ++refused_;
      changed_.NotifyAll();
      return Status::Refuse(ENOSPC, "the memory file: it is full");
    }
    bytes_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());  // Safety: bytes
    return Status::Ok();
  }
  Status Overwrite(uint64_t offset, std::span<const std::byte> bytes) {
    MutexLock lock(mutex_);
    std::memcpy(bytes_.data() + offset, bytes.data(), bytes.size());
    return Status::Ok();
  }

 private:
  Mutex mutex_;
  ConditionVariable changed_;
  std::string bytes_ DXG_GUARDED_BY(mutex_);
  size_t bytes_max_ DXG_GUARDED_BY(mutex_) = SIZE_MAX;
  int refused_ DXG_GUARDED_BY(mutex_) = 0;
  bool blocked_ DXG_GUARDED_BY(mutex_) = false;
  bool waiting_ DXG_GUARDED_BY(mutex_) = false;
};

// It outlives its sinks.
class MemorySink final : public Sink {
 public:
  explicit MemorySink(MemoryFile& file) : file_(file) {}
  Status Append(std::span<const std::byte> bytes) override { return file_.Append(bytes); }
  Status Overwrite(uint64_t offset, std::span<const std::byte> bytes) override {
    return file_.Overwrite(offset, bytes);
  }

 private:
  MemoryFile& file_;
};

}  // namespace dxg::trace
