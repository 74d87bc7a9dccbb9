#include "cuse-dxg/guest/bring_in.h"

#include <spdlog/spdlog.h>

#include "cuse-dxg/guest/driver.h"

namespace dxg::guest {
namespace {

client::Step MapStep(const HostRegion& region, WindowAddress from, uint64_t size) {
  client::Step step;
  step.kind = client::Step::Kind::kMap;
  step.file = region.file;
  step.offset = region.file_offset + (from - region.window_address);
  step.size = size;
  return step;
}

client::Step UnmapStep(const Arena::Mapping& mapping) {
  client::Step step;
  step.kind = client::Step::Kind::kUnmap;
  step.address = mapping.client_address.value;
  step.size = mapping.size;
  return step;
}

// The client may have executed another program since, or unmapped it. Costs a read of the client's memory and
// saves a client from an address that leads nowhere.
bool IsStillThere(Call& call, const Arena::Mapping& mapping) {
  uint64_t first = 0;
  if (!call.access().Read(call.tid(), mapping.client_address.value,
                          std::as_writable_bytes(std::span(&first, 1))))
    return false;
  return mapping.cookie == 0 || first == mapping.cookie;
}

// Maps all of the region, or only what is needed where others see the rest, or the client has no room for it
// (RLIMIT_AS).
TaskOf<Arena::Mapping> MapRegion(Call& call, const HostRegion& region, WindowAddress address, uint64_t size) {
  Arena::Mapping mapping;
  std::vector<uint64_t> addresses;
  Status status = Status::Ok();
  if (!region.common) {
    mapping = {.window_address = region.window_address,
               .size = region.size,
               .cookie = region.cookie,
               .region = region};
    status = co_await call.InClient(MapStep(region, region.window_address, region.size), &addresses);
  }
  const bool all = region.window_address == address && region.size == size;
  if (region.common || (status.value() == -ENOMEM && !all)) {
    mapping = {.window_address = address, .size = size, .region = region};
    status = co_await call.InClient(MapStep(region, address, size), &addresses);
  }
  if (!status.ok()) co_return status;
  mapping.client_address = ClientAddress(addresses.front());
  co_return mapping;
}

}  // namespace

TaskOf<ClientAddress> BringIn(Call& call, WindowAddress address, uint64_t size) {
  Arena& arena = call.process->arena();
  if (const auto mapping = arena.Hold(address, size)) {
    if (IsStillThere(call, *mapping)) co_return mapping->At(address);
    // Without its own region the process is another program; a single mapping may have been unmapped by the
    // client.
    mapping->cookie != 0 ? arena.Clear() : arena.Forget(address);
  }
  const auto region = call.driver.backend().FindRegion(address);
  if (!region || size > region->size - (address - region->window_address)) {
    co_return Status::Refuse(ENOMEM,
                             "the host named memory at {:#x} ({} bytes) that it does not show to the guest",
                             address.value, size);
  }
  auto mapped = co_await MapRegion(call, *region, address, size);
  if (!mapped.ok()) {
    spdlog::warn("{} by thread {}: memory cannot be brought into the client: {}", call.row.name, call.tid(),
                 mapped.status().why());
    co_return std::move(mapped).status();
  }
  const Arena::Mapping made = *std::move(mapped);
  const Arena::Mapping mapping = arena.Add(made);
  if (mapping.client_address != made.client_address) (void)co_await call.InClient(UnmapStep(made), nullptr);
  co_return mapping.At(address);
}

Task BringHome(Call& call) {
  const auto region = call.driver.backend().HomeRegion(call.process->host_handle);
  if (!region || call.process->arena().Has(region->window_address)) co_return Status::Ok();
  auto mapped = co_await MapRegion(call, *region, region->window_address, region->size);
  if (!mapped.ok()) {
    spdlog::debug("the first device of process {}: its memory is not in place yet: {}",
                  call.process->identity.tgid, mapped.status().why());
    co_return Status::Ok();
  }
  const Arena::Mapping made = *std::move(mapped);
  const Arena::Mapping mapping = call.process->arena().Add(made);
  if (mapping.client_address != made.client_address) (void)co_await call.InClient(UnmapStep(made), nullptr);
  co_return Status::Ok();
}

Task TakeOut(Call& call, std::vector<Arena::Mapping> mappings) {
  if (mappings.empty()) co_return Status::Ok();
  std::vector<client::Step> steps;
  steps.reserve(mappings.size());
  for (const Arena::Mapping& mapping : mappings) steps.push_back(UnmapStep(mapping));
  const Status status = co_await call.InClient(std::move(steps), nullptr);
  if (!status.ok())
    spdlog::debug("memory of process {} stays mapped there: {}", call.process->identity.tgid, status.why());
  co_return Status::Ok();
}

}  // namespace dxg::guest
