#include "base/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/page.h"

namespace dxg {

Result<UniqueFd> MakeSharedMemory(const char* name, size_t bytes) {
  UniqueFd file(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.valid() || ftruncate(file.get(), static_cast<off_t>(bytes)) != 0 ||
      fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return Status::Refuse(errno, "no {} bytes of shared memory: {}", bytes, std::strerror(errno));
  return file;
}

std::shared_ptr<std::byte> MapSharedMemory(int file, uint64_t offset, size_t bytes) {
  struct stat status {};
  const int seals = fcntl(file, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(file, &status) != 0) return nullptr;
  const auto size = static_cast<uint64_t>(status.st_size);
  if (bytes == 0 || offset % kPageBytes != 0 || offset > size || bytes > size - offset) return nullptr;
  void* const mapped =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, static_cast<off_t>(offset));
  if (mapped == MAP_FAILED) return nullptr;
  return std::shared_ptr<std::byte>(static_cast<std::byte*>(mapped),
                                    [bytes](std::byte* memory) { munmap(memory, bytes); });
}

}  // namespace dxg
