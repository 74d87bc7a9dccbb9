#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>

#include "base/mutex.h"
#include "cuse-dxg/guest/observer.h"
#include "cuse-dxg/trace/memory_reader.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::trace {

// Finds the memory of clients that calls name, and records it:
//
//     CreateAllocation   the client's own pages, where it gives some
//     SubmitCommand...   the commands, where the client's CPU sees their allocation
//     Unlock2            what was locked
//
// The guest does not know where a GPU address is; what clients map and lock tells. What is beyond a limit is
// named with its address and size alone.
class ClientMemory {
 public:
  // Of one call, and of all within a second. An allocation may have gigabytes, and its call waits for the
  // copy.
  static constexpr size_t kOfCallMax = 1u << 20;
  static constexpr size_t kOfSecondMax = 64u << 20;
  static constexpr size_t kKnownMax = 1u << 16;  // allocations and ranges, of all processes

  // `memory`: HASH or FULL. `patience`: how long a call waits for a copy.
  ClientMemory(TraceHeader::Memory memory, ReadClient read,
               std::chrono::milliseconds patience = MemoryReader::kPatience)
      : memory_(memory), reader_(std::move(read), patience) {}

  void AddTo(const guest::CallReport& report, TraceCall* call) DXG_EXCLUDES(mutex_);
  void ProcessOpened(pid_t process) DXG_EXCLUDES(mutex_);
  void ProcessClosed(pid_t process) DXG_EXCLUDES(mutex_);
  // With all its descriptors; or its memory is another program's.
  void ProcessEnded(pid_t process) DXG_EXCLUDES(mutex_);

 private:
  struct Place {
    uint64_t address, bytes;
  };
  struct Range {  // of GPU addresses
    uint64_t end;
    uint32_t allocation;
    uint64_t offset;
  };
  struct Process {
    int files = 0;
    std::map<uint32_t, Place> shown;   // allocations, where the CPU sees them
    std::map<uint64_t, Range> mapped;  // by their beginning
  };

  // Learns from the call, and says what of the client's memory it names.
  Place Look(const guest::CallReport& report) DXG_EXCLUDES(mutex_);
  Place Commands(const Process& process, uint64_t gpu_address, uint64_t bytes) const DXG_REQUIRES(mutex_);
  bool MayKnowMore() DXG_REQUIRES(mutex_);
  // How many of so many bytes may be copied now.
  size_t Allow(uint64_t bytes) DXG_EXCLUDES(mutex_);
  void Record(pid_t tid, const Place& place, TraceCall* call);

  const TraceHeader::Memory memory_;
  MemoryReader reader_;
  Mutex mutex_;
  std::map<pid_t, Process> processes_ DXG_GUARDED_BY(mutex_);
  size_t known_ DXG_GUARDED_BY(mutex_) = 0;
  std::chrono::steady_clock::time_point second_ DXG_GUARDED_BY(mutex_);  // when it began
  size_t of_second_ DXG_GUARDED_BY(mutex_) = 0;
};

}  // namespace dxg::trace
