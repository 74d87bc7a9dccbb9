#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/mutex.h"

namespace dxg::trace {

// Copies from the client of a thread. False: not all of it is there.
using ReadClient = std::function<bool(pid_t tid, uint64_t address, std::span<std::byte> to)>;

// Copies memory of clients that may never answer (docs/security.md), for those who cannot wait for it: a
// thread of its own copies. If that does not come back in time, the copy is given up, that thread is left
// where it is, and the next copy has another thread; kLeftMax of them, and then nothing is copied until one
// comes back.
class MemoryReader {
 public:
  static constexpr int kLeftMax = 8;
  static constexpr std::chrono::milliseconds kPatience{20};

  explicit MemoryReader(ReadClient read, std::chrono::milliseconds patience = kPatience);
  // Threads that are left stay until their memory answers, or the process ends.
  ~MemoryReader();

  // `bytes` says how many. False: they are not there, or do not come.
  bool Read(pid_t tid, uint64_t address, size_t bytes, std::string* to) DXG_EXCLUDES(mutex_);

 private:
  struct Worker;
  struct Left;  // how many are left

  bool HasWorker() DXG_REQUIRES(mutex_);
  static void Work(const std::shared_ptr<Worker>& worker, const ReadClient& read,
                   const std::shared_ptr<Left>& left);

  const ReadClient read_;
  const std::chrono::milliseconds patience_;
  const std::shared_ptr<Left> left_;
  Mutex mutex_;  // one copy at a time
  std::shared_ptr<Worker> worker_ DXG_GUARDED_BY(mutex_);
};

}  // namespace dxg::trace
