#include "cuse-dxg/guest/bring_in.h"

#include <spdlog/spdlog.h>

#include "base/relay.h"
#include "cuse-dxg/client/warnings.h"
#include "cuse-dxg/guest/driver.h"

namespace dxg::guest {
namespace {

using client::Mapped;

client::Step MapStep(const Arena::Mapping& mapping) {
  client::Step step;
  step.kind = client::Step::Kind::kMap;
  step.file = mapping.region.file;
  step.offset = mapping.region.file_offset + (mapping.window_address - mapping.region.window_address);
  step.size = mapping.size;
  step.address = mapping.client_address.value;
  step.replace = false;
  return step;
}

client::Step UnmapStep(const Arena::Mapping& mapping) {
  client::Step step;
  step.kind = client::Step::Kind::kUnmap;
  step.address = mapping.client_address.value;
  step.size = mapping.size;
  return step;
}

// A range of the region, to be mapped where the client has seen it before (null: anywhere).
Arena::Mapping Range(const HostRegion& region, WindowAddress address, uint64_t size,
                     ClientAddress before = {}) {
  return {.window_address = address,
          .size = size,
          .client_address = before,
          .part = false,
          .cookie = 0,
          .file = {},
          .region = region};
}

// Where the kernel does not tell what is mapped: a touch, and the first bytes where they are known.
bool HasBytes(Call& call, const Arena::Mapping& mapping, WindowAddress address) {
  uint64_t first = 0;
  const ClientAddress at = mapping.cookie != 0 ? mapping.client_address : mapping.At(address);
  if (!call.access().Read(call.tid(), at.value, std::as_writable_bytes(std::span(&first, 1)))) return false;
  return mapping.cookie == 0 || first == mapping.cookie;
}

// What the client has mapped, to be asked anew: the first time, or where the process has executed another
// program.
std::shared_ptr<client::AddressMap> NewMap(Call& call) {
  std::shared_ptr<client::AddressMap> map = call.access().MapOf(call.tid());
  call.process->arena().KeepMap(map);
  return map;
}

// A client can hold up what is asked of its address space as well.
Mapped Ask(Call& call, const Arena::Mapping& mapping, WindowAddress address, uint64_t size) {
  const Relay::Pause pause;
  std::shared_ptr<client::AddressMap> map = call.process->arena().map();
  const auto ask = [&] {
    return map == nullptr ? Mapped::kUnknown
                          : map->Shows(mapping.At(address).value, size, mapping.file,
                                       mapping.file_offset + (address - mapping.window_address));
  };
  Mapped answer = ask();
  if (map != nullptr && (answer == Mapped::kYes || map->alive())) return answer;
  map = NewMap(call);
  return ask();
}

// Whether the client still sees that range of a mapping. It may have executed another program since, unmapped
// it, or mapped something else over it: an address that leads elsewhere would be worse than none.
bool IsStillThere(Call& call, const Arena::Mapping& mapping, WindowAddress address, uint64_t size) {
  const Mapped answer = Ask(call, mapping, address, size);
  if (answer != Mapped::kUnknown) return answer == Mapped::kYes;
  if (HasBytes(call, mapping, address)) return true;
  if (mapping.cookie != 0)
    call.process->arena().LoseAll();  // it is another program, which has nothing of ours
  return false;
}

// Of a part that is not there where it is needed: whether the rest of it is.
bool HasOnlyAHole(Call& call, const Arena::Mapping& part) {
  const WindowAddress last = part.window_address + (part.size - kPageBytes);
  return Ask(call, part, part.window_address, kPageBytes) == Mapped::kYes ||
         Ask(call, part, last, kPageBytes) == Mapped::kYes;
}

// The driver's errno, and what a user can do.
Status NoRoom(const Status& status, uint64_t size) {
  if (status.value() == -EAGAIN)
    return Status::Refuse(ENOMEM,
                          "{}: it locks what it maps (mlockall), and may not lock {} bytes more (ulimit -l)",
                          status.why(), size);
  if (status.value() == -ENOMEM)
    return Status::Refuse(ENOMEM,
                          "{}: it has no room for {} bytes more (ulimit -v, or the number of mappings in "
                          "vm.max_map_count)",
                          status.why(), size);
  return status;
}

TaskOf<Arena::Mapping> Map(Call& call, Arena::Mapping mapping) {
  std::vector<uint64_t> addresses;
  DXG_CO_TRY(co_await call.InClient(MapStep(mapping), &addresses));
  mapping.client_address = ClientAddress(addresses.front());
  mapping.file = client::FileIdOf(mapping.region.file);
  mapping.file_offset = mapping.region.file_offset + (mapping.window_address - mapping.region.window_address);
  co_return mapping;
}

// Maps that, or only what is needed where the client has no room for it (RLIMIT_AS, RLIMIT_MEMLOCK).
TaskOf<Arena::Mapping> MapOrLess(Call& call, Arena::Mapping wanted, Arena::Mapping needed) {
  auto mapped = co_await Map(call, wanted);
  const int32_t result = mapped.status().value();
  if ((result == -ENOMEM || result == -EAGAIN) && wanted.size != needed.size)
    mapped = co_await Map(call, needed);
  if (!mapped.ok()) co_return NoRoom(mapped.status(), needed.size);
  co_return *std::move(mapped);
}

// Enters it. Where another thread was faster, the client has no use for ours.
TaskOf<Arena::Mapping> Enter(Call& call, Arena::Mapping made) {
  const Arena::Mapping mapping = call.process->arena().Add(made);
  if (mapping.client_address != made.client_address) (void)co_await call.InClient(UnmapStep(made), nullptr);
  co_return mapping;
}

}  // namespace

TaskOf<ClientAddress> BringIn(Call& call, WindowAddress address, uint64_t size) {
  Arena& arena = call.process->arena();
  const auto held = arena.Hold(address, size);
  if (held && IsStillThere(call, *held, address, size)) co_return held->At(address);
  const auto region = call.driver.backend().FindRegion(address);
  if (!region || size > region->size - (address - region->window_address)) {
    if (held) arena.Lose(*held);
    co_return Status::Refuse(ENOMEM,
                             "the host named memory at {:#x} ({} bytes) that it does not show to the guest",
                             address.value, size);
  }
  Arena::Mapping needed = Range(*region, address, size), wanted = needed;
  const bool hole = held && held->part && HasOnlyAHole(call, *held);
  if (held) {
    needed.client_address = held->At(address);
    wanted = hole ? needed : Range(*region, held->window_address, held->size, held->client_address);
    wanted.part = held->part && !hole;
    wanted.cookie = wanted.part ? held->cookie : 0;
    if (!hole) arena.Lose(*held);
  } else if (region->cookie != 0) {
    wanted = arena.NextPart(*region, address, size);
  } else if (!region->common) {  // else each sees no more than it is owed
    wanted = Range(*region, region->window_address, region->size);
  }
  auto mapped = co_await MapOrLess(call, wanted, needed);
  if (!mapped.ok()) {
    client::Warn(call.process->identity,
                 fmt::format("{} by thread {}: memory cannot be brought into the client: {}", call.row.name,
                             call.tid(), mapped.status().why()));
    co_return std::move(mapped).status();
  }
  // The hole is closed, and the part is as it was.
  if (hole && mapped->client_address == needed.client_address) co_return mapped->client_address;
  DXG_CO_ASSIGN(const Arena::Mapping mapping, co_await Enter(call, *std::move(mapped)));
  co_return mapping.At(address);
}

Task BringHome(Call& call) {
  Arena& arena = call.process->arena();
  const auto region = call.driver.backend().HomeRegion(call.process->host_handle);
  if (!region || arena.Has(region->window_address)) co_return Status::Ok();
  const Arena::Mapping part = arena.NextPart(*region, region->window_address, kPageBytes);
  auto mapped = co_await MapOrLess(call, part, part);
  if (!mapped.ok()) {
    spdlog::debug("the first device of process {}: its memory is not in place yet: {}",
                  call.process->identity.tgid, mapped.status().why());
    co_return Status::Ok();
  }
  (void)co_await Enter(call, *std::move(mapped));
  co_return Status::Ok();
}

bool SeesHostMemory(Call& call, uint64_t address, uint64_t size) {
  std::shared_ptr<client::AddressMap> map = call.process->arena().map();
  if (map == nullptr || !map->alive()) map = NewMap(call);
  for (uint64_t at = address; map != nullptr && at < address + size;) {
    const auto range = map->At(at);
    if (!range) return false;
    if (call.process->arena().HasFile(range->file)) return true;
    at = range->end;
  }
  return false;
}

namespace {

// Away from a thread that everybody needs: what comes next may last for as long as the client likes.
struct BesideTeardowns {
  Call& call;
  bool await_ready() const { return !TeardownThread::IsHere(); }
  bool await_suspend(std::coroutine_handle<> waiter) const {
    return call.driver.host().beside().Resume(call.process->host_handle, waiter);
  }
  void await_resume() const {}
};

}  // namespace

Task TakeOut(Call& call, std::vector<Arena::Mapping> mappings) {
  if (!mappings.empty()) co_await BesideTeardowns{call};
  std::vector<client::Step> steps;
  steps.reserve(mappings.size());
  for (const Arena::Mapping& mapping : mappings) {
    // What the client has mapped there meanwhile is its own.
    if (Ask(call, mapping, mapping.window_address, mapping.size) != Mapped::kNo)
      steps.push_back(UnmapStep(mapping));
  }
  if (steps.empty()) co_return Status::Ok();
  const Status status = co_await call.InClient(std::move(steps), nullptr);
  if (!status.ok())
    spdlog::debug("memory of process {} stays mapped there: {}", call.process->identity.tgid, status.why());
  co_return Status::Ok();
}

}  // namespace dxg::guest
