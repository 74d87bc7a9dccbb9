#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace dxg::guest {

// Resources that the daemon and its host hold for clients, and that are charged to the process and its user.
enum class Charged : uint8_t {
  kObjects,      // live handles
  kDescriptors,  // open files of ours: a process's memory file, and one of each shared allocation
  kBytes,        // of allocations, as they were asked for; a page costs memory when it is touched
  kPrivateData,  // bytes of private data of allocations and resources, as often as they are kept
  kPageLists,    // allocations of existing memory; a host in another process has 4,096 for all clients
  kWaitPoints,   // objects that pending waits of the CPU wait for
};
inline constexpr size_t kChargedKinds = 6;

struct Limits {
  static constexpr uint64_t kNone = ~0ull;
  uint64_t objects = kNone, descriptors = kNone, bytes = kNone, private_data = kNone, page_lists = kNone,
           wait_points = kNone;
  uint64_t of(Charged kind) const {
    switch (kind) {
      case Charged::kObjects:
        return objects;
      case Charged::kDescriptors:
        return descriptors;
      case Charged::kBytes:
        return bytes;
      case Charged::kPrivateData:
        return private_data;
      case Charged::kPageLists:
        return page_lists;
      case Charged::kWaitPoints:
        return wait_points;
    }
    return 0;
  }
};

// docs/security.md has them as a table.
inline constexpr Limits kProcessLimits = {.objects = 1ull << 20,
                                          .descriptors = 1ull << 12,
                                          .bytes = 1ull << 42,
                                          .private_data = 1ull << 28,
                                          .page_lists = 2048,
                                          .wait_points = 1ull << 20};
inline constexpr Limits kUserLimits = {.objects = 1ull << 22,
                                       .descriptors = 1ull << 14,
                                       .bytes = 1ull << 44,
                                       .private_data = 1ull << 30,
                                       .page_lists = 3072,
                                       .wait_points = 1ull << 21};

// What one process has, or with all its processes one user. Safe for any number of threads.
class Account {
 public:
  // `of`: the account that all this has is charged to as well.
  explicit Account(const Limits& limits, std::shared_ptr<Account> of = nullptr)
      : limits_(limits), of_(std::move(of)) {}
  Account(const Account&) = delete;
  Account& operator=(const Account&) = delete;

  // False: that would be more than one of the limits, and nothing is charged.
  [[nodiscard]] bool Take(Charged kind, uint64_t amount) {
    std::atomic<uint64_t>& used = used_[static_cast<size_t>(kind)];
    const uint64_t limit = limits_.of(kind);
    uint64_t before = used;
    do {
      if (before > limit || amount > limit - before) return false;
    } while (!used.compare_exchange_weak(before, before + amount));
    if (of_ == nullptr || of_->Take(kind, amount)) return true;
    used -= amount;
    return false;
  }
  void Give(Charged kind, uint64_t amount) {
    used_[static_cast<size_t>(kind)] -= amount;
    if (of_ != nullptr) of_->Give(kind, amount);
  }
  uint64_t used(Charged kind) const { return used_[static_cast<size_t>(kind)]; }

 private:
  const Limits limits_;
  const std::shared_ptr<Account> of_;
  std::array<std::atomic<uint64_t>, kChargedKinds> used_{};
};

// Something that was charged, for as long as it is there.
class Charge {
 public:
  Charge() = default;
  // An empty one where there is no room for that much.
  Charge(std::shared_ptr<Account> account, Charged kind, uint64_t amount) : kind_(kind), amount_(amount) {
    if (account->Take(kind, amount)) account_ = std::move(account);
  }
  Charge(Charge&& other) noexcept
      : account_(std::exchange(other.account_, nullptr)), kind_(other.kind_), amount_(other.amount_) {}
  Charge& operator=(Charge&& other) noexcept {
    std::swap(account_, other.account_);
    std::swap(kind_, other.kind_);
    std::swap(amount_, other.amount_);
    return *this;
  }
  ~Charge() {
    if (account_ != nullptr) account_->Give(kind_, amount_);
  }
  explicit operator bool() const { return account_ != nullptr; }

 private:
  std::shared_ptr<Account> account_;
  Charged kind_ = Charged::kObjects;
  uint64_t amount_ = 0;
};

}  // namespace dxg::guest
