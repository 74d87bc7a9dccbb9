#pragma once

#include <atomic>
#include <cstdint>

namespace dxg::hostsim {

// What all processes of one user of the guest may have together, where one process's limit is so high that a
// user with many processes would take the whole host's memory. Safe for any number of threads.
class UserBound {
 public:
  explicit UserBound(uint64_t max) : max_(max) {}
  // False: that would be more than the limit, and nothing is taken.
  [[nodiscard]] bool Take(uint64_t amount) {
    uint64_t before = used_;
    do {
      if (before > max_ || amount > max_ - before) return false;
    } while (!used_.compare_exchange_weak(before, before + amount));
    return true;
  }
  // In two steps, for who cannot know beforehand how much it is going to be: threads that ask at once may
  // take more than the limit.
  bool HasRoom(uint64_t amount) const {
    const uint64_t used = used_;
    return used <= max_ && amount <= max_ - used;
  }
  void Add(uint64_t amount) { used_ += amount; }
  void Give(uint64_t amount) { used_ -= amount; }
  uint64_t used() const { return used_; }

 private:
  const uint64_t max_;
  std::atomic<uint64_t> used_{0};
};

struct UserLimits {
  uint64_t packets = 1ull << 21;       // queued and not begun: commands, waits and signals of a GPU
  uint64_t va_parts = 1ull << 21;      // ranges of GPU addresses and their pieces (GpuVa)
  uint64_t state_bytes = 64ull << 20;  // that commands left in queues (StreamerState)
};

struct UserBudget {
  explicit UserBudget(const UserLimits& limits)
      : packets(limits.packets), va_parts(limits.va_parts), state_bytes(limits.state_bytes) {}
  UserBound packets, va_parts, state_bytes;
};

}  // namespace dxg::hostsim
