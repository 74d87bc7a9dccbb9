#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "base/circle.h"

namespace dxg::attach {

// Requests that have been read and wait to be served, as the kernel wrote them. Users have turns; in a user's
// turn his processes have turns; the requests of a process keep their order. So whoever asks much at once
// waits for himself, and nobody else for more than one request of each user. Not safe for several threads.
class InTurn {
 public:
  // More than this stays with the kernel, which gives it in the order in which it came.
  static constexpr size_t kMax = 1u << 12, kBytesMax = 8u << 20;
  using Request = std::vector<std::byte>;

  bool empty() const { return size_ == 0; }
  bool full() const { return size_ >= kMax || bytes_ >= kBytesMax; }
  // `process` is any number that tells processes apart. False: there is no memory to keep it.
  [[nodiscard]] bool Add(uid_t user, uint64_t process, std::span<const std::byte> request);
  // Takes out the next one. Not if there is none. Takes no memory.
  Request Take();

 private:
  Circle<uid_t, Circle<uint64_t, std::deque<Request>>> users_;
  size_t size_ = 0, bytes_ = 0;
};

}  // namespace dxg::attach
