#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/status.h"
#include "base/unique_fd.h"

// Memory that two processes have in common, and of which neither can take anything away from the other.

namespace dxg {

// A memory file of so many bytes, zeros, that can neither shrink nor grow. `name` shows in /proc. Errors:
// those of memfd_create(2) and ftruncate(2), EMFILE and EFBIG for example.
Result<UniqueFd> MakeSharedMemory(const char* name, size_t bytes);

// Maps a part of such a file, which somebody else may have made, for reading and writing. `offset` is in
// bytes, whole pages; `bytes` is not 0. Null: it cannot be mapped, does not have that part, or could become
// shorter, which would end us by SIGBUS.
std::shared_ptr<std::byte> MapSharedMemory(int file, uint64_t offset, size_t bytes);

}  // namespace dxg
