#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "hostsim/memory/memory_budget.h"
#include "hostsim/memory/paging_engine.h"
#include "hostsim/memory/video_memory.h"
#include "link/backend.h"
#include "proto/dxg/profile.pb.h"

namespace dxg::hostsim {

class Engines;
class Machine;

// Every adapter here is one GPU, not a chain of linked ones: the only physical adapter index is 0.
inline constexpr uint32_t kPhysicalAdapters = 1;
// Physical adapters that a context or a GPU address is for: 0, or a mask of those that there are.
inline constexpr uint32_t kEngineAffinityMax = (1u << kPhysicalAdapters) - 1;

// How the guest knows an adapter, and what people call it. The three LUIDs differ: programs see `luid`,
// commands carry that of the vGPU as `address`, statistics ask by host_luid.
struct AdapterInfo : HostAdapter {
  std::string name;         // of the profile
  std::string description;  // what programs show
};

// A simulated GPU: what its profile says, and the little that changes while it runs. Everything but the
// atomics and the memory budget is fixed from the start, so that queries need no lock.
class Adapter {
 public:
  // `profile` has passed ParseProfile or LoadProfile. `machine` outlives what runs on the adapter.
  Adapter(AdapterProfile profile, AdapterInfo info, Machine& machine, uint64_t seed);
  ~Adapter();

  const AdapterProfile& profile() const { return profile_; }
  const AdapterInfo& info() const { return info_; }
  const std::string& guid() const { return guid_; }  // {8-4-4-4-12}, upper case
  const std::vector<Segment>& segments() const { return video_memory_->segments(); }
  uint32_t nodes() const { return static_cast<uint32_t>(profile_.nodes_size()); }
  bool hardware_queues() const { return profile_.hardware_scheduling() == AdapterProfile::ENABLED; }
  bool unified_memory() const { return profile_.memory().dedicated_video_bytes() == 0; }
  // The path, as the guest may see it, of a file in the driver's folder; the folder itself for an empty name.
  std::string DriverStorePath(const std::string& file) const;
  // Answers of the profile that are for one question: the first one for the first time that a process asks.
  struct Turns {
    uint32_t number;  // of the adapter's
    std::vector<const AdapterProfile::Answer*> answers;
  };
  // Those that replace ours for this QueryAdapterInfo type and the caller's data; null: none does.
  const Turns* FindAnswers(uint32_t type, std::string_view data) const;

  MemoryBudget& memory() { return memory_; }
  const MemoryBudget& memory() const { return memory_; }

  // Shared with storages, which may outlive the adapter.
  const std::shared_ptr<VideoMemory>& video_memory() const { return video_memory_; }
  PagingEngine& paging() const { return *paging_; }
  Engines& engines() const { return *engines_; }

  // Whether the next allocation is the one that is to fail.
  bool FailsAllocation() { return ++allocations_ == fail_allocation_.load(std::memory_order_relaxed); }
  // The n-th from now; 0: none.
  void FailAllocation(uint64_t n) { fail_allocation_ = n == 0 ? 0 : allocations_ + n; }

  // A removed adapter answers DEVICE_REMOVED and lets its objects be destroyed.
  bool removed() const { return removed_.load(std::memory_order_acquire); }
  void Remove() { removed_.store(true, std::memory_order_release); }

  std::atomic<uint64_t> clock_ahead_ns{0};  // of the host's clock, in what clock calibrations answer

  uint32_t tdr_count() const { return tdr_count_.load(std::memory_order_relaxed); }
  void CountTdr() { tdr_count_.fetch_add(1, std::memory_order_relaxed); }
  // Of a hang that took the whole adapter. True: there were more of them than the profile bears.
  bool HangsTooOften(uint64_t now_ns);

  static constexpr uint32_t kAnswerTypes = 256;

 private:
  const AdapterProfile profile_;
  const AdapterInfo info_;
  const std::string guid_;
  std::vector<std::vector<Turns>> answers_;  // by type
  MemoryBudget memory_;
  const std::shared_ptr<VideoMemory> video_memory_;
  const std::shared_ptr<PagingEngine> paging_;
  const std::shared_ptr<Engines> engines_;
  std::atomic<uint64_t> allocations_{0};  // ever
  std::atomic<uint64_t> fail_allocation_;
  std::atomic<bool> removed_{false};
  std::atomic<uint32_t> tdr_count_{0};
  Mutex hangs_mutex_;
  std::deque<uint64_t> hangs_ns_ DXG_GUARDED_BY(hangs_mutex_);  // when, of the last ones
};

}  // namespace dxg::hostsim
