#pragma once

#include <cstdint>

// The private escapes of the simulated kernel-mode driver: data of type DRIVERPRIVATE that begins with this
// header. Anything else is refused.
//
//   0         4       8
//   | 'SGPU'  |  op   | op's data ...
//
//   op 1 PING           any data; it comes back as it was
//   op 2 QUERY_VERSION  24 bytes; out: version of these escapes u32@8, WDDM version u32@12, driver version
//   u64@16 as
//                       QueryAdapterInfo type 49 has it
//
// In the reply bit 31 of op is set.

namespace dxg::hostsim {

inline constexpr uint32_t kEscapeMagic = 0x55504753;  // "SGPU" in memory
inline constexpr uint32_t kEscapeHeaderBytes = 8;
inline constexpr uint32_t kEscapePing = 1;
inline constexpr uint32_t kEscapeQueryVersion = 2;
inline constexpr uint32_t kEscapeQueryVersionBytes = 24;
inline constexpr uint32_t kEscapeReply = 1u << 31;
inline constexpr uint32_t kEscapesVersion = 1;

}  // namespace dxg::hostsim
