#include "cuse-dxg/client/kinds.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include "base/page.h"
#include "base/unique_fd.h"

namespace dxg::client {
namespace {

// A client may have made that many mounts of its own, to keep us busy.
constexpr int kMountsMax = 4096;

// Where the kernel keeps memory files, System V segments and anonymous shared memory: a file system that is
// mounted nowhere.
uint64_t DeviceOfMemoryFiles(unsigned flags) {
  return FileIdOf(UniqueFd(memfd_create("dxg-kind", MFD_CLOEXEC | flags)).get()).device;
}

// The file systems that keep their files in memory, as the process has them mounted:
//
//     36 35 0:45 /root /at rw,noatime master:1 - tmpfs anything rw
//
// Only the third field is the number: what stands behind the type is whatever who mounted it liked.
std::set<uint64_t> MountedMemory(pid_t tid) {
  std::set<uint64_t> memory;
  std::ifstream mounts(fmt::format("/proc/{}/mountinfo", tid));
  std::string line;
  for (int count = 0; count < kMountsMax && std::getline(mounts, line); ++count) {
    unsigned device_major, device_minor;
    const size_t dash = line.find(" - ");
    if (std::sscanf(line.c_str(), "%*u %*u %u:%u", &device_major, &device_minor) != 2 ||
        dash == std::string::npos)
      continue;
    const std::string type = line.substr(dash + 3, line.find(' ', dash + 3) - dash - 3);
    if (type == "tmpfs" || type == "devtmpfs" || type == "hugetlbfs" || type == "ramfs")
      memory.insert(makedev(device_major, device_minor));
  }
  return memory;
}

// The file behind a mapping, without asking its file system, which may be one that never answers. None where
// we may not look (this takes CAP_CHECKPOINT_RESTORE).
std::optional<struct statx> Behind(pid_t tid, const MappedRange& range) {
  struct statx info;
  const std::string link = fmt::format("/proc/{}/map_files/{:x}-{:x}", tid, range.begin, range.end);
  if (statx(AT_FDCWD, link.c_str(), AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE, &info) != 0)
    return std::nullopt;
  return info;
}

bool CanBeRead(pid_t tid, uint64_t address) {
  char byte;
  const iovec here = {&byte, 1};
  const iovec there = {reinterpret_cast<void*>(address), 1};  // Safety: only the kernel follows it, there
  if (process_vm_readv(tid, &here, 1, &there, 1, 0) == 1) return true;
  if (errno != EPERM) return false;
  // A container's filter forbids that call, and not this.
  const UniqueFd memory(open(fmt::format("/proc/{}/mem", tid).c_str(), O_RDONLY | O_CLOEXEC));
  return memory.valid() && pread(memory.get(), &byte, 1, static_cast<off_t>(address)) == 1;
}

bool IsOfADevice(std::string_view name) {
  return (name.starts_with("/dev/") && !name.starts_with("/dev/shm/") && !name.starts_with("/dev/zero")) ||
         name.starts_with("/dmabuf:");
}

}  // namespace

bool Kinds::IsMemory(uint64_t device) {
  static const uint64_t small = DeviceOfMemoryFiles(0), huge = DeviceOfMemoryFiles(MFD_HUGETLB);
  if (device == small || (device == huge && huge != 0)) return true;
  if (!mounted_memory_) mounted_memory_ = MountedMemory(tid_);
  return mounted_memory_->contains(device);
}

bool Kinds::CanBePinned(const MappedRange& range, uint64_t end, bool writable) {
  if (!range.readable || (writable && !range.writable)) return false;
  if (range.name.starts_with("[v")) return false;  // [vdso], [vvar], [vsyscall]
  if (range.file.inode == 0) return true;
  if (range.name.starts_with("anon_inode:")) return true;
  if (range.name.starts_with("/secretmem")) return false;
  if (writable && range.shared && !IsMemory(range.file.device)) return false;
  end = std::min(end, range.end);
  const auto file = Behind(tid_, range);
  if (!file) return !IsOfADevice(range.name) && CanBeRead(tid_, end - kPageBytes);
  if (S_ISCHR(file->stx_mode)) return file->stx_rdev_major == 1 && file->stx_rdev_minor == 5;  // /dev/zero
  const uint64_t bytes = (file->stx_size + kPageBytes - 1) / kPageBytes * kPageBytes;
  return S_ISREG(file->stx_mode) && range.offset + (end - range.begin) <= bytes;
}

}  // namespace dxg::client
