#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace dxg::tracer {

// Memory of a thread that is stopped for this process. True: all bytes were read.
bool ReadMemory(pid_t tid, uint64_t address, std::span<std::byte> to);

struct Mapping {
  uint64_t begin, end;  // addresses
};

// What a process has mapped and may read, ascending; empty: that cannot be known. An address range that is
// only reserved is none.
std::vector<Mapping> MappingsOf(pid_t tid);

// How many bytes from that address on are in one mapping of `now`, and were in none of `before`: neighbours
// become one mapping. Where the address itself was mapped before, a node has mapped more at once than it was
// asked for, and this is what is mapped, kOldMax at most.
inline constexpr uint64_t kOldMax = 64u << 10;
uint64_t NewFrom(uint64_t address, const std::vector<Mapping>& before, const std::vector<Mapping>& now);

// The string there, at most `bytes_max` bytes of it; empty where it cannot be read.
std::string ReadString(pid_t tid, uint64_t address, size_t bytes_max);

}  // namespace dxg::tracer
