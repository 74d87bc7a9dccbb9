#include <string>

#include "hostsim/adapter/performance.h"
#include "hostsim/machine/bytes.h"
#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/work/engine.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/ntstatus.h"

// Layouts: D3DKMT_QUERYSTATISTICS of WDDM 2.9. Counters of what the simulated GPU does not do stay 0.

namespace dxg::hostsim {
namespace {

constexpr uint32_t kSegmentGroupUsage = 17;  // published later than the header's list
constexpr uint32_t kSegmentGroupUsageDriverVersion = 3100;

// SegmentProperties of a segment. The type is there from WDDM 3.1 on.
constexpr uint64_t kSystemMemory = 1;  // bit 0; bit 1: memory that the firmware has reserved
constexpr int kSegmentTypeShift = 2;   // bits 2-5
constexpr uint64_t kSegmentTypeMemory = 1;
constexpr uint64_t kSegmentTypeSystemMemory = 2;
constexpr uint32_t kSegmentTypeDriverVersion = 3100;

constexpr size_t kResultBytes = sizeof(d3dkmt_querystatistics_result);

// NODE: the global and the system's share of a node's work, each a PROCESS_NODE, then the performance data.
constexpr size_t kNodePerfData = 544;

// One query on its way: where its answer goes, and what it is about.
struct Statistics {
  const CommandContext& call;
  const Adapter& adapter;
  uint32_t selector;  // a segment, a node, a group, a physical adapter
  Bytes result;

  int32_t OfAdapter() {
    constexpr size_t kFlags = 712;  // bits 0-1: memory groups
    Put<uint32_t>(result, 0, static_cast<uint32_t>(adapter.segments().size()));
    Put<uint32_t>(result, 4, adapter.nodes());
    Put<uint32_t>(result, 8, 0);  // display sources
    Put<uint32_t>(result, 16, adapter.tdr_count());
    Put<uint64_t>(result, kFlags, adapter.unified_memory() ? 1 : 2);
    return kStatusSuccess;
  }

  int32_t OfProcess() {
    Put<uint32_t>(result, 0, adapter.nodes());
    return kStatusSuccess;
  }

  int32_t OfProcessOnAdapter() {
    Put<uint32_t>(result, 0, static_cast<uint32_t>(adapter.segments().size()));
    Put<uint32_t>(result, 4, adapter.nodes());
    return kStatusSuccess;
  }

  int32_t OfSegment() {
    constexpr size_t kAperture = 40;
    constexpr size_t kProperties = 104;
    if (selector >= adapter.segments().size()) return kStatusInvalidParameter;
    const Segment& segment = adapter.segments()[selector];
    const SegmentUse use = adapter.video_memory()->Use(selector);
    Put<uint64_t>(result, 0, use.limit);
    Put<uint64_t>(result, 8, use.placed_bytes);   // committed
    Put<uint64_t>(result, 16, use.listed_bytes);  // resident
    Put<uint64_t>(result, 24, use.evicted_bytes);
    Put<uint32_t>(result, 32, use.placed);
    Put<uint32_t>(result, 36, use.listed);
    Put<uint32_t>(result, kAperture, segment.aperture ? 1 : 0);
    uint64_t properties = segment.aperture ? kSystemMemory : 0;
    if (adapter.profile().driver_version() >= kSegmentTypeDriverVersion)
      properties |= (segment.aperture ? kSegmentTypeSystemMemory : kSegmentTypeMemory) << kSegmentTypeShift;
    Put<uint64_t>(result, kProperties, properties);
    return kStatusSuccess;
  }

  int32_t OfProcessOnSegment() {
    if (selector >= adapter.segments().size()) return kStatusInvalidParameter;
    const SegmentGroup group = adapter.segments()[selector].group;  // each is a segment of its own
    Process& process = *call.process;
    MutexLock lock(process.mutex());
    Put<uint64_t>(result, 0, adapter.memory().Info(group, process.MemoryOn(adapter)).usage);
    Put<uint64_t>(result, 8, adapter.segments()[selector].size_bytes);  // largest working set
    return kStatusSuccess;
  }

  // Microseconds, switches between queues, then pairs and fours of what was submitted and what was completed.
  void PutNodeWork(const NodeWork& work) {
    constexpr uint64_t kNsPerUs = 1000;
    constexpr size_t kRenderPackets = 76;
    constexpr size_t kWaitPackets = 108;
    constexpr size_t kSignalPackets = 116;
    constexpr size_t kDmaPackets = 140;  // of programs: submitted, completed, preempted, faulted
    auto put = [this](size_t at, uint64_t value) { Put<uint32_t>(result, at, static_cast<uint32_t>(value)); };
    Put<uint64_t>(result, 0, work.running_ns / kNsPerUs);
    put(8, work.switches);
    put(kRenderPackets, work.commands_submitted);
    put(kRenderPackets + 4, work.commands_completed);
    put(kWaitPackets, work.waits_submitted);
    put(kWaitPackets + 4, work.waits_completed);
    put(kSignalPackets, work.signals_submitted);
    put(kSignalPackets + 4, work.signals_completed);
    put(kDmaPackets, work.commands_submitted);
    put(kDmaPackets + 4, work.commands_completed);
    put(kDmaPackets + 12, work.commands_faulted);
  }

  int32_t OfNode() {
    if (selector >= adapter.nodes()) return kStatusInvalidParameter;
    PutNodeWork(adapter.engines().Work(selector));
    PutNodePerfData(adapter, selector, result.subspan(kNodePerfData));
    return kStatusSuccess;
  }

  int32_t OfProcessOnNode() {
    if (selector >= adapter.nodes()) return kStatusInvalidParameter;
    Process& process = *call.process;
    MutexLock lock(process.mutex());
    if (const auto work = process.WorkOn(adapter)) PutNodeWork(adapter.engines().Work(*work, selector));
    return kStatusSuccess;
  }

  int32_t OfProcessInGroup() {
    if (selector >= kSegmentGroups) return kStatusInvalidParameter;
    MemoryInfo info;
    {
      Process& process = *call.process;
      MutexLock lock(process.mutex());
      info = adapter.memory().Info(static_cast<SegmentGroup>(selector), process.MemoryOn(adapter));
    }
    Put<uint64_t>(result, 0, info.budget);
    Put<uint64_t>(result, 8, info.usage);  // requested
    Put<uint64_t>(result, 16, info.usage);
    return kStatusSuccess;
  }

  int32_t OfPhysicalAdapter() {
    if (selector >= kPhysicalAdapters) return kStatusInvalidParameter;
    PutAdapterPerfData(adapter, result);
    PutAdapterPerfCaps(adapter, result.subspan(kAdapterPerfDataBytes));
    PutGpuVersion(adapter, result.subspan(kAdapterPerfDataBytes + kAdapterPerfCapsBytes));
    return kStatusSuccess;
  }

  // allocated@0 free@8 zeroed@16 modified@24 standby@32, in bytes; the selector holds index and group.
  int32_t OfSegmentGroupUsage() {
    const uint32_t index = selector & 0xFFFF;
    const uint32_t group = selector >> 16;
    if (adapter.profile().driver_version() < kSegmentGroupUsageDriverVersion || index >= kPhysicalAdapters ||
        group >= kSegmentGroups) {
      return kStatusInvalidParameter;
    }
    for (uint32_t i = 0; i < adapter.segments().size(); ++i) {
      if (adapter.segments()[i].group != group) continue;
      const SegmentUse use = adapter.video_memory()->Use(i);
      Put<uint64_t>(result, 0, use.listed_bytes);
      Put<uint64_t>(result, 8, use.limit - use.placed_bytes);
      Put<uint64_t>(result, 32, use.placed_bytes - use.listed_bytes);
    }
    return kStatusSuccess;
  }

  int32_t Of(uint32_t type) {
    switch (type) {
      case _D3DKMT_QUERYSTATISTICS_ADAPTER:
        return OfAdapter();
      case _D3DKMT_QUERYSTATISTICS_PROCESS:
        return OfProcess();
      case _D3DKMT_QUERYSTATISTICS_PROCESS_ADAPTER:
        return OfProcessOnAdapter();
      case _D3DKMT_QUERYSTATISTICS_SEGMENT:
        return OfSegment();
      case _D3DKMT_QUERYSTATISTICS_PROCESS_SEGMENT:
        return OfProcessOnSegment();
      case _D3DKMT_QUERYSTATISTICS_NODE:
        return OfNode();
      case _D3DKMT_QUERYSTATISTICS_PROCESS_NODE:
        return OfProcessOnNode();
      case _D3DKMT_QUERYSTATISTICS_PROCESS_SEGMENT_GROUP:
        return OfProcessInGroup();
      case _D3DKMT_QUERYSTATISTICS_PHYSICAL_ADAPTER:
        return OfPhysicalAdapter();
      case kSegmentGroupUsage:
        return OfSegmentGroupUsage();
      default:  // display sources, of which there are none, and what has no published layout
        return kStatusInvalidParameter;
    }
  }
};

}  // namespace

// The header's process is the one that is asked about.
int32_t Commands::Handle(CommandContext& call, const host::QueryStatistics::Request& request,
                         host::QueryStatistics::Reply* reply) {
  std::string* result = reply->mutable_result();
  result->assign(kResultBytes, '\0');
  if (const int32_t status = call.CheckLiveAdapter(); status != kStatusSuccess) return status;
  if (request.process() != 0 || request.adapter_luid() != call.adapter->info().host_luid) {
    return kStatusInvalidParameter;
  }
  Statistics statistics{call, *call.adapter, static_cast<uint32_t>(request.selector()), BytesOf(*result)};
  return statistics.Of(request.type());
}

}  // namespace dxg::hostsim
