#include "hostsim/memory/gpu_va.h"

#include <algorithm>

#include "base/page.h"
#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/machine/rollback.h"
#include "hostsim/memory/allocation.h"
#include "hostsim/memory/paging_queue.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {
namespace {

bool Aligned(uint64_t bytes, uint64_t unit) { return bytes % unit == 0; }
bool Aligned(GpuAddress address, uint64_t unit) { return IsMultipleOf(address, unit); }

}  // namespace

GpuVa::~GpuVa() {
  count_ -= ranges_.size();
  if (user_) user_->va_parts.Give(ranges_.size() + pieces_.size());
}

// -- Ranges.

int32_t GpuVa::FindRoom(const Place& place, uint64_t bytes, uint64_t unit, GpuAddress* address) const {
  if (!Aligned(place.minimum, unit)) return kStatusInvalidParameter;
  uint64_t high = end_.value;
  if (place.maximum != GpuAddress()) {
    // Clients pass the last address that they can use, too, so a maximum is a multiple of nothing.
    const uint64_t maximum = place.maximum.value - place.maximum.value % unit;
    if (place.minimum.value >= maximum) return kStatusInvalidParameter;
    high = std::min(high, maximum);
  }
  const uint64_t low = std::max(place.minimum, kStart).value;
  std::optional<uint64_t> found = ranges_.FindGap(bytes, true, low, high);
  if (!found && unit < kReserveUnit) found = ranges_.FindGap(bytes, false, low, high);
  if (!found) return kStatusNoMemory;
  *address = GpuAddress(*found);
  return kStatusSuccess;
}

void GpuVa::Insert(GpuAddress start, uint64_t bytes, Range range) {
  if (range.owner) range.owner->ranges.insert(start.value);
  ranges_.Insert(start.value, (start + bytes).value, std::move(range));
  ++count_;
  if (user_) user_->va_parts.Add(1);
}

void GpuVa::Erase(GpuAddress start) {
  const auto* range = ranges_.Find(start.value);
  Clear(start, GpuAddress(range->end));
  if (range->value.owner) range->value.owner->ranges.erase(start.value);
  ranges_.Erase(start.value);
  --count_;
  if (user_) user_->va_parts.Give(1);
}

int32_t GpuVa::Reserve(const Place& place, uint64_t bytes, ReservationType type, GpuAddress* address) {
  if (bytes == 0 || !Aligned(bytes, kReserveUnit) || !Aligned(place.base, kReserveUnit)) {
    return kStatusInvalidParameter;
  }
  if (!HasRoom(1)) return kStatusNoMemory;
  GpuAddress start = place.base;
  if (start == GpuAddress()) {
    if (const int32_t status = FindRoom(place, bytes, kReserveUnit, &start); status != kStatusSuccess)
      return status;
  } else if (start < kStart || bytes > end_.value || start > end_ - bytes ||
             ranges_.Overlaps(start.value, (start + bytes).value)) {
    return kStatusInvalidParameter;
  }
  Insert(start, bytes,
         {.reserved = true, .of_fence = false, .type = type, .owner = nullptr, .effective = {}});
  *address = start;
  return kStatusSuccess;
}

int32_t GpuVa::Map(const Place& place, uint64_t bytes, const GpuMapping& mapping, GpuAddress* address) {
  if (bytes == 0 || !Aligned(bytes, kPageBytes) || !Aligned(place.base, kPageBytes)) {
    return kStatusInvalidParameter;
  }
  if (!HasRoom(1 + kPartsOfAShow)) return kStatusNoMemory;
  GpuAddress start = place.base;
  if (start == GpuAddress()) {
    if (!mapping.allocation) return kStatusInvalidParameter;
    if (const int32_t status = FindRoom(place, bytes, kPageBytes, &start); status != kStatusSuccess)
      return status;
    Insert(start, bytes,
           {.reserved = false, .of_fence = false, .type = {}, .owner = mapping.allocation, .effective = {}});
  } else {
    if (start < kStart || bytes > end_.value || start > end_ - bytes) return kStatusInvalidParameter;
    if (!ranges_.Overlaps(start.value, (start + bytes).value)) {
      if (!mapping.allocation) return kStatusInvalidParameter;
      Insert(
          start, bytes,
          {.reserved = false, .of_fence = false, .type = {}, .owner = mapping.allocation, .effective = {}});
    } else {
      const auto* range = ranges_.Find(start.value);
      const bool inside = range && (start + bytes).value <= range->end && !range->value.of_fence;
      if (!inside || (!mapping.allocation && !range->value.reserved)) return kStatusInvalidParameter;
    }
  }
  Show(start, bytes, mapping);
  *address = start;
  return kStatusSuccess;
}

int32_t GpuVa::Free(GpuAddress address, uint64_t bytes) {
  const auto* range = ranges_.Find(address.value);
  if (!range || range->start != address.value || range->end - range->start != bytes)
    return kStatusInvalidParameter;
  if (range->value.of_fence) return kStatusInvalidParameter;
  Erase(address);
  return kStatusSuccess;
}

int32_t GpuVa::MapFence(std::shared_ptr<SyncObject> fence, bool writable, GpuAddress* address) {
  if (!HasRoom(1 + kPartsOfAShow)) return kStatusNoMemory;
  if (const int32_t status = FindRoom({}, kPageBytes, kPageBytes, address); status != kStatusSuccess)
    return status;
  GpuMapping mapping;
  mapping.fence = std::move(fence);
  mapping.protection = writable ? kProtectWrite : 0;
  Insert(*address, kPageBytes,
         {.reserved = false, .of_fence = true, .type = {}, .owner = nullptr, .effective = {}});
  Rollback erase([&] { Erase(*address); });
  Show(*address, kPageBytes, mapping);
  erase.Keep();
  return kStatusSuccess;
}

void GpuVa::UnmapFence(GpuAddress address) { Erase(address); }

void GpuVa::SetEffective(GpuAddress address, const EffectiveAt& effective) {
  if (const auto piece = pieces_.find(address); piece != pieces_.end()) {
    piece->second.mapping.effective = effective;
  } else if (auto* range = ranges_.Find(address.value)) {
    range->value.effective = effective;
  }
}

void GpuVa::Forget(Allocation& allocation) {
  while (!allocation.ranges.empty()) Erase(GpuAddress(*allocation.ranges.begin()));
  while (!allocation.pieces.empty()) ErasePiece(pieces_.find(GpuAddress(*allocation.pieces.begin())));
}

// -- Pieces.

GpuMapping GpuVa::Advanced(GpuMapping mapping, uint64_t bytes) {
  if (mapping.window != 0) {
    mapping.phase = (mapping.phase + bytes) % mapping.window;
  } else {
    mapping.offset += bytes;
  }
  return mapping;
}

GpuVa::Pieces::iterator GpuVa::ErasePiece(Pieces::iterator piece) {
  if (Allocation* allocation = piece->second.mapping.allocation) allocation->pieces.erase(piece->first.value);
  if (user_) user_->va_parts.Give(1);
  return pieces_.erase(piece);
}

void GpuVa::InsertPiece(GpuAddress start, Piece piece) {
  if (piece.mapping.allocation) {
    piece.mapping.allocation->pieces.insert(start.value);
    if (piece.mapping.allocation->storage->traits.of_guest) reaches_guest_ = true;
  }
  pieces_.emplace(start, std::move(piece));
  if (user_) user_->va_parts.Add(1);
}

// A piece that reaches over the address becomes two.
void GpuVa::CutAt(GpuAddress address) {
  auto after = pieces_.lower_bound(address);
  if (after == pieces_.begin()) return;
  auto& [start, piece] = *std::prev(after);
  const GpuAddress end = start + piece.bytes;
  if (end <= address) return;
  piece.bytes = address - start;
  InsertPiece(address, {end - address, Advanced(piece.mapping, piece.bytes)});
}

void GpuVa::Clear(GpuAddress start, GpuAddress end) {
  CutAt(start);
  CutAt(end);
  auto piece = pieces_.lower_bound(start);
  while (piece != pieces_.end() && piece->first < end) piece = ErasePiece(piece);
}

void GpuVa::Show(GpuAddress address, uint64_t bytes, const GpuMapping& mapping) {
  Clear(address, address + bytes);
  InsertPiece(address, {bytes, mapping});
}

std::optional<GpuAddress> GpuVa::ReservationOf(GpuAddress address, uint64_t bytes) {
  const auto* range = ranges_.Find(address.value);
  if (!range || !range->value.reserved || bytes > range->end - address.value) return std::nullopt;
  const bool zero = range->value.type == ReservationType::kZero;
  return zero || Covered(address, address + bytes) ? std::optional(GpuAddress(range->start)) : std::nullopt;
}

bool GpuVa::Covered(GpuAddress start, GpuAddress end) const {
  auto piece = pieces_.upper_bound(start);
  if (piece == pieces_.begin()) return false;
  for (--piece; start < end && piece != pieces_.end() && piece->first <= start; ++piece) {
    start = piece->first + piece->second.bytes;
  }
  return start >= end;
}

// Source and destination may overlap, so what is to be copied is taken down first.
void GpuVa::CopyPages(GpuAddress source, uint64_t bytes, GpuAddress destination) {
  CutAt(source);
  CutAt(source + bytes);
  std::vector<std::pair<uint64_t, Piece>> copied;
  for (auto it = pieces_.lower_bound(source); it != pieces_.end() && it->first < source + bytes; ++it) {
    copied.emplace_back(it->first - source, it->second);
  }
  if (!HasRoom(copied.size() + kPartsOfAShow)) return;
  Clear(destination, destination + bytes);
  for (auto& [offset, piece] : copied) InsertPiece(destination + offset, std::move(piece));
}

// -- Access.

std::optional<GpuFault::Reason> GpuVa::Refusal(const GpuMapping& mapping, bool write) {
  if (!mapping.effective.reached()) return GpuFault::kNotEffective;
  if ((mapping.protection & kProtectNoAccess) != 0) return GpuFault::kNoAccess;
  if (!mapping.allocation) {
    const bool read_only = mapping.fence && (mapping.protection & kProtectWrite) == 0;
    return write && read_only ? std::optional(GpuFault::kReadOnly) : std::nullopt;
  }
  const Storage& storage = *mapping.allocation->storage;
  if (write && ((mapping.protection & kProtectWrite) == 0 || storage.traits.read_only)) {
    return GpuFault::kReadOnly;
  }
  if (mapping.allocation->residency_count == 0 || !memory_.Ready(storage)) return GpuFault::kNotResident;
  return std::nullopt;
}

void GpuVa::AddSpans(const GpuMapping& mapping, uint64_t skipped, uint64_t bytes,
                     std::vector<GpuSpan>* spans) {
  if (!mapping.allocation) {
    spans->push_back({nullptr, mapping.offset + skipped, bytes, mapping.fence});
  } else if (mapping.window == 0) {
    spans->push_back({mapping.allocation->storage, mapping.offset + skipped, bytes, nullptr});
  } else {
    for (uint64_t phase = (mapping.phase + skipped) % mapping.window; bytes != 0; phase = 0) {
      const uint64_t part = std::min(bytes, mapping.window - phase);
      spans->push_back({mapping.allocation->storage, mapping.offset + phase, part, nullptr});
      bytes -= part;
    }
  }
}

bool GpuVa::Translate(GpuAddress address, uint64_t bytes, bool write, std::vector<GpuSpan>* spans,
                      GpuFault* fault) {
  spans->clear();
  auto stop = [&](GpuFault::Reason reason) {
    *fault = {reason, address, write};
    return false;
  };
  while (bytes != 0) {
    const auto* range = ranges_.Find(address.value);
    if (!range) return stop(GpuFault::kUnmapped);
    GpuMapping of_gap;
    const GpuMapping* mapping = &of_gap;
    uint64_t skipped = 0;
    GpuAddress end(range->end);
    const auto next = pieces_.upper_bound(address);
    const auto piece = next == pieces_.begin() ? pieces_.end() : std::prev(next);
    if (piece != pieces_.end() && address < piece->first + piece->second.bytes) {
      end = piece->first + piece->second.bytes;
      mapping = &piece->second.mapping;
      skipped = address - piece->first;
    } else {
      const Range& gap = range->value;
      if (next != pieces_.end()) end = std::min(end, next->first);
      if (!gap.reserved) return stop(GpuFault::kUnmapped);
      of_gap.protection = gap.type == ReservationType::kZero ? kProtectZero : kProtectNoAccess;
      of_gap.effective = gap.effective;
    }
    if (const auto reason = Refusal(*mapping, write)) return stop(*reason);
    const uint64_t part = std::min(bytes, end - address);
    AddSpans(*mapping, skipped, part, spans);
    address += part;
    bytes -= part;
  }
  return true;
}

void GpuSpan::Read(Bytes to) const {
  if (storage) return storage->Read(offset, to);
  if (fence) return fence->domain().ReadMemory(*fence, offset, to);
  std::fill(to.begin(), to.end(), uint8_t{0});
}

void GpuSpan::Write(ConstBytes from, Aftermath* aftermath) const {
  if (storage) return storage->Write(offset, from);
  if (fence) fence->domain().WriteMemory(*fence, offset, from, aftermath);
}

bool GpuVa::Read(GpuAddress address, Bytes bytes, GpuFault* fault) {
  std::vector<GpuSpan> spans;
  if (!Translate(address, bytes.size(), false, &spans, fault)) return false;
  for (const GpuSpan& span : spans) {
    span.Read(bytes.first(span.bytes));
    bytes = bytes.subspan(span.bytes);
  }
  return true;
}

bool GpuVa::Write(GpuAddress address, ConstBytes bytes, GpuFault* fault, Aftermath* aftermath) {
  std::vector<GpuSpan> spans;
  if (!Translate(address, bytes.size(), true, &spans, fault)) return false;
  for (const GpuSpan& span : spans) {
    span.Write(bytes.first(span.bytes), aftermath);
    bytes = bytes.subspan(span.bytes);
  }
  return true;
}

// -- Commands.

namespace {

constexpr uint32_t kNoCommit = 2;  // a reservation that only the system makes

// Reservation types that programs may ask for.
bool ValidType(uint32_t type) { return type < kNoCommit; }

template <class Request>
GpuVa::Place PlaceOf(const Request& request) {
  return {GpuAddress(request.base_address()), GpuAddress(request.minimum_address()),
          GpuAddress(request.maximum_address())};
}

bool ValidProtection(uint64_t protection, bool has_allocation) {
  if ((protection & ~kProtectKnown) != 0) return false;
  const uint64_t without_memory = protection & (kProtectZero | kProtectNoAccess);
  if (without_memory == (kProtectZero | kProtectNoAccess)) return false;
  return has_allocation == (without_memory == 0);
}

}  // namespace

// The reply has no status: a refusal is address 0. The first field is the adapter, or a paging queue whose
// fence says when the reservation is effective.
void Commands::Handle(CommandContext& call, const host::ReserveGpuVirtualAddress::Request& request,
                      host::ReserveGpuVirtualAddress::Reply* reply) {
  if (call.CheckLiveAdapter() != kStatusSuccess || !ValidType(request.reservation_type())) return;
  if (call.Strike(FaultPoint::kAddressSpaceFull)) return;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  PagingQueue* queue = FindPagingQueue(call, process, request.adapter());
  if (!queue && request.adapter() != call.adapter->info().host_handle) return;
  if (queue && !queue->device.active()) return;
  AdapterUse* use = process.UseAdapter(call.adapter);
  if (!use) return;
  const GpuVa::Place place = PlaceOf(request);
  GpuAddress address;
  if (use->va.Reserve(place, request.size(), static_cast<ReservationType>(request.reservation_type()),
                      &address) != kStatusSuccess) {
    return;
  }
  reply->set_virtual_address(address.value);
  if (!queue) return;
  const PagingResult result = queue->Submit(call, 0, nullptr);
  if (result.pending()) use->va.SetEffective(address, {queue->fence, result.fence_value});
  reply->set_paging_fence_value(result.fence_value);
}

int32_t Commands::Handle(CommandContext& call, const host::MapGpuVirtualAddress::Request& request,
                         host::MapGpuVirtualAddress::Reply* reply) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  if (!ValidProtection(request.protection(), request.allocation() != 0)) return kStatusInvalidParameter;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  PagingQueue* queue = FindPagingQueue(call, process, request.paging_queue());
  if (!queue) return kStatusInvalidParameter;
  GpuMapping mapping;
  mapping.protection = request.protection();
  if (request.allocation() != 0) {
    mapping.allocation = FindAllocation(call, process, request.allocation());
    if (!mapping.allocation) return kStatusInvalidParameter;
  }
  if (call.adapter->removed() || !queue->device.active()) return kStatusDeviceRemoved;
  // In pages, so that no multiplication goes wrong.
  const uint64_t offset = request.offset_in_pages();
  const uint64_t pages = request.size_in_pages();
  if (mapping.allocation) {
    const uint64_t all = mapping.allocation->storage->bytes() / kPageBytes;
    if (offset > all || pages > all - offset) return kStatusInvalidParameter;
    if (call.adapter->video_memory()->Decommitted(*mapping.allocation->storage))
      return kStatusInvalidParameter;
    mapping.offset = offset * kPageBytes;
  } else if (offset != 0 || pages > ~0ull / kPageBytes) {
    return kStatusInvalidParameter;
  }
  AdapterUse* use = process.UseAdapter(call.adapter);
  if (!use) return kStatusInvalidParameter;
  if (call.Strike(FaultPoint::kAddressSpaceFull)) return kStatusNoMemory;
  const GpuVa::Place place = PlaceOf(request);
  GpuAddress address;
  if (const int32_t status = use->va.Map(place, pages * kPageBytes, mapping, &address);
      status != kStatusSuccess) {
    return status;
  }
  const PagingResult result = queue->Submit(call, 0, nullptr);
  if (result.pending()) use->va.SetEffective(address, {queue->fence, result.fence_value});
  reply->set_virtual_address(address.value);
  reply->set_paging_fence_value(result.fence_value);
  return result.status;
}

// Works whatever state the adapter and its devices are in.
int32_t Commands::Handle(CommandContext& call, const host::FreeGpuVirtualAddress::Request& request,
                         host::FreeGpuVirtualAddress::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  if (request.adapter() != call.adapter->info().host_handle) return kStatusInvalidParameter;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  AdapterUse* use = process.UseAdapter(call.adapter);
  return use ? use->va.Free(GpuAddress(request.base_address()), request.size()) : kStatusInvalidParameter;
}

}  // namespace dxg::hostsim
