#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/status.h"
#include "base/unique_fd.h"

// Memory that two processes have in common, and of which neither can take anything away from the other.

namespace dxg {

// A memory file of so many bytes, zeros, that can neither shrink nor grow. `name` shows in /proc.
Result<UniqueFd> MakeSharedMemory(const char* name, size_t bytes);

// Maps a part of such a file, which somebody else may have made. Null: it cannot be mapped, does not have
// that part, or could become shorter, which would end us by SIGBUS.
std::shared_ptr<std::byte> MapSharedMemory(int file, uint64_t offset, size_t bytes);

}  // namespace dxg
