#include "hostsim/serve/tbx_memory.h"

#include <algorithm>
#include <utility>

#include "base/page.h"
#include "hostsim/serve/tbx_protocol.h"

namespace dxg::hostsim::serve {
namespace {

constexpr uint64_t kPresent = 1u << 0, kWritable = 1u << 1;
constexpr uint64_t kLarge = 1u << 7;  // of an entry that is not of the last level: it shows memory itself
constexpr uint64_t kAddressBits = tbx::kPhysicalEnd - kPageBytes;
constexpr uint64_t kVirtualEnd = 1ull << 48;
constexpr int kLevels = 4, kBitsOfALevel = 9;

}  // namespace

TbxMemory::TbxMemory(std::shared_ptr<TbxRoom> room)
    : room_(std::move(room)),
      budget_({}),
      video_(std::make_shared<VideoMemory>(std::vector<Segment>{{kLocal, tbx::kPhysicalEnd, false}}, budget_,
                                           AdapterProfile::Trouble())),
      regions_(std::make_shared<IoSpace>(1)) {}

TbxMemory::~TbxMemory() { room_->Give(chunks_.size() * kChunkBytes); }

std::shared_ptr<Storage> TbxMemory::Find(uint64_t address) const {
  const auto found = chunks_.find(address / kChunkBytes);
  return found == chunks_.end() ? nullptr : found->second;
}

std::shared_ptr<Storage> TbxMemory::FindOrMake(uint64_t address) {
  if (std::shared_ptr<Storage> found = Find(address)) return found;
  if (!room_->Take(kChunkBytes)) return nullptr;
  Extent extent = regions_.Allocate(kChunkBytes);
  if (!extent) {
    room_->Give(kChunkBytes);
    return nullptr;
  }
  StorageTraits traits;
  traits.bytes = kChunkBytes;
  auto made = std::make_shared<Storage>(video_, traits, std::move(extent), count_);
  chunks_.emplace(address / kChunkBytes, made);
  return made;
}

void TbxMemory::Read(uint64_t address, Bytes to) const {
  while (!to.empty()) {
    const uint64_t in_chunk = address % kChunkBytes;
    const size_t part = std::min<uint64_t>(to.size(), kChunkBytes - in_chunk);
    if (const std::shared_ptr<Storage> chunk = Find(address)) {
      chunk->Read(in_chunk, to.first(part));
    } else {
      std::fill_n(to.begin(), part, uint8_t{0});
    }
    address += part;
    to = to.subspan(part);
  }
}

bool TbxMemory::Write(uint64_t address, ConstBytes from) {
  while (!from.empty()) {
    const uint64_t in_chunk = address % kChunkBytes;
    const size_t part = std::min<uint64_t>(from.size(), kChunkBytes - in_chunk);
    const std::shared_ptr<Storage> chunk = FindOrMake(address);
    if (!chunk) return false;
    chunk->Write(in_chunk, from.first(part));
    address += part;
    from = from.subspan(part);
  }
  return true;
}

// -- The global table.

bool TbxMemory::SetGlobal(uint32_t index, uint64_t entry) {
  if (entry == 0) {
    global_.erase(index);
    return true;
  }
  if (global_.size() >= kGlobalEntriesMax && !global_.contains(index)) return false;
  global_[index] = entry;
  return true;
}

uint64_t TbxMemory::Global(uint32_t index) const {
  const auto found = global_.find(index);
  return found == global_.end() ? 0 : found->second;
}

std::optional<uint64_t> TbxMemory::PhysicalOfGlobal(uint64_t address) const {
  if (address >> 32 != 0) return std::nullopt;
  const uint64_t entry = Global(static_cast<uint32_t>(address / kPageBytes));
  if ((entry & kPresent) == 0) return std::nullopt;
  return (entry & kAddressBits) + address % kPageBytes;
}

std::optional<uint32_t> TbxMemory::LoadGlobal(uint64_t address) const {
  const auto physical = PhysicalOfGlobal(address);
  if (!physical) return std::nullopt;
  uint32_t value = 0;
  // Safety: bytes of a number.
  Read(*physical, {reinterpret_cast<uint8_t*>(&value), sizeof value});
  return value;
}

bool TbxMemory::StoreGlobal(uint64_t address, uint32_t value) {
  const auto physical = PhysicalOfGlobal(address);
  // Safety: bytes of a number.
  return physical && Write(*physical, {reinterpret_cast<const uint8_t*>(&value), sizeof value});
}

// -- Page tables.

std::optional<GpuFault::Reason> TbxMemory::Walk(uint64_t tables, uint64_t address, bool write,
                                                uint64_t* physical) const {
  uint64_t table = tables;
  for (int level = kLevels - 1; level >= 0; --level) {
    const uint64_t index = address / kPageBytes >> (level * kBitsOfALevel) & ((1u << kBitsOfALevel) - 1);
    uint64_t entry = 0;
    // Safety: bytes of a number.
    Read(table + index * sizeof entry, {reinterpret_cast<uint8_t*>(&entry), sizeof entry});
    if ((entry & kPresent) == 0 || (level != 0 && (entry & kLarge) != 0)) return GpuFault::kUnmapped;
    if (write && (entry & kWritable) == 0) return GpuFault::kReadOnly;
    table = entry & kAddressBits;
  }
  *physical = table;
  return std::nullopt;
}

bool TbxMemory::Translate(uint64_t tables, GpuAddress address, uint64_t bytes, bool write,
                          std::vector<GpuSpan>* spans, GpuFault* fault) {
  spans->clear();
  for (uint64_t at = address.value; bytes != 0;) {
    const uint64_t part = std::min(bytes, kPageBytes - at % kPageBytes);
    uint64_t page = 0;
    std::optional<GpuFault::Reason> refusal = GpuFault::kUnmapped;
    if (at < kVirtualEnd) refusal = Walk(tables, at, write, &page);
    GpuSpan span;
    if (!refusal) {
      span.storage = write ? FindOrMake(page) : Find(page);
      if (write && !span.storage) refusal = GpuFault::kNotResident;
    }
    if (refusal) {
      *fault = {*refusal, GpuAddress(at), write};
      return false;
    }
    if (span.storage) span.offset = page % kChunkBytes + at % kPageBytes;
    span.bytes = part;
    spans->push_back(std::move(span));
    at += part;
    bytes -= part;
  }
  return true;
}

}  // namespace dxg::hostsim::serve
