#pragma once

#include <cstdint>

// The messages of TBX, the channel by which Intel's compute runtime speaks to a simulated GPU. Names and
// layouts are those of the runtime's tbx_proto.h (release 22.43), which is under the MIT license. Numbers are
// little-endian. Each message is a Header, `bytes` of a body, and behind the body of a kWriteMemory the bytes
// that are written.

namespace dxg::hostsim::serve::tbx {

enum Type : uint32_t {
  kRegister = 0,  // RegisterBody; kRegisterValue answers a read
  kRegisterValue = 1,
  kGlobalEntry = 2,  // GlobalEntryBody; kGlobalEntryValue answers a read
  kGlobalEntryValue = 3,
  kWriteMemory = 4,  // MemoryBody; no answer
  kReadMemory = 5,   // MemoryBody; kMemory answers
  kMemory = 6,       // MemoryBody, and behind it the bytes
  kControl = 11,     // how the simulator is to behave; no answer
};

struct Header {
  uint32_t type;
  uint32_t number;  // an answer has that of its question
  uint32_t bytes;   // of the body
};

struct RegisterBody {
  static constexpr uint32_t kWrite = 1u << 0;
  uint32_t flags;  // bits 3:1: bytes of the register; bits 8:6: the space, 0 is MMIO
  uint32_t offset;
  uint32_t value;
};
constexpr uint32_t BytesOf(const RegisterBody& body) { return body.flags >> 1 & 7; }
constexpr uint32_t SpaceOf(const RegisterBody& body) { return body.flags >> 6 & 7; }
// Some senders add who they are.
inline constexpr uint32_t kRegisterBytes = sizeof(RegisterBody), kLongRegisterBytes = kRegisterBytes + 4;

struct GlobalEntryBody {
  static constexpr uint32_t kWrite = 1u << 0;
  uint32_t flags;
  uint32_t index;  // of the entry
  uint32_t low, high;
};

struct MemoryBody {
  static constexpr uint32_t kMasked = 1u << 1;  // of a write: a mask comes behind the bytes
  uint32_t flags;                               // bits 31:24: bits 39:32 of the address
  uint32_t address;                             // physical
  uint32_t bytes;
};
constexpr uint64_t AddressOf(const MemoryBody& body) {
  return body.address | uint64_t{body.flags >> 24} << 32;
}

inline constexpr uint64_t kPhysicalEnd = 1ull << 40;
inline constexpr uint32_t kBodyBytesMax = 64;
inline constexpr uint32_t kMemoryBytesMax = 16u << 20;  // of one message

}  // namespace dxg::hostsim::serve::tbx
