#include <algorithm>
#include <iterator>
#include <vector>

#include "base/printable.h"
#include "hostsim/machine/host.h"

// What there is to see of adapters and processes, for people and programs that look.

namespace dxg::hostsim {
namespace {

std::string EngineName(const AdapterProfile::Node& node) {
  switch (node.engine()) {
    case AdapterProfile::ENGINE_3D:
      return "3D";
    case AdapterProfile::VIDEO_DECODE:
      return "video decode";
    case AdapterProfile::VIDEO_ENCODE:
      return "video encode";
    case AdapterProfile::VIDEO_PROCESSING:
      return "video processing";
    case AdapterProfile::SCENE_ASSEMBLY:
      return "scene assembly";
    case AdapterProfile::COPY:
      return "copy";
    case AdapterProfile::OVERLAY:
      return "overlay";
    case AdapterProfile::CRYPTO:
      return "crypto";
    default:
      return Printable(node.name());
  }
}

void Describe(const Adapter& adapter, ControlReply::Live::Adapter* seen) {
  seen->set_luid(adapter.info().luid);
  seen->set_profile(adapter.info().name);
  seen->set_description(Printable(adapter.info().description));
  seen->set_resets(adapter.tdr_count());
  for (const SegmentGroup group : {kLocal, kNonLocal}) {
    auto* memory = group == kLocal ? seen->mutable_local() : seen->mutable_non_local();
    memory->set_size(adapter.memory().size(group));
    memory->set_budget(adapter.memory().usable(group));
    for (uint32_t segment = 0; segment < adapter.segments().size(); ++segment) {
      if (adapter.segments()[segment].group != group) continue;
      const SegmentUse use = adapter.video_memory()->Use(segment);
      memory->set_used(memory->used() + use.listed_bytes);
      memory->set_placed(memory->placed() + use.placed_bytes);
    }
  }
  for (uint32_t node = 0; node < adapter.nodes(); ++node) {
    ControlReply::Live::Engine* engine = seen->add_engines();
    const NodeWork work = adapter.engines().Work(node);
    const Engines::InUse in_use = adapter.engines().Queues(node);
    engine->set_name(EngineName(adapter.profile().nodes(static_cast<int>(node))));
    engine->set_running_ns(work.running_ns);
    engine->set_queues(in_use.queues);
    engine->set_ready(in_use.ready);
    engine->set_submitted(work.commands_submitted);
    engine->set_completed(work.commands_completed);
    engine->set_faulted(work.commands_faulted);
  }
}

void Describe(Process& process, ControlReply::Live::HostProcess* seen) {
  seen->set_handle(process.handle);
  seen->set_process_id(process.process_id);
  seen->set_name(Printable(process.name));
  MutexLock lock(process.mutex());
  process.ForEachUse([seen](const AdapterUse& of) {
    const Adapter& adapter = *of.adapter;
    if (adapter.removed()) return;
    ControlReply::Live::Use* use = seen->add_uses();
    use->set_luid(adapter.info().luid);
    use->set_local(of.memory.usage[kLocal]);
    use->set_non_local(of.memory.usage[kNonLocal]);
    use->set_devices(of.devices);
    for (uint32_t node = 0; node < adapter.nodes(); ++node)
      use->add_running_ns(adapter.engines().Work(*of.work, node).running_ns);
    use->set_queued(adapter.engines().Queued(*of.work));
  });
}

}  // namespace

void Host::AddTo(const ControlRequest::Live& wanted, ControlReply::Live* live) {
  // What the guest adds has room in the same packet: 40 KiB of processes and 24 KiB of refusals. One process
  // beside the most adapters has 42 KiB.
  constexpr size_t kAdapterBytesMax = 48 * 1024, kPageBytesMax = 80 * 1024;
  if (wanted.host_after() == 0) {
    live->set_host_ns(NowNs());
    live->set_waits(machine_.counts.waits);
    for (const auto& adapter : machine_.Adapters()) {
      Describe(*adapter, live->add_adapters());
      if (live->ByteSizeLong() > kAdapterBytesMax) live->mutable_adapters()->RemoveLast();
    }
  }
  const std::vector<std::shared_ptr<Process>> all = machine_.Processes();
  // They are in the order of their places, and a page ends at a place.
  auto place = [](const std::shared_ptr<Process>& process) {
    return uint64_t{process->handle >> kHandleIndexShift & kHandleIndexMask} + 1;
  };
  const auto first = std::upper_bound(all.begin(), all.end(), wanted.host_after(),
                                      [&](uint64_t after, const auto& each) { return after < place(each); });
  size_t bytes = live->ByteSizeLong();
  for (auto each = first; each != all.end(); ++each) {
    Describe(**each, live->add_host_processes());
    bytes += live->host_processes().rbegin()->ByteSizeLong();
    // A page has one at least, or there is no next one.
    if (each != first && bytes > kPageBytesMax) {
      live->mutable_host_processes()->RemoveLast();
      live->set_host_next(place(*std::prev(each)));
      break;
    }
  }
}

}  // namespace dxg::hostsim
