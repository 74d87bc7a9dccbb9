#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "proto/contract/contract.h"
#include "proto/dxg/control.pb.h"

namespace dxg::guest {

// What the calls of one process come to. Each call raises counters of its own process, under no lock.
class Activity {
 public:
  void Begins(const contract::CallRow& row) { OfRow(row).begun.fetch_add(1, std::memory_order_relaxed); }
  // One that has begun.
  void Ends(const contract::CallRow& row, bool refused) {
    OfCall& call = OfRow(row);
    if (refused) call.refused.fetch_add(1, std::memory_order_relaxed);
    call.ended.fetch_add(1, std::memory_order_relaxed);
  }
  // One that no handler saw. `row` is null where the code is of no call.
  void Refused(const contract::CallRow* row) {
    if (row == nullptr) {
      unknown_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    Begins(*row);
    Ends(*row, true);
  }

  // `by_name`: with each call's counts.
  void AddTo(ControlReply::Live::GuestProcess* process, bool by_name) const;

 private:
  static constexpr size_t kCalls = 80;  // more than there are numbers of calls (0x49)
  struct OfCall {
    std::atomic<uint64_t> begun{0}, ended{0}, refused{0};
  };
  OfCall& OfRow(const contract::CallRow& row) { return calls_[row.nr % kCalls]; }

  std::array<OfCall, kCalls> calls_;
  std::atomic<uint64_t> unknown_{0};
};

}  // namespace dxg::guest
