#include "hostsim/work/eu/page_cache.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace dxg::hostsim::eu {

uint8_t* PageCache::Enter(Page& page, uint64_t number, bool write) {
  std::vector<GpuSpan> spans;
  GpuFault fault;
  const GpuAddress start(number * kPageBytes);
  page = {};
  ++translations_;
  if (!environment_.Translate(start, kPageBytes, write, &spans, &fault)) return nullptr;
  if (spans.size() != 1 || !spans[0].storage) return nullptr;
  const std::shared_ptr<Storage>& storage = spans[0].storage;
  // What nobody wrote reads zero without being given its memory, and may be written at any time.
  if (!write && storage->Blank()) return nullptr;
  uint64_t together = kPageBytes;
  uint8_t* const memory = write ? storage->MemoryForWriting(spans[0].offset, &together)
                                : storage->MemoryForReading(spans[0].offset, &together);
  if (!memory || together < kPageBytes) return nullptr;
  page = {number, memory, storage};
  return memory;
}

bool PageCache::ReadInPage(uint64_t address, uint8_t* to, uint64_t bytes) {
  if (const uint8_t* const memory = Memory(readable_, address, false)) {
    std::memcpy(to, memory + address % kPageBytes, bytes);
    return true;
  }
  ++translations_;
  GpuWindow window(environment_, GpuAddress(address), bytes, false);
  if (window.Read(0, to, bytes)) return true;
  fault_ = window.fault();
  return false;
}

bool PageCache::WriteInPage(uint64_t address, const uint8_t* from, uint64_t bytes) {
  if (uint8_t* const memory = Memory(writable_, address, true)) {
    std::memcpy(memory + address % kPageBytes, from, bytes);
    return true;
  }
  ++translations_;
  GpuWindow window(environment_, GpuAddress(address), bytes, true);
  if (window.Write(0, from, bytes)) return true;
  fault_ = window.fault();
  return false;
}

bool PageCache::Read(uint64_t address, void* to, uint64_t bytes) {
  auto* out = static_cast<uint8_t*>(to);
  while (bytes != 0) {
    address = Canonical(address);
    const uint64_t part = std::min(bytes, kPageBytes - address % kPageBytes);
    if (!ReadInPage(address, out, part)) return false;
    address += part;
    out += part;
    bytes -= part;
  }
  return true;
}

bool PageCache::Write(uint64_t address, const void* from, uint64_t bytes) {
  const auto* in = static_cast<const uint8_t*>(from);
  while (bytes != 0) {
    address = Canonical(address);
    const uint64_t part = std::min(bytes, kPageBytes - address % kPageBytes);
    if (!WriteInPage(address, in, part)) return false;
    address += part;
    in += part;
    bytes -= part;
  }
  return true;
}

std::optional<uint64_t> PageCache::ChangeSlowly(uint64_t address,
                                                const std::function<uint64_t(uint64_t)>& change) {
  ++translations_;
  GpuWindow window(environment_, GpuAddress(address), sizeof(uint64_t), true);
  const auto before = window.Change64(0, change);
  if (!before) fault_ = window.fault();
  return before;
}

}  // namespace dxg::hostsim::eu
