#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace dxg::tracer {

// Memory of a thread that is stopped for this process. True: all bytes were read.
bool ReadMemory(pid_t tid, uint64_t address, std::span<std::byte> to);

// How many bytes are mapped from that address on, in one mapping; 0: nothing is, or that cannot be read.
uint64_t MappedFrom(pid_t tid, uint64_t address);

// The string there, at most `bytes_max` bytes of it; empty where it cannot be read.
std::string ReadString(pid_t tid, uint64_t address, size_t bytes_max);

}  // namespace dxg::tracer
