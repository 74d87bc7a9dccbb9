#include "cuse-dxg/top/picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/printable.h"
#include "base/status.h"
#include "proto/contract/text.h"

namespace dxg::top {
namespace {

using Live = ControlReply::Live;
using GuestKey = std::pair<uint64_t, uint64_t>;  // number and start
constexpr double kNsPerSecond = 1e9;

double SecondsBetween(uint64_t before_ns, uint64_t now_ns) {
  return before_ns == 0 || now_ns <= before_ns ? 0 : static_cast<double>(now_ns - before_ns) / kNsPerSecond;
}

double Rate(uint64_t before, uint64_t now, double seconds) {
  return seconds <= 0 || now < before ? 0 : static_cast<double>(now - before) / seconds;
}

double Load(uint64_t before_ns, uint64_t now_ns, double seconds) {
  return std::min(1.0, Rate(before_ns, now_ns, seconds) / kNsPerSecond);
}

// What was counted before, by what it is of.
struct Before {
  explicit Before(const Live& live) {
    for (const auto& adapter : live.adapters()) adapters[adapter.luid()] = &adapter;
    for (const auto& process : live.host_processes()) host[process.handle()] = &process;
    for (const auto& process : live.guest_processes())
      guest[{process.process_id(), process.started()}] = &process;
  }
  std::unordered_map<uint64_t, const Live::Adapter*> adapters;
  std::unordered_map<uint32_t, const Live::HostProcess*> host;
  std::map<GuestKey, const Live::GuestProcess*> guest;
};

Memory ToMemory(const Live::Memory& memory) {
  return {memory.size(), memory.budget(), memory.used(), memory.placed()};
}

Adapter ToAdapter(const Live::Adapter& now, const Live::Adapter* before, double seconds) {
  Adapter adapter{.luid = now.luid(),
                  .profile = Printable(now.profile()),
                  .description = Printable(now.description()),
                  .local = ToMemory(now.local()),
                  .non_local = ToMemory(now.non_local()),
                  .engines = {},
                  .resets = now.resets()};
  for (int i = 0; i < now.engines_size(); ++i) {
    const Live::Engine& engine = now.engines(i);
    const bool known = before != nullptr && i < before->engines_size();
    const double since = known ? seconds : 0;
    const Live::Engine& was = known ? before->engines(i) : Live::Engine::default_instance();
    adapter.engines.push_back({.name = Printable(engine.name()),
                               .load = Load(was.running_ns(), engine.running_ns(), since),
                               .commands_per_second = Rate(was.completed(), engine.completed(), since),
                               .running_ns = engine.running_ns(),
                               .queues = engine.queues(),
                               .ready = engine.ready(),
                               .submitted = engine.submitted(),
                               .completed = engine.completed(),
                               .faulted = engine.faulted()});
  }
  return adapter;
}

void AddHost(const Live::HostProcess& now, const Live::HostProcess* before, double seconds,
             Process* process) {
  // One that has another's handle is not that one.
  if (before != nullptr && before->process_id() != now.process_id()) before = nullptr;
  for (const Live::Use& use : now.uses()) {
    process->local += use.local();
    process->non_local += use.non_local();
    process->queued += use.queued();
    const Live::Use* was = nullptr;
    if (before != nullptr) {
      for (const Live::Use& each : before->uses()) {
        if (each.luid() == use.luid()) was = &each;
      }
    }
    for (int node = 0; node < use.running_ns_size(); ++node) {
      process->running_ns += use.running_ns(node);
      // A process that is new has begun with 0, and so has its use of an adapter.
      const uint64_t then = was != nullptr && node < was->running_ns_size() ? was->running_ns(node) : 0;
      process->load = std::max(process->load, Load(then, use.running_ns(node), seconds));
    }
  }
}

void AddCalls(const Live::GuestProcess& now, const Live::GuestProcess* before, double seconds,
              Process* process) {
  const Live::GuestProcess& was = before != nullptr ? *before : Live::GuestProcess::default_instance();
  process->calls_per_second = Rate(was.calls(), now.calls(), seconds);
  process->refused_per_second = Rate(was.refused(), now.refused(), seconds);
  for (const Live::Waiting& waiting : now.waiting())
    process->waiting.push_back({.name = Printable(waiting.call()), .count = waiting.count()});
  std::map<std::string_view, uint64_t> counts;
  for (const ControlReply::Call& call : was.by_name()) counts[call.name()] = call.count();
  for (const ControlReply::Call& call : now.by_name()) {
    const bool known = !counts.empty();
    process->by_name.push_back({.name = Printable(call.name()),
                                .count = call.count(),
                                .refused = call.refused(),
                                .per_second = Rate(counts[call.name()], call.count(), known ? seconds : 0)});
  }
  std::stable_sort(
      process->by_name.begin(), process->by_name.end(), [](const NamedCount& one, const NamedCount& other) {
        return std::pair(-one.per_second, ~one.count) < std::pair(-other.per_second, ~other.count);
      });
}

Process ToProcess(const Live::GuestProcess& now) {
  return {.pid = now.process_id(),
          .started = now.started(),
          .user = now.user(),
          .name = Printable(now.name()),
          .has_guest = true,
          .bytes = now.bytes(),
          .objects = now.objects(),
          .wait_points = now.wait_points(),
          .calls = now.calls(),
          .refused = now.refused(),
          .waiting = {},
          .by_name = {}};
}

Refusal ToRefusal(const Live::Refusal& refusal, uint64_t now_ns) {
  constexpr uint32_t kErrnoMaxUnsigned = kErrnoMax;
  return {.seconds_ago = SecondsBetween(refusal.last_ns(), now_ns),
          .process = refusal.process(),
          .count = refusal.count(),
          .thread = refusal.thread(),
          .name = Printable(refusal.name()),
          .call = refusal.call().empty() ? fmt::format("code {:#010x}", refusal.code())
                                         : Printable(refusal.call()),
          .error = refusal.error() <= kErrnoMaxUnsigned
                       ? contract::ErrnoName(static_cast<int>(refusal.error()))
                       : fmt::format("{:#x}", -refusal.error()),
          .why = Printable(refusal.why())};
}

}  // namespace

Picture MakePicture(const Live& before, const Live& now) {
  const Before then(before);
  const double guest_seconds = SecondsBetween(before.guest_ns(), now.guest_ns());
  const double host_seconds = SecondsBetween(before.host_ns(), now.host_ns());
  Picture picture{.seconds = now.has_guest() ? guest_seconds : host_seconds,
                  .has_guest = now.has_guest(),
                  .calls = now.calls(),
                  .refused = now.refused(),
                  .waits = now.waits(),
                  .calls_per_second = Rate(before.calls(), now.calls(), guest_seconds),
                  .refused_per_second = Rate(before.refused(), now.refused(), guest_seconds),
                  .adapters = {},
                  .processes = {},
                  .refusals = {}};
  for (const Live::Adapter& adapter : now.adapters()) {
    const auto was = then.adapters.find(adapter.luid());
    picture.adapters.push_back(
        ToAdapter(adapter, was == then.adapters.end() ? nullptr : was->second, host_seconds));
  }
  std::unordered_map<uint32_t, const Live::HostProcess*> of_host;
  for (const Live::HostProcess& process : now.host_processes()) of_host[process.handle()] = &process;
  auto add_host = [&](const Live::HostProcess& host, Process* process) {
    const auto was = then.host.find(host.handle());
    AddHost(host, was == then.host.end() ? nullptr : was->second, host_seconds, process);
  };
  for (const Live::GuestProcess& guest : now.guest_processes()) {
    Process process = ToProcess(guest);
    const auto was = then.guest.find({guest.process_id(), guest.started()});
    AddCalls(guest, was == then.guest.end() ? nullptr : was->second, guest_seconds, &process);
    if (const auto host = of_host.find(guest.host_handle()); host != of_host.end())
      add_host(*host->second, &process);
    picture.processes.push_back(std::move(process));
  }
  if (!now.has_guest()) {
    for (const Live::HostProcess& host : now.host_processes()) {
      Process process{.pid = host.process_id(), .name = Printable(host.name()), .waiting = {}, .by_name = {}};
      add_host(host, &process);
      picture.processes.push_back(std::move(process));
    }
  }
  for (const Live::Refusal& refusal : now.refusals())
    picture.refusals.push_back(ToRefusal(refusal, now.guest_ns()));
  return picture;
}

const char* SortName(SortBy key) {
  switch (key) {
    case SortBy::kMemory:
      return "memory";
    case SortBy::kGpu:
      return "gpu";
    case SortBy::kCalls:
      return "calls";
    case SortBy::kRefused:
      return "refused";
    case SortBy::kWaits:
      return "waits";
    case SortBy::kPid:
      return "pid";
    case SortBy::kName:
      return "name";
  }
  return "";
}

void Sort(std::vector<Process>* processes, SortBy key) {
  auto amount = [key](const Process& process) -> double {
    switch (key) {
      case SortBy::kMemory:
        return static_cast<double>(process.local + process.non_local);
      case SortBy::kGpu:
        return process.load;
      case SortBy::kCalls:
        return process.calls_per_second;
      case SortBy::kRefused:
        return static_cast<double>(process.refused);
      case SortBy::kWaits:
        return static_cast<double>(process.waits());
      default:
        return 0;
    }
  };
  std::stable_sort(processes->begin(), processes->end(), [&](const Process& one, const Process& other) {
    if (key == SortBy::kName && one.name != other.name) return one.name < other.name;
    const double of_one = amount(one), of_other = amount(other);
    if (of_one != of_other) return of_one > of_other;
    return std::pair(one.pid, one.started) < std::pair(other.pid, other.started);
  });
}

}  // namespace dxg::top
