#pragma once

#include <cstdint>

#include "tests/system/fault_board.h"

namespace dxg::faults {

// Sockets that carry descriptors of shared fences from each client to the next.
struct Post {
  int to_next = -1, from_previous = -1;
};

// A client process: works at random until a fault ends its world, judges what the fault left, closes
// everything and begins again. Returns the process's exit status; where that is not 0, the board says why.
int RunClient(Board& board, size_t index, uint64_t seed, Post post);

}  // namespace dxg::faults
