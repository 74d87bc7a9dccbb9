#include <span>

#include "hostsim/work/eu/gen12lp.h"

// Compact instructions of 8 bytes name rows of tables, and a row has bits of the whole instruction. The rows
// were found by giving every index to Intel's assembler and reading the bits of what it makes of it; a test
// compares them again.

namespace dxg::hostsim::eu::gen12lp {
namespace {

constexpr uint32_t kControl[32] = {0x000004, 0x000003, 0x002000, 0x002004, 0x002003, 0x080004, 0x000024,
                                   0x0a0004, 0x000000, 0x010004, 0x000013, 0x060004, 0x020004, 0x022004,
                                   0x040004, 0x000104, 0x0a0003, 0x000184, 0x002001, 0x000144, 0x0001c4,
                                   0x082004, 0x000023, 0x000033, 0x0a2004, 0x080003, 0x022000, 0x010003,
                                   0x0a0084, 0x020003, 0x008003, 0x002024};
constexpr uint32_t kDatatype[32] = {0xd6954, 0x06954, 0x02b54, 0x56d54, 0xd4954, 0xd2954, 0x54d54, 0x00800,
                                    0xd0954, 0x2eccc, 0xb68cc, 0x52d54, 0x96844, 0x50d54, 0x36ccc, 0x16c44,
                                    0x07154, 0x2cccc, 0x00822, 0x02844, 0x26c2a, 0x0ec22, 0x97044, 0x0694c,
                                    0x8c8cc, 0x06854, 0x2ec4c, 0x02822, 0x06834, 0x06814, 0x068d4, 0x02954};
constexpr uint16_t kSubregister[32] = {0x0000, 0x4000, 0x1000, 0x3000, 0x0080, 0x2000, 0x5000, 0x0008,
                                       0x0100, 0x6000, 0x7000, 0x0200, 0x0004, 0x0300, 0x0280, 0x0180,
                                       0x0380, 0x001c, 0x0010, 0x000c, 0x0018, 0x0014, 0x0002, 0x0140,
                                       0x0040, 0x0084, 0x005c, 0x0042, 0x018c, 0x0020, 0x0060, 0x6300};
constexpr uint16_t kSource0[16] = {0x464, 0x000, 0x466, 0x465, 0x002, 0x200, 0x240, 0x340,
                                   0x224, 0x300, 0x226, 0x344, 0x467, 0x100, 0x001, 0xf10};
constexpr uint16_t kSource1[16] = {0x119, 0x000, 0x919, 0x800, 0x519, 0x8d0, 0x080, 0x089,
                                   0x889, 0x0d0, 0x0d1, 0x0c0, 0xd19, 0x400, 0xc00, 0x8d1};
constexpr uint64_t kControl3[32] = {
    0x04a540004, 0x04a540003, 0x048540003, 0x04a542003, 0x048542003, 0x048540013, 0x04a540013, 0x048542013,
    0x04a542013, 0x04a542004, 0x048540004, 0x04a550004, 0x04a540024, 0x048542004, 0x04a542000, 0x04a550003,
    0x048542033, 0x048542023, 0x04a542033, 0x04a542023, 0x048540023, 0x048540033, 0x04a540023, 0x04a540033,
    0x048550004, 0x04a552004, 0x04a542024, 0x04a442000, 0x048540024, 0x04a550024, 0x04a542002, 0x048550003};
constexpr uint32_t kSource3[32] = {0x12c300, 0x12c242, 0x16c343, 0x12c343, 0x160143, 0x16c34b, 0x14c343,
                                   0x10c300, 0x16c300, 0x16cb43, 0x16e343, 0x160100, 0x10c343, 0x12e300,
                                   0x12e343, 0x12c34b, 0x120143, 0x12c308, 0x120100, 0x16e300, 0x12cb00,
                                   0x14c300, 0x12cb43, 0x16cb4b, 0x14c34b, 0x16e34b, 0x162143, 0x160943,
                                   0x16c308, 0x16cb00, 0x120943, 0x14cb43};
constexpr uint32_t kSubregister3[32] = {
    0x00000, 0x20000, 0x00180, 0xa0000, 0x80380, 0x60000, 0x40000, 0x02000, 0x01000, 0xc0000, 0x80000,
    0xe0000, 0x06000, 0x00080, 0x04000, 0x03000, 0x05000, 0x07000, 0x00100, 0x00200, 0x00300, 0x00280,
    0x00380, 0xc0380, 0x20100, 0x20180, 0x40180, 0x80300, 0x80280, 0x60080, 0xa0380, 0x40080};

struct BitRange {
  uint8_t high, low;
};

// Where the bits of a row go, from its lowest on.
constexpr BitRange kControlFields[] = {{18, 16}, {21, 19}, {23, 22}, {27, 24}, {28, 28},
                                       {31, 31}, {32, 32}, {33, 33}, {34, 34}, {95, 92}};
constexpr BitRange kDatatypeFields[] = {{35, 35}, {39, 36}, {43, 40}, {46, 46}, {47, 47},
                                        {49, 48}, {50, 50}, {66, 66}, {91, 88}, {98, 98}};
constexpr BitRange kSubregisterFields[] = {{55, 51}, {71, 67}, {103, 99}};
constexpr BitRange kSource0Fields[] = {{45, 44}, {65, 64}, {80, 80}, {83, 81}, {87, 84}};
constexpr BitRange kSource1Fields[] = {{97, 96}, {112, 112}, {115, 113}, {119, 116}, {121, 120}};
constexpr BitRange kControl3Fields[] = {{18, 16}, {21, 19}, {23, 22}, {27, 24}, {28, 28}, {31, 31},
                                        {32, 32}, {33, 33}, {34, 34}, {38, 36}, {39, 39}, {42, 40},
                                        {48, 48}, {50, 50}, {82, 80}, {90, 88}, {95, 92}};
constexpr BitRange kSource3Fields[] = {{35, 35}, {43, 43}, {45, 44}, {46, 46},   {47, 47},
                                       {65, 64}, {66, 66}, {83, 83}, {85, 84},   {87, 86},
                                       {91, 91}, {97, 96}, {98, 98}, {113, 112}, {114, 114}};
constexpr BitRange kSubregister3Fields[] = {{55, 51}, {71, 67}, {103, 99}, {119, 115}};

void Spread(Word* word, std::span<const BitRange> fields, uint64_t row) {
  for (const BitRange& field : fields) {
    word->Set(field.high, field.low, row);
    row >>= field.high - field.low + 1;
  }
}

// The 12 bits of an immediate: the high ones of a float, else the low ones, with the sign if the type has
// one.
uint32_t Immediate(uint32_t bits, uint32_t type) {
  constexpr uint32_t kWord = 1, kSignedByte = 4, kSignedWord = 5, kSignedDword = 6, kFloat = 10;
  const uint32_t extended = static_cast<uint32_t>(static_cast<int32_t>(bits << 20) >> 20);
  switch (type) {
    case kFloat:
      return bits << 20;
    case kWord:
      return bits << 16 | bits;
    case kSignedWord:
      return extended << 16 | (extended & 0xffff);
    case kSignedDword:
      return extended;
    case kSignedByte:  // of an immediate: the vector
    default:
      return bits;
  }
}

}  // namespace

std::optional<Word> Uncompact(uint64_t compact, const OpRow& row) {
  if (!(row.can & kCompact)) return std::nullopt;
  const Word in{{compact, 0}};
  Word out;
  out.Set(6, 0, in.Get(6, 0));
  out.Set(15, 8, in.Get(15, 8));
  out.Set(30, 30, in.Get(7, 7));
  out.Set(63, 56, in.Get(23, 16));
  out.Set(79, 72, in.Get(47, 40));
  if (row.form == Form::kThree) {
    Spread(&out, kControl3Fields, kControl3[in.Get(28, 24)]);
    Spread(&out, kSource3Fields, kSource3[in.Get(34, 30)]);
    Spread(&out, kSubregister3Fields, kSubregister3[in.Get(39, 35)]);
    out.Set(127, 120, in.Get(55, 48));
    out.Set(111, 104, in.Get(63, 56));
    return out;
  }
  Spread(&out, kControlFields, kControl[in.Get(28, 24)]);
  Spread(&out, kDatatypeFields, kDatatype[in.Get(34, 30)]);
  const bool has_immediate = out.Bit(46) || out.Bit(47);
  const uint32_t subregisters = kSubregister[in.Get(39, 35)];
  Spread(&out, std::span(kSubregisterFields).first(has_immediate ? 2 : 3), subregisters);
  Spread(&out, kSource0Fields, kSource0[in.Get(51, 48)]);
  if (has_immediate) {
    const uint32_t type = out.Bit(46) ? out.Get(43, 40) : out.Get(91, 88);
    out.Set(127, 96, Immediate(in.Get(63, 56) << 4 | in.Get(55, 52), type));
  } else {
    Spread(&out, kSource1Fields, kSource1[in.Get(55, 52)]);
    out.Set(111, 104, in.Get(63, 56));
  }
  return out;
}

}  // namespace dxg::hostsim::eu::gen12lp
