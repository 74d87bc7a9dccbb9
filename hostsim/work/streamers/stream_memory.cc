#include "hostsim/work/streamers/stream_memory.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/page.h"

namespace dxg::hostsim {
namespace {

// Of a copy whose ranges overlap, and of a fill with a pattern that is none of whole words.
constexpr uint64_t kStreamBlockBytes = 64 * 1024;

// A program without an end is cut off here.
constexpr uint64_t kProgramBytesMax = 64 * 1024;

bool InOnePage(GpuAddress address, uint64_t bytes) {
  return address.value % kPageBytes + bytes <= kPageBytes;
}

}  // namespace

GpuWindow& StreamMemory::PageAt(std::array<Page, kPages>& pages, GpuAddress address, bool write) {
  const uint64_t number = address.value / kPageBytes;
  Page& page = pages[number % kPages];
  if (!page.window || page.number != number) {
    page.number = number;
    page.window.emplace(environment_, GpuAddress(number * kPageBytes), kPageBytes, write);
  }
  return *page.window;
}

bool StreamMemory::Read(GpuAddress from, void* to, uint64_t bytes) {
  if (InOnePage(from, bytes)) {
    GpuWindow& window = PageAt(readable_, from, false);
    return window.Read(from.value % kPageBytes, to, bytes) || Fail(window.fault());
  }
  GpuWindow window(environment_, from, bytes, false);
  return window.Read(0, to, bytes) || Fail(window.fault());
}

bool StreamMemory::Write(GpuAddress to, const void* from, uint64_t bytes) {
  if (InOnePage(to, bytes)) {
    GpuWindow& window = PageAt(writable_, to, true);
    return window.Write(to.value % kPageBytes, from, bytes) || Fail(window.fault());
  }
  GpuWindow window(environment_, to, bytes, true);
  return window.Write(0, from, bytes) || Fail(window.fault());
}

bool StreamMemory::Load(GpuAddress from, uint64_t* value) {
  GpuWindow& window = PageAt(readable_, from, false);
  const std::optional<uint64_t> loaded = window.Load64(from.value % kPageBytes);
  if (!loaded) return Fail(window.fault());
  *value = *loaded;
  return true;
}

bool StreamMemory::Store(GpuAddress to, uint32_t value) {
  GpuWindow& window = PageAt(writable_, to, true);
  return window.Store32(value, to.value % kPageBytes) || Fail(window.fault());
}

bool StreamMemory::Store(GpuAddress to, uint64_t value) {
  GpuWindow& window = PageAt(writable_, to, true);
  return window.Store64(value, to.value % kPageBytes) || Fail(window.fault());
}

bool StreamMemory::Update(GpuAddress at, uint64_t bytes, const Change& change, uint64_t* old) {
  constexpr uint64_t kWordBytes = sizeof(uint64_t);
  const uint64_t shift = bytes == kWordBytes ? 0 : at.value % kWordBytes * 8;
  const uint64_t mask = (bytes == kWordBytes ? ~0ull : 0xFFFFFFFFull) << shift;
  GpuWindow& window = PageAt(writable_, at, true);
  const uint64_t word = at.value % kPageBytes / kWordBytes * kWordBytes;
  const std::optional<uint64_t> before = window.Change64(word, [&](uint64_t value) {
    return (value & ~mask) | (change((value & mask) >> shift) << shift & mask);
  });
  if (!before) return Fail(window.fault());
  if (old) *old = (*before & mask) >> shift;
  return true;
}

bool StreamMemory::Copy(GpuAddress to, GpuAddress from, uint64_t bytes, bool backwards) {
  if (bytes == 0) return true;
  if (Overlap(to, bytes, from, bytes)) return CopyInBlocks(to, from, bytes, backwards);
  GpuWindow target(environment_, to, bytes, true);
  GpuWindow source(environment_, from, bytes, false);
  for (uint64_t at = 0; at < bytes && !cancelled_;) {
    const uint64_t part = std::min(bytes - at, kGpuChunkBytes);
    if (!target.CopyFrom(at, source, part)) return Fail(target.failed() ? target.fault() : source.fault());
    at += part;
  }
  return true;
}

bool StreamMemory::CopyInBlocks(GpuAddress to, GpuAddress from, uint64_t bytes, bool backwards) {
  GpuWindow target(environment_, to, bytes, true);
  GpuWindow source(environment_, from, bytes, false);
  std::vector<uint8_t> block(std::min(bytes, kStreamBlockBytes));
  for (uint64_t done = 0; done < bytes && !cancelled_;) {
    const uint64_t part = std::min(bytes - done, kStreamBlockBytes);
    const uint64_t at = backwards ? bytes - done - part : done;
    if (!source.Read(at, block.data(), part)) return Fail(source.fault());
    if (!target.Write(at, block.data(), part)) return Fail(target.fault());
    done += part;
  }
  return true;
}

bool StreamMemory::Fill(GpuAddress to, uint64_t bytes, uint32_t pattern, uint32_t pattern_bytes) {
  if (bytes == 0) return true;
  if (pattern_bytes == 1) pattern = (pattern & 0xFF) * 0x01010101u;
  if (pattern_bytes == 2) pattern = (pattern & 0xFFFF) * 0x00010001u;
  GpuWindow target(environment_, to, bytes, true);
  const bool words = to.value % sizeof pattern == 0 && bytes % sizeof pattern == 0;
  std::vector<uint8_t> block;
  if (!words) {
    block.resize(std::min(bytes, kStreamBlockBytes));
    for (size_t at = 0; at < block.size(); at += sizeof pattern) {
      std::memcpy(block.data() + at, &pattern, std::min(sizeof pattern, block.size() - at));
    }
  }
  for (uint64_t at = 0; at < bytes && !cancelled_;) {
    const uint64_t part = std::min(bytes - at, words ? kGpuChunkBytes : kStreamBlockBytes);
    if (!(words ? target.Fill(at, part, pattern) : target.Write(at, block.data(), part)))
      return Fail(target.fault());
    at += part;
  }
  return true;
}

uint64_t HashProgram(StreamMemory& memory, GpuAddress program, bool (*ends)(uint64_t), uint32_t unit) {
  // FNV-1a, by instruction.
  uint64_t hash = 0xCBF29CE484222325ull;
  std::array<uint8_t, kPageBytes> page;
  for (uint64_t at = 0; at < kProgramBytesMax;) {
    // To the end of the page, since the next one may not be there; and of whole instructions.
    const uint64_t to_end = kPageBytes - (program + at).value % kPageBytes;
    const uint64_t part = to_end < unit ? unit : to_end - to_end % unit;
    if (!memory.Read(program + at, page.data(), part)) return 0;
    for (uint64_t in_part = 0; in_part < part; in_part += unit) {
      uint64_t instruction = 0;
      std::memcpy(&instruction, &page[in_part], unit);
      hash = (hash ^ instruction) * 0x100000001B3ull;
      if (ends(instruction)) return hash;
    }
    at += part;
  }
  return hash;
}

}  // namespace dxg::hostsim
