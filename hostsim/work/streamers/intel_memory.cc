#include "hostsim/work/streamers/intel_memory.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/page.h"
#include "hostsim/memory/gpu_address.h"
#include "hostsim/work/streamers/intel_commands.h"

namespace dxg::hostsim::intel {
namespace {

constexpr uint64_t PageOf(uint64_t address) { return address / kPageBytes * kPageBytes; }

}  // namespace

GpuWindow& PageMemory::Page(Kept& kept, uint64_t address, bool write) {
  const uint64_t page = PageOf(address);
  if (kept.page != page) {
    kept.page = page;
    kept.window.emplace(environment_, GpuAddress(page), kPageBytes, write);
  }
  return *kept.window;
}

GpuWindow& PageMemory::PageToWrite(uint64_t address) {
  if (PageOf(address) == PageOf(commands_start_)) Forget();
  return Page(written_, address, true);
}

const uint32_t* PageMemory::Commands(uint64_t address, uint64_t* dwords) {
  if (address < commands_start_ || address >= commands_end_) {
    const uint64_t bytes = PageOf(address) + kPageBytes - address;
    Forget();
    if (!Result(Page(of_commands_, address, false).Read(address % kPageBytes, commands_.data(), bytes),
                of_commands_)) {
      return nullptr;
    }
    commands_start_ = address;
    commands_end_ = address + bytes;
  }
  *dwords = (commands_end_ - address) / sizeof(uint32_t);
  return &commands_[(address - commands_start_) / sizeof(uint32_t)];
}

bool PageMemory::Read(uint64_t address, void* to, uint64_t bytes) {
  auto* out = static_cast<uint8_t*>(to);
  for (uint64_t done = 0; done < bytes;) {
    const uint64_t at = address + done;
    const uint64_t part = std::min(bytes - done, PageOf(at) + kPageBytes - at);
    if (!Result(Page(read_, at, false).Read(at % kPageBytes, out + done, part), read_)) return false;
    done += part;
  }
  return true;
}

std::optional<uint32_t> PageMemory::Load32(uint64_t address) {
  const uint64_t in_page = address % kPageBytes;
  const std::optional<uint64_t> word = Page(read_, address, false).Load64(in_page & ~7ull);
  if (!Result(word.has_value(), read_)) return std::nullopt;
  return static_cast<uint32_t>(*word >> (in_page % sizeof *word * 8));
}

bool PageMemory::Store32(uint64_t address, uint32_t value) {
  return Result(PageToWrite(address).Store32(value, address % kPageBytes), written_);
}

bool PageMemory::Store64(uint64_t address, uint64_t value) {
  return Result(PageToWrite(address).Store64(value, address % kPageBytes), written_);
}

std::optional<uint64_t> PageMemory::Change64(uint64_t address,
                                             const std::function<uint64_t(uint64_t)>& change) {
  const std::optional<uint64_t> old = PageToWrite(address).Change64(address % kPageBytes, change);
  Result(old.has_value(), written_);
  return old;
}

// -- Copies and fills.

namespace {

constexpr uint32_t kCopyRaster = 0xCC, kFillRaster = 0xF0;

struct Rectangle {
  uint32_t left, top, right, bottom;
};

Rectangle RectangleAt(const uint32_t* words) {
  return {Field(words[0], 0, 15), Field(words[0], 16, 31), Field(words[1], 0, 15), Field(words[1], 16, 31)};
}

// 0: not done here.
uint32_t BytesOfDepth(uint32_t depth) {
  constexpr uint32_t kBytes[] = {1, 2, 4, 8, 0, 16, 0, 0};
  return kBytes[depth & 7];
}

// Of XY_SRC_COPY_BLT and its like.
uint32_t BytesOfOldDepth(uint32_t depth) {
  constexpr uint32_t kBytes[] = {1, 2, 2, 4};
  return kBytes[depth & 3];
}

uint32_t BytesOfFastCopyDepth(uint32_t depth) {
  constexpr uint32_t kBytes[] = {1, 2, 0, 4, 8, 16, 0, 0};
  return kBytes[depth & 7];
}

void SetTarget(const Rectangle& to, uint32_t pixel_bytes, uint64_t base, uint64_t stride, Blt* blt) {
  blt->to_stride = stride;
  blt->to = base + to.top * stride + uint64_t{to.left} * pixel_bytes;
  if (to.right > to.left && to.bottom > to.top) {
    blt->row_bytes = uint64_t{to.right - to.left} * pixel_bytes;
    blt->rows = to.bottom - to.top;
  }
  blt->color_bytes = pixel_bytes;
}

void SetSource(uint32_t corner, uint32_t pixel_bytes, uint64_t base, uint64_t stride, Blt* blt) {
  blt->from_stride = stride;
  blt->from = base + Field(corner, 16, 31) * stride + uint64_t{Field(corner, 0, 15)} * pixel_bytes;
}

// Older commands have coordinates and strides of 16 bits with a sign.
bool AnyIsNegative(std::initializer_list<uint32_t> words) {
  return std::any_of(words.begin(), words.end(), [](uint32_t word) { return (word & 0x80008000) != 0; });
}

bool DecodeBlockCopy(const uint32_t* words, uint32_t count, Blt* blt) {
  const uint32_t pixel = BytesOfDepth(Field(words[0], 19, 21));
  if (count < 12 || pixel == 0 || Field(words[1], 30, 31) != 0 || Field(words[8], 30, 31) != 0) return false;
  SetTarget(RectangleAt(&words[2]), pixel, AddressAt(&words[4]), Field(words[1], 0, 17) + 1, blt);
  SetSource(words[7], pixel, AddressAt(&words[9]), Field(words[8], 0, 17) + 1, blt);
  return true;
}

bool DecodeFastCopy(const uint32_t* words, uint32_t count, Blt* blt) {
  if (count < 10) return false;
  const uint32_t pixel = BytesOfFastCopyDepth(Field(words[1], 24, 26));
  if (pixel == 0 || Field(words[0], 20, 21) != 0 || Field(words[0], 13, 14) != 0) return false;
  SetTarget(RectangleAt(&words[2]), pixel, AddressAt(&words[4]), Field(words[1], 0, 15), blt);
  SetSource(words[6], pixel, AddressAt(&words[8]), Field(words[7], 0, 15), blt);
  return true;
}

bool DecodeFastColor(const uint32_t* words, uint32_t count, Blt* blt) {
  const uint32_t pixel = BytesOfDepth(Field(words[0], 19, 21));
  if (count < 11 || pixel == 0 || Field(words[1], 30, 31) != 0) return false;
  SetTarget(RectangleAt(&words[2]), pixel, AddressAt(&words[4]), Field(words[1], 0, 17) + 1, blt);
  blt->fills = true;
  std::copy_n(&words[7], blt->color.size(), blt->color.begin());
  return true;
}

// Without clipping, tiles, or a mask of channels.
bool IsPlain(const uint32_t* words, uint32_t pixel, uint32_t raster) {
  return Field(words[1], 16, 23) == raster && Field(words[0], 11, 11) == 0 && Field(words[0], 15, 15) == 0 &&
         Field(words[1], 30, 30) == 0 && (pixel != 4 || Field(words[0], 20, 21) == 3);
}

bool DecodeColor(const uint32_t* words, uint32_t count, Blt* blt) {
  if (count < 7) return false;
  const uint32_t pixel = BytesOfOldDepth(Field(words[1], 24, 25));
  if (!IsPlain(words, pixel, kFillRaster) || AnyIsNegative({words[1] & 0xFFFF, words[2], words[3]})) {
    return false;
  }
  SetTarget(RectangleAt(&words[2]), pixel, AddressAt(&words[4]), Field(words[1], 0, 15), blt);
  blt->fills = true;
  blt->color[0] = words[6];
  return true;
}

bool DecodeSrcCopy(const uint32_t* words, uint32_t count, Blt* blt) {
  if (count < 10) return false;
  const uint32_t pixel = BytesOfOldDepth(Field(words[1], 24, 25));
  if (!IsPlain(words, pixel, kCopyRaster) ||
      AnyIsNegative({words[1] & 0xFFFF, words[2], words[3], words[6], words[7] & 0xFFFF})) {
    return false;
  }
  SetTarget(RectangleAt(&words[2]), pixel, AddressAt(&words[4]), Field(words[1], 0, 15), blt);
  SetSource(words[6], pixel, AddressAt(&words[8]), Field(words[7], 0, 15), blt);
  return true;
}

// Calls for parts of all rows, of at most kGpuChunkBytes, with their positions in target and source.
template <class Visit>
BltEnd ForEachPart(const Blt& blt, const std::atomic<bool>& cancelled, Visit visit) {
  for (uint64_t row = 0; row < blt.rows; ++row) {
    for (uint64_t done = 0; done < blt.row_bytes;) {
      if (cancelled) return BltEnd::kCancelled;
      const uint64_t part = std::min(blt.row_bytes - done, kGpuChunkBytes);
      if (!visit(row * blt.to_stride + done, row * blt.from_stride + done, part)) return BltEnd::kFault;
      done += part;
    }
  }
  return BltEnd::kDone;
}

// A color again and again, for a start at any of its repetitions: a row, or 64 KiB of a longer one.
std::vector<uint8_t> Repeated(const Blt& blt) {
  constexpr uint64_t kMin = sizeof blt.color, kMax = 64 * 1024;
  std::vector<uint8_t> block(std::clamp(blt.row_bytes, kMin, kMax));
  for (size_t i = 0; i < block.size(); i += blt.color_bytes)
    std::memcpy(block.data() + i, blt.color.data(), blt.color_bytes);
  return block;
}

}  // namespace

bool DecodeBlt(uint32_t opcode, const uint32_t* words, uint32_t count, Blt* blt) {
  switch (opcode) {
    case kXyBlockCopy:
      return DecodeBlockCopy(words, count, blt);
    case kXyFastCopy:
      return DecodeFastCopy(words, count, blt);
    case kXyFastColor:
      return DecodeFastColor(words, count, blt);
    case kXyColor:
      return DecodeColor(words, count, blt);
    case kXySrcCopy:
      return DecodeSrcCopy(words, count, blt);
    default:
      return false;
  }
}

BltEnd DoBlt(CommandEnvironment& environment, const std::atomic<bool>& cancelled, const Blt& rows,
             GpuFault* fault) {
  if (rows.bytes() == 0) return BltEnd::kDone;
  Blt blt = rows;
  if (blt.to_stride == blt.row_bytes && (blt.fills || blt.from_stride == blt.row_bytes)) {
    blt.row_bytes *= blt.rows;
    blt.rows = 1;
  }
  const uint64_t to_bytes = (blt.rows - 1) * blt.to_stride + blt.row_bytes;
  const uint64_t from_bytes = (blt.rows - 1) * blt.from_stride + blt.row_bytes;
  GpuWindow target(environment, GpuAddress(blt.to), to_bytes, true);
  GpuWindow source(environment, GpuAddress(blt.from), from_bytes, false);
  BltEnd end;
  if (blt.fills) {
    const std::vector<uint8_t> block = Repeated(blt);
    uint32_t pattern;
    std::memcpy(&pattern, block.data(), sizeof pattern);
    const bool by_pattern =
        blt.color_bytes <= sizeof pattern && ((blt.to | blt.to_stride | blt.row_bytes) % sizeof pattern) == 0;
    end = ForEachPart(blt, cancelled, [&](uint64_t to, uint64_t, uint64_t bytes) {
      if (by_pattern) return target.Fill(to, bytes, pattern);
      for (uint64_t done = 0; done < bytes; done += std::min<uint64_t>(bytes - done, block.size())) {
        if (!target.Write(to + done, block.data(), std::min<uint64_t>(bytes - done, block.size())))
          return false;
      }
      return true;
    });
  } else if (Overlap(GpuAddress(blt.to), to_bytes, GpuAddress(blt.from), from_bytes)) {
    std::vector<uint8_t> part(std::min(blt.row_bytes, kGpuChunkBytes));
    end = ForEachPart(blt, cancelled, [&](uint64_t to, uint64_t from, uint64_t bytes) {
      return source.Read(from, part.data(), bytes) && target.Write(to, part.data(), bytes);
    });
  } else {
    end = ForEachPart(blt, cancelled, [&](uint64_t to, uint64_t from, uint64_t bytes) {
      return target.CopyFrom(to, source, from, bytes);
    });
  }
  if (end == BltEnd::kFault) *fault = target.failed() ? target.fault() : source.fault();
  return end;
}

}  // namespace dxg::hostsim::intel
