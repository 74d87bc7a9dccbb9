#pragma once

#include <cstdint>
#include <span>
#include <string_view>

// The published names of bits, values and statuses. dxg-gen takes them from proto/abi/*.h, so that they stand
// there and nowhere else.

namespace dxg::contract {

// A member of a flag word: `bits` bits from bit `shift` on.
struct BitName {
  uint8_t shift;
  uint8_t bits;
  const char* name;
};

struct ValueNameRow {
  uint32_t value;
  const char* name;
};

using BitNames = std::span<const BitName>;
using ValueNames = std::span<const ValueNameRow>;

// Of a struct of d3dkmthk.h that is a flag word, such as "d3dkmt_adaptertype". Empty: there is none.
BitNames BitsOf(std::string_view type);

// Of an enum of d3dkmthk.h, such as "d3dkmt_devicestate_type".
ValueNames ValuesOf(std::string_view type);

// Of the member that a field of a call is: what its type in the published struct is called. Both empty: it is
// a plain number. `message` is the full name of its message.
struct FieldNames {
  BitNames bits;
  ValueNames values;
};
FieldNames NamesOfField(std::string_view message, int field_number);

// "STATUS_PENDING"; null: it has none here.
const char* NtStatusName(int32_t status);

}  // namespace dxg::contract
