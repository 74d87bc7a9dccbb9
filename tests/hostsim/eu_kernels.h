#pragma once

#include <cstdint>
#include <vector>

#include "tests/hostsim/packet_rig.h"

// Kernels of a few instructions, assembled by Intel's assembler, and the batch that dispatches one.

namespace dxg::hostsim::eu {

// Each lane writes 16 * group + its id + r2.1 at r2.0 + 4 * (16 * group + its id).
inline const std::vector<uint32_t> kStores = {
    0x00030061, 0x0a050120, 0x00460105, 0x00000000, 0x80000069, 0x0b058220, 0x02000024, 0x00000004,
    0x00030040, 0x0c050220, 0x02460a05, 0x00000b04, 0x00030069, 0x0d058220, 0x02460c05, 0x00000002,
    0x00030040, 0x0e050220, 0x02460d05, 0x00000204, 0x80030061, 0x10054220, 0x00000000, 0x00000000,
    0x80030061, 0x11054220, 0x00000000, 0x00000000, 0x00030061, 0x10060220, 0x00460e05, 0x00000000,
    0x00030040, 0x14050220, 0x02460c05, 0x00000224, 0x00030031, 0x00000000, 0xcdfe1014, 0x019a140c,
    0x80030061, 0x7f050220, 0x00460005, 0x00000000, 0x80030031, 0x00000004, 0x70207f0c, 0x00000000};
// The end.
inline const std::vector<uint32_t> kEmpty(kStores.end() - 8, kStores.end());
// while (8) to itself
inline const std::vector<uint32_t> kEndless = {0x00030027, 0x00004000, 0x00000000, 0x00000000};
// Threads whose local ids are below r2.2:uw, the second word of 32 bits, come to the barrier, the others end.
inline const std::vector<uint32_t> kBarrier = {
    0x00030070, 0x00010110, 0x51460105, 0x00000224, 0x01030022, 0x0000c000, 0x00000030,
    0x00000030, 0x80000031, 0x00000000, 0x3008000c, 0x00000000, 0x80000001, 0x00010000,
    0xe0000000, 0x00000000, 0x00030025, 0x00004000, 0x00000000, 0x00000010, 0x80030061,
    0x7f050220, 0x00460005, 0x00000000, 0x80030031, 0x00000004, 0x70207f0c, 0x00000000};
// send.smpl, and the end
inline const std::vector<uint32_t> kSamples = {0x00030031, 0x0a0c0000, 0x2002140c, 0x00080000,
                                               0x80030031, 0x00000004, 0x70207f0c, 0x00000000};

// Where they lie: all below 4 GiB, at multiples of 4 KiB.
struct DispatchPlaces {
  uint64_t dynamic, code, payload;
};
constexpr uint32_t kKernelOffset = 0x40, kDescriptorOffset = 0x40;
// At kDescriptorOffset of the dynamic state: the kernel, a register of a payload for each thread and one for
// all, and two threads in a group.
inline const std::vector<uint32_t> kDescriptor = {kKernelOffset, 0, 0, 0, 0, 1u << 16, 2, 1};

// Of `groups` groups of two threads of 8 lanes.
inline Words DispatchBatch(const DispatchPlaces& places, uint32_t groups, uint32_t last_mask = 0xFF) {
  std::vector<uint32_t> bases(22, 0);
  bases[0] = 0x61010014;
  bases[6] = static_cast<uint32_t>(places.dynamic) | 1;
  bases[8] = static_cast<uint32_t>(places.payload) | 1;
  bases[10] = static_cast<uint32_t>(places.code) | 1;
  Words words;
  for (const uint32_t word : bases) words.Add(word);
  words.Add(0x70020002, 0, 32, kDescriptorOffset);
  words.Add(0x7105000D, 0, 96, 0, 1, 0, 0, groups, 0, 0, 1, 0, 1, last_mask, ~0u);
  return words.Add(0x05000000);  // MI_BATCH_BUFFER_END
}

// Local ids of threads of 8 lanes: a register for each thread.
inline std::vector<uint16_t> LocalIds() {
  std::vector<uint16_t> ids(16 * 4);
  for (uint32_t thread = 0; thread < 4; ++thread)
    for (uint32_t lane = 0; lane < 8; ++lane)
      ids[16 * thread + lane] = static_cast<uint16_t>(8 * thread + lane);
  return ids;
}

}  // namespace dxg::hostsim::eu
