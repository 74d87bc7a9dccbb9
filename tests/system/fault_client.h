#pragma once

#include <cstdint>

#include "tests/system/fault_board.h"

namespace dxg::faults {

// Sockets that carry descriptors of shared fences from each client to the next.
struct Post {
  int to_next = -1, from_previous = -1;
};

// Runs a client process: it works at random until a fault, checks what the fault left, closes everything and
// begins again. Returns the exit status of the process; if that is not 0, the board has the reason.
int RunClient(Board& board, size_t index, uint64_t seed, Post post);

}  // namespace dxg::faults
