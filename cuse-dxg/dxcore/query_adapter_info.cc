#include "cuse-dxg/dxcore/query_adapter_info.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "cuse-dxg/dxcore/node.h"
#include "proto/abi/ntstatus.h"
#include "proto/abi/qaitype.h"

namespace dxg::dxcore {
namespace {

static_assert(sizeof(wchar_t) == 4);

// Texts of the two sizes. `in` and `out` need not be aligned: one of the structs is packed.
char16_t Unit(const char* in, size_t index) {
  char16_t unit;
  memcpy(&unit, in + index * sizeof(unit), sizeof(unit));
  return unit;
}
void Put(char* out, size_t index, wchar_t c) { memcpy(out + index * sizeof(c), &c, sizeof(c)); }

// Where the driver store begins to matter: behind "\filerepository\", in any case. `units` if it is not in
// this text.
size_t BehindDriverStore(const char* in, size_t units) {
  constexpr char kFolder[] = "\\filerepository\\";
  constexpr size_t kLength = sizeof(kFolder) - 1;
  for (size_t at = 0; at + kLength <= units; ++at) {
    size_t same = 0;
    for (; same < kLength; ++same) {
      char16_t unit = Unit(in, at + same);
      if (unit >= u'A' && unit <= u'Z') unit = static_cast<char16_t>(unit - u'A' + u'a');
      if (unit != static_cast<unsigned char>(kFolder[same])) break;
    }
    if (same == kLength) return at + kLength;
  }
  return units;
}

// One text without its NUL, of at most as many characters as it has units: the new path is shorter than any
// that ends in that folder, and who has a shorter one gets what fits. Returns the characters.
size_t WidenText(const char* in, size_t units, char* out) {
  constexpr wchar_t kPlace[] = L"/usr/lib/wsl/drivers/";
  size_t from = BehindDriverStore(in, units);
  size_t to = 0;
  const bool is_path = from != units;
  if (is_path) {
    for (const wchar_t* c = kPlace; *c && to < units; ++c) Put(out, to++, *c);
  } else {
    from = 0;
  }
  while (from < units && to < units) {
    wchar_t c = Unit(in, from++);
    const bool is_high = c >= 0xD800 && c < 0xDC00, is_low = c >= 0xDC00 && c < 0xE000;
    if (is_high && from < units && (Unit(in, from) & 0xFC00) == 0xDC00) {
      c = 0x10000 + ((c - 0xD800) << 10) + (Unit(in, from++) - 0xDC00);
    } else if (is_high || is_low) {
      c = 0xFFFD;  // half of a character
    }
    if (is_path && c == L'\\') c = L'/';
    Put(out, to++, c);
  }
  return to;
}

// An array of texts, each with its NUL; what is left is zero.
void Widen(const char* in, size_t units, char* out) {
  size_t from = 0, to = 0;
  while (from < units) {
    size_t end = from;
    while (end < units && Unit(in, end) != 0) ++end;
    to += WidenText(in + from * sizeof(char16_t), end - from, out + to * sizeof(wchar_t));
    if (end < units) Put(out, to++, 0);
    from = end + 1;
  }
  while (to < units) Put(out, to++, 0);
}

// A part of an answer: bytes that are the same on both sides, then units of text.
struct Part {
  uint16_t bytes;
  uint16_t units;
};

struct TextQuery {
  uint32_t type;
  uint16_t bytes_in;  // of the bytes at the beginning, those that the caller gives
  Part parts[4];
};

constexpr uint16_t kPathUnits = 260;
constexpr size_t kDriverBytesMax = 8192;

constexpr TextQuery kTextQueries[] = {
    {KMTQAITYPE_UMDRIVERNAME, 4, {{4, kPathUnits}}},
    {KMTQAITYPE_UMOPENGLINFO, 0, {{0, kPathUnits}, {8, 0}}},
    {KMTQAITYPE_ADAPTERREGISTRYINFO, 0, {{0, kPathUnits}, {0, kPathUnits}, {0, kPathUnits}, {0, kPathUnits}}},
    {KMTQAITYPE_ADAPTERREGISTRYINFO_RENDER,
     0,
     {{0, kPathUnits}, {0, kPathUnits}, {0, kPathUnits}, {0, kPathUnits}}},
    {KMTQAITYPE_DRIVER_DESCRIPTION, 0, {{0, 4096}}},
    {KMTQAITYPE_DRIVER_DESCRIPTION_RENDER, 0, {{0, 4096}}},
    {KMTQAITYPE_QUERY_ADAPTER_UNIQUE_GUID, 0, {{0, 40}}},
    {KMTQAITYPE_NODEMETADATA, 4, {{8, 32}, {6, 0}}},
};

// Bytes of a whole answer whose characters have `width` bytes.
constexpr size_t BytesOf(const TextQuery& query, size_t width) {
  size_t bytes = 0;
  for (const Part& part : query.parts) bytes += part.bytes + part.units * width;
  return bytes;
}

const TextQuery* FindTextQuery(uint32_t type) {
  for (const TextQuery& query : kTextQueries) {
    if (query.type == type) return &query;
  }
  return nullptr;
}

char* DataOf(const d3dkmt_queryadapterinfo& args) {
  return reinterpret_cast<char*>(args.private_data);  // Safety: the caller's own address
}

// The same question with a buffer of ours.
// NOLINTNEXTLINE(readability-non-const-parameter): the driver writes there
int32_t Ask(const d3dkmt_queryadapterinfo& args, char* data, size_t bytes) {
  d3dkmt_queryadapterinfo ours = args;
  ours.private_data = reinterpret_cast<uintptr_t>(data);
  ours.private_data_size = static_cast<uint32_t>(bytes);
  return Call(LX_DXQUERYADAPTERINFO, &ours);
}

int32_t AskForText(const TextQuery& query, const d3dkmt_queryadapterinfo& args) {
  char* out = DataOf(args);
  if (args.private_data_size != BytesOf(query, sizeof(wchar_t)) || !out) return DXG_STATUS_INVALID_PARAMETER;
  char data[kDriverBytesMax] = {};
  memcpy(data, out, query.bytes_in);
  const int32_t status = Ask(args, data, BytesOf(query, sizeof(char16_t)));
  if (status < 0) return status;
  const char* in = data;
  for (const Part& part : query.parts) {
    memcpy(out, in, part.bytes);
    Widen(in + part.bytes, part.units, out + part.bytes);
    in += part.bytes + part.units * sizeof(char16_t);
    out += part.bytes + part.units * sizeof(wchar_t);
  }
  return status;
}

// D3DDDI_QUERYREGISTRY_INFO, whose value's size is the caller's choice. Offsets here and there.
struct RegistryLayout {
  size_t value_type, physical_adapter, value_size, status, value, bytes;
};
constexpr size_t kQueryType = 0, kValueName = 8;
constexpr RegistryLayout kDriver = {528, 532, 536, 540, 544, 552};
constexpr RegistryLayout kLibrary = {1048, 1052, 1056, 1060, 1064, 1072};
constexpr uint32_t kValueFits = 0, kValueOverflows = 1, kValueMissing = 2;

uint32_t Number(const char* at) {
  uint32_t number;
  memcpy(&number, at, sizeof(number));
  return number;
}
void PutNumber(char* at, uint32_t number) { memcpy(at, &number, sizeof(number)); }

bool IsText(uint32_t query_type, uint32_t value_type) {
  const bool is_path = query_type == 2 || query_type == 3;  // of the driver store, of the driver's image
  return is_path || value_type == 1 || value_type == 2 ||
         value_type == 7;  // REG_SZ, REG_EXPAND_SZ, REG_MULTI_SZ
}

// False: the name has a character that the driver's 16 bits do not hold.
bool NarrowName(const char* in, char* out) {
  for (size_t i = 0; i < kPathUnits; ++i) {
    const uint32_t c = Number(in + i * sizeof(wchar_t));
    if (c > 0xFFFF) return false;
    const char16_t unit = static_cast<char16_t>(c);
    memcpy(out + i * sizeof(unit), &unit, sizeof(unit));
  }
  return true;
}

void TakeValue(const char* in, size_t in_bytes, bool is_text, char* out, size_t out_bytes) {
  const size_t room = out_bytes - kLibrary.value;
  const size_t answered = Number(in + kDriver.value_size);
  const size_t units = answered / sizeof(char16_t);
  const size_t needed = is_text ? units * sizeof(wchar_t) : answered;
  uint32_t status = Number(in + kDriver.status);
  if (status == kValueFits && (needed > room || answered > in_bytes - kDriver.value))
    status = kValueOverflows;
  PutNumber(out + kLibrary.value_size, static_cast<uint32_t>(needed));
  PutNumber(out + kLibrary.status, status);
  if (status != kValueFits) return;
  if (is_text) {
    Widen(in + kDriver.value, units, out + kLibrary.value);
  } else {
    memcpy(out + kLibrary.value, in + kDriver.value, answered);
  }
}

int32_t AskRegistry(const d3dkmt_queryadapterinfo& args) {
  char* const out = DataOf(args);
  if (args.private_data_size < kLibrary.bytes || !out) return DXG_STATUS_INVALID_PARAMETER;
  const uint32_t query_type = Number(out + kQueryType);
  const bool is_text = IsText(query_type, Number(out + kLibrary.value_type));
  const size_t more = args.private_data_size - kLibrary.bytes;
  const size_t bytes = kDriver.bytes + (is_text ? more / sizeof(wchar_t) * sizeof(char16_t) : more);
  char* const data = static_cast<char*>(calloc(1, bytes));
  if (!data) return DXG_STATUS_NO_MEMORY;
  memcpy(data, out, kValueName);
  PutNumber(data + kDriver.value_type, Number(out + kLibrary.value_type));
  PutNumber(data + kDriver.physical_adapter, Number(out + kLibrary.physical_adapter));
  PutNumber(data + kDriver.status, kValueMissing);
  int32_t status = DXG_STATUS_INVALID_PARAMETER;
  const bool has_name =
      query_type == 0 || query_type == 1;  // a value of the service's key, of the adapter's key
  if (!has_name || NarrowName(out + kValueName, data + kValueName)) {
    status = Ask(args, data, bytes);
    if (status >= 0) TakeValue(data, bytes, is_text, out, args.private_data_size);
  }
  free(data);
  return status;
}

}  // namespace

int32_t QueryAdapterInfo(d3dkmt_queryadapterinfo* args) {
  if (!args) return DXG_STATUS_INVALID_PARAMETER;
  if (args->type == KMTQAITYPE_QUERYREGISTRY) return AskRegistry(*args);
  if (const TextQuery* query = FindTextQuery(args->type)) return AskForText(*query, *args);
  return Call(LX_DXQUERYADAPTERINFO, args);
}

}  // namespace dxg::dxcore
