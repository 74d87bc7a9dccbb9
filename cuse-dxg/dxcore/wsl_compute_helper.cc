// libwsl_compute_helper.so: what Intel's compute runtime loads from the driver store's folder, because the
// structures that it exchanges with the kernel-mode driver may look different there than in the runtime's own
// headers. The runtime writes such a structure as a list of tokens (an id, a length, the value), and the
// helper turns tokens into the driver's structure and back.
//
// There is no driver of Intel's here, and the profile's data and the simulated GPU read tokens. So the
// driver's structure IS the list of tokens, with zeros behind it where the runtime's list is the shorter one:
// a zero is a token that every reader skips.
//
// The interface is the runtime's shared/wsl_compute_helper/source/wsl_compute_helper.h; the numbers and sizes
// are of its versions 22.43 to 26.31, whichever is the larger one.

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DXG_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

struct TokenHeader;

struct Structure {
  uint32_t id;
  size_t bytes;  // of its tokens
};

constexpr Structure kStructures[] = {
    {1, 12248},  // ADAPTER_INFO, in what QueryAdapterInfo answers to UMDRIVERPRIVATE
    {7, 6692},   // GMM_RESOURCE_INFO, the private data of an allocation
    {33, 144},   // CREATECONTEXT_PVTDATA, the private data of a context (84 bytes of tokens before 26)
    {48, 120},   // COMMAND_BUFFER_HEADER, the private data of a submission
    {135, 296},  // GMM_GFX_PARTITIONING, in an escape
};

// 0 for what is not known: the runtime then allocates nothing for it.
size_t BytesOf(uint32_t id) {
  for (const Structure& structure : kStructures) {
    if (structure.id == id) return structure.bytes;
  }
  return 0;
}

}  // namespace

DXG_EXPORT uint64_t getVersion() { return 1; }  // from 1 on, GMM_GFX_PARTITIONING is translated as well

DXG_EXPORT size_t getSizeRequiredForStruct(uint32_t id) { return BytesOf(id); }

DXG_EXPORT size_t getSizeRequiredForTokens(uint32_t id) { return BytesOf(id); }

// False: the structure is not known, or the tokens do not fit. Beyond the structure nothing is written: of
// an escape the runtime announces more bytes than there are.
DXG_EXPORT bool tokensToStruct(uint32_t id, void* to, size_t to_bytes, const TokenHeader* begin,
                               const TokenHeader* end) {
  const char* const from = reinterpret_cast<const char*>(begin);  // Safety: tokens are copied as bytes
  const char* const from_end = reinterpret_cast<const char*>(end);
  const size_t known = BytesOf(id);
  const size_t bytes = from_end < from ? SIZE_MAX : static_cast<size_t>(from_end - from);
  if (known == 0 || bytes > known || bytes > to_bytes) return false;
  memcpy(to, from, bytes);
  const size_t whole = known < to_bytes ? known : to_bytes;
  memset(static_cast<char*>(to) + bytes, 0, whole - bytes);
  return true;
}

// The same back. `from` may be shorter than the structure, as an answer of a profile.
DXG_EXPORT bool structToTokens(uint32_t id, TokenHeader* to, size_t to_bytes, const void* from,
                               size_t from_bytes) {
  if (BytesOf(id) == 0 || from_bytes > to_bytes) return false;
  char* const out = reinterpret_cast<char*>(to);  // Safety: tokens are copied as bytes
  memcpy(out, from, from_bytes);
  memset(out + from_bytes, 0, to_bytes - from_bytes);
  return true;
}

// Tokens own nothing.
DXG_EXPORT void destroyStructRepresentation(uint32_t, void*, size_t) {}
