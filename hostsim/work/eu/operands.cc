#include "hostsim/work/eu/operands.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

namespace dxg::hostsim::eu {
namespace {

static_assert(std::endian::native == std::endian::little, "registers are read as they lie in memory");

constexpr const char* kOutside = "an indirect address is outside of the registers";

uint64_t Load(const uint8_t* from, uint32_t bytes) {
  switch (bytes) {
    case 1:
      return *from;
    case 2: {
      uint16_t value;
      std::memcpy(&value, from, sizeof(value));
      return value;
    }
    default: {
      uint32_t value;
      std::memcpy(&value, from, sizeof(value));
      return value;
    }
  }
}

void Store(uint8_t* to, uint32_t bytes, uint64_t value) { std::memcpy(to, &value, bytes); }

// Safety: a Thread is a plain struct, and offsets are of bytes within it.
const uint8_t* BytesOf(const Thread& thread) { return reinterpret_cast<const uint8_t*>(&thread); }
uint8_t* BytesOf(Thread& thread) { return reinterpret_cast<uint8_t*>(&thread); }

// Where the element of a lane is. False: outside.
bool Locate(const Thread& thread, const Place& place, uint32_t lane, uint32_t bytes, uint32_t* at) {
  const uint32_t row = lane >> place.width_log2, column = lane & ((1u << place.width_log2) - 1);
  if (place.kind == Place::kRegion) {
    *at = place.base + row * place.row_bytes + column * place.column_bytes;
    return true;
  }
  const uint32_t subreg = place.address_subreg + (place.kind == Place::kIndirectRows ? row : 0);
  int32_t address =
      thread.address[subreg & 15] + place.address_offset + static_cast<int32_t>(column * place.column_bytes);
  if (place.kind == Place::kIndirect) address += static_cast<int32_t>(row * place.row_bytes);
  if (address < 0 || address + bytes > sizeof(thread.grf)) return false;
  *at = static_cast<uint32_t>(offsetof(Thread, grf)) + static_cast<uint32_t>(address);
  return true;
}

int64_t Extend(uint64_t bits, Type type) {
  switch (type) {
    case Type::kB:
      return static_cast<int8_t>(bits);
    case Type::kW:
      return static_cast<int16_t>(bits);
    case Type::kD:
      return static_cast<int32_t>(bits);
    default:
      return static_cast<int64_t>(bits);
  }
}

struct Limits {
  int64_t least, most;
};

Limits LimitsOf(Type type) {
  const uint32_t bits = 8 * dxg::hostsim::eu::BytesOf(type);
  if (IsSigned(type)) return {-(int64_t{1} << (bits - 1)), (int64_t{1} << (bits - 1)) - 1};
  return {0, (int64_t{1} << bits) - 1};
}

float Flush(float value) {
  return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value;
}

constexpr float kSmallestNormalHalf = 0x1p-14f;
const float kNotANumber = std::bit_cast<float>(0x7fc00000u);

// The accumulator's bits above a dword.
void StoreHigh(Thread& thread, const Step& step, uint32_t at, int64_t value) {
  const uint32_t index = (at - static_cast<uint32_t>(offsetof(Thread, accumulator))) / 4;
  thread.accumulator_high[index] = static_cast<int32_t>(value >> 32);
  (void)step;
}

bool IsAccumulator(uint32_t at) {
  return at >= offsetof(Thread, accumulator) &&
         at < offsetof(Thread, accumulator) + sizeof(Thread::accumulator);
}

// `wide` has the bits above a dword, for the accumulator.
const char* StoreElements(Thread& thread, const Step& step, uint32_t lanes, const uint64_t* values,
                          const int64_t* wide) {
  const uint32_t bytes = BytesOf(step.to.type);
  for (uint32_t lane = 0; lane < step.lanes; ++lane) {
    if (!(lanes >> lane & 1)) continue;
    if (step.to.kind != Place::kNone) {
      uint32_t at = 0;
      if (!Locate(thread, step.to, lane, bytes, &at)) return kOutside;
      Store(BytesOf(thread) + at, bytes, values[lane]);
      if (IsAccumulator(at) && bytes == 4) StoreHigh(thread, step, at, wide ? wide[lane] : 0);
    }
    if (step.writes_accumulator) {
      const uint32_t at = static_cast<uint32_t>(offsetof(Thread, accumulator)) + lane * bytes;
      Store(BytesOf(thread) + at, bytes, values[lane]);
      if (bytes == 4) StoreHigh(thread, step, at, wide ? wide[lane] : 0);
    }
  }
  return nullptr;
}

}  // namespace

const char* FetchBits(const Thread& thread, const Step& step, const Place& from, uint32_t lanes,
                      uint64_t* out) {
  const uint32_t bytes = BytesOf(from.type);
  switch (from.kind) {
    case Place::kNone:
      std::fill_n(out, step.lanes, 0);
      return nullptr;
    case Place::kImmediate:
      std::fill_n(out, step.lanes, from.value);
      return nullptr;
    case Place::kPattern:
      for (uint32_t lane = 0; lane < step.lanes; ++lane) {
        const uint64_t four = from.value >> (lane * from.column_bytes / 2 * 4) & 15;
        out[lane] = from.type == Type::kV && four >= 8 ? four | ~uint64_t{15} : four;
      }
      return nullptr;
    case Place::kLaneMask:
      std::fill_n(out, step.lanes, thread.active_mask);
      return nullptr;
    case Place::kRegion:
      for (uint32_t lane = 0; lane < step.lanes; ++lane) {
        const uint32_t row = lane >> from.width_log2, column = lane & ((1u << from.width_log2) - 1);
        out[lane] =
            Load(BytesOf(thread) + from.base + row * from.row_bytes + column * from.column_bytes, bytes);
      }
      return nullptr;
    case Place::kIndirect:
    case Place::kIndirectRows:
      break;
  }
  for (uint32_t lane = 0; lane < step.lanes; ++lane) {
    out[lane] = 0;
    if (!(lanes >> lane & 1)) continue;
    uint32_t at = 0;
    if (!Locate(thread, from, lane, bytes, &at)) return kOutside;
    out[lane] = Load(BytesOf(thread) + at, bytes);
  }
  return nullptr;
}

const char* FetchIntegers(const Thread& thread, const Step& step, const Place& from, uint32_t lanes,
                          int64_t* out) {
  uint64_t bits[kLanesMax];
  if (const char* why = FetchBits(thread, step, from, lanes, bits)) return why;
  for (uint32_t lane = 0; lane < step.lanes; ++lane) out[lane] = Extend(bits[lane], from.type);
  if (from.absolute)
    for (uint32_t lane = 0; lane < step.lanes; ++lane) out[lane] = out[lane] < 0 ? -out[lane] : out[lane];
  if (from.negate)
    for (uint32_t lane = 0; lane < step.lanes; ++lane) out[lane] = -out[lane];
  // Modifiers work within 32 bits, at least.
  if (from.negate || from.absolute) {
    for (uint32_t lane = 0; lane < step.lanes; ++lane) {
      if (from.type == Type::kUd) out[lane] = static_cast<uint32_t>(out[lane]);
      if (from.type == Type::kD) out[lane] = static_cast<int32_t>(out[lane]);
    }
  }
  return nullptr;
}

const char* FetchFloats(const Thread& thread, const Step& step, const Place& from, uint32_t lanes,
                        float* out) {
  uint64_t bits[kLanesMax];
  if (const char* why = FetchBits(thread, step, from, lanes, bits)) return why;
  const Modes modes(thread);
  if (from.type == Type::kHf) {
    for (uint32_t lane = 0; lane < step.lanes; ++lane) {
      out[lane] = FloatOfHalf(static_cast<uint16_t>(bits[lane]));
      if (!modes.keeps_half_denormals && std::fabs(out[lane]) < kSmallestNormalHalf)
        out[lane] = std::copysign(0.0f, out[lane]);
    }
  } else {
    for (uint32_t lane = 0; lane < step.lanes; ++lane) {
      out[lane] = std::bit_cast<float>(static_cast<uint32_t>(bits[lane]));
      if (!modes.keeps_float_denormals) out[lane] = Flush(out[lane]);
    }
  }
  // Of the sign bit alone, also of what is not a number.
  for (uint32_t lane = 0; lane < step.lanes; ++lane) {
    uint32_t value = std::bit_cast<uint32_t>(out[lane]);
    if (from.absolute) value &= 0x7fffffff;
    if (from.negate) value ^= 0x80000000;
    out[lane] = std::bit_cast<float>(value);
  }
  return nullptr;
}

const char* StoreBits(Thread& thread, const Step& step, uint32_t lanes, const uint64_t* values) {
  return StoreElements(thread, step, lanes, values, nullptr);
}

const char* StoreIntegers(Thread& thread, const Step& step, uint32_t lanes, int64_t* values) {
  const Limits limits = LimitsOf(step.to.type);
  uint64_t bits[kLanesMax];
  int64_t wide[kLanesMax];
  for (uint32_t lane = 0; lane < step.lanes; ++lane) {
    if (step.saturate) values[lane] = std::clamp(values[lane], limits.least, limits.most);
    wide[lane] = values[lane];
    bits[lane] = static_cast<uint64_t>(values[lane]) & static_cast<uint64_t>(limits.most - limits.least);
    values[lane] = Extend(bits[lane], step.to.type);
  }
  return StoreElements(thread, step, lanes, bits, wide);
}

const char* StoreFloats(Thread& thread, const Step& step, uint32_t lanes, float* values) {
  const Modes modes(thread);
  uint64_t bits[kLanesMax];
  for (uint32_t lane = 0; lane < step.lanes; ++lane) {
    float value = values[lane];
    // What is not a number has the same bits whatever it came from.
    if (std::isnan(value)) value = kNotANumber;
    if (step.saturate) value = value > 0 ? std::min(value, 1.0f) : 0.0f;
    if (step.to.type == Type::kHf) {
      bits[lane] = HalfOfDouble(value, modes.rounding);
      value = FloatOfHalf(static_cast<uint16_t>(bits[lane]));
      if (!modes.keeps_half_denormals && std::fabs(value) < kSmallestNormalHalf) {
        bits[lane] &= 0x8000;
        value = std::copysign(0.0f, value);
      }
    } else {
      if (!modes.keeps_float_denormals) value = Flush(value);
      bits[lane] = std::bit_cast<uint32_t>(value);
    }
    values[lane] = value;
  }
  return StoreElements(thread, step, lanes, bits, nullptr);
}

void StoreFlags(Thread& thread, const Step& step, uint32_t lanes, uint32_t bits) {
  uint32_t& flag = thread.flag[step.flag_register];
  flag = (flag & ~(lanes << step.flag_bit)) | (bits & lanes) << step.flag_bit;
}

}  // namespace dxg::hostsim::eu
