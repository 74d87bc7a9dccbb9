// ProcessVm::Pin: a client's memory for longer than a call. Nothing outside a process can hold on to its
// pages, so they are reached through its address space, which /proc/<pid>/mem names even when the process
// executes another program.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "base/page.h"
#include "cuse-dxg/client/process_vm.h"

namespace dxg::client {
namespace {

constexpr uint64_t kFrameMask = (uint64_t{1} << 55) - 1;  // of a pagemap entry
constexpr uint64_t kPresent = uint64_t{1} << 63;

class ProcessMemory final : public AddressSpace {
 public:
  ProcessMemory(int memory, int pagemap) : memory_(memory), pagemap_(pagemap) {}
  ~ProcessMemory() override {
    close(memory_);
    if (pagemap_ >= 0) close(pagemap_);
  }

  bool Read(uint64_t address, std::span<std::byte> to) override {
    return pread(memory_, to.data(), to.size(), static_cast<off_t>(address)) ==
           static_cast<ssize_t>(to.size());
  }

  bool Write(uint64_t address, std::span<const std::byte> from) override {
    return pwrite(memory_, from.data(), from.size(), static_cast<off_t>(address)) ==
           static_cast<ssize_t>(from.size());
  }

  bool Frames(uint64_t address, std::span<uint64_t> frames) override {
    const off_t at = static_cast<off_t>(address / kPageBytes * sizeof(uint64_t));
    if (pread(pagemap_, frames.data(), frames.size_bytes(), at) != static_cast<ssize_t>(frames.size_bytes()))
      return false;
    for (uint64_t& frame : frames) {
      if ((frame & kPresent) == 0) return false;
      frame &= kFrameMask;
    }
    return true;
  }

  int file() const override { return memory_; }

 private:
  const int memory_, pagemap_;
};

// One line of /proc/<pid>/maps.
struct Mapping {
  uint64_t begin = 0, end = 0;
  std::string rights, path;  // "rw-p"
};

bool Parse(const std::string& line, Mapping* mapping) {
  std::istringstream fields(line);
  char dash = 0;
  std::string offset, device, inode;
  fields >> std::hex >> mapping->begin >> dash >> mapping->end >> mapping->rights >> offset >> device >>
      inode;
  std::getline(fields >> std::ws, mapping->path);
  return !fields.bad() && dash == '-' && mapping->rights.size() == 4;
}

// Whether the kernel would let a device keep pages of it for long. Shared mappings of files are refused to
// writers, because a file system could not know when they are dirty; shared memory has no file system behind
// it. What the kernel itself maps has no pages to keep.
bool CanBePinned(const Mapping& mapping, bool writable) {
  if (mapping.rights[0] != 'r' || (writable && mapping.rights[1] != 'w')) return false;
  if (mapping.path.starts_with("[v")) return false;  // [vdso], [vvar], [vsyscall]
  const bool memory = mapping.path.empty() || mapping.path[0] == '[' || mapping.path.starts_with("/memfd:") ||
                      mapping.path.starts_with("/dev/shm/") || mapping.path.starts_with("/dev/zero") ||
                      mapping.path.starts_with("/SYSV") || mapping.path.starts_with("anon_inode:");
  const bool shared = mapping.rights[3] == 's';
  if (mapping.path.starts_with("/dev/") && !memory) return false;
  return !writable || !shared || memory;
}

}  // namespace

std::unique_ptr<AddressSpace> ProcessVm::Pin(pid_t tid, uint64_t address, uint64_t size, bool writable) {
  if (size == 0 || address % kPageBytes != 0 || size % kPageBytes != 0 || address + size < address)
    return nullptr;
  const int memory = open(fmt::format("/proc/{}/mem", tid).c_str(), O_RDWR | O_CLOEXEC);
  if (memory < 0) return nullptr;
  auto pinned = std::make_unique<ProcessMemory>(
      memory, open(fmt::format("/proc/{}/pagemap", tid).c_str(), O_RDONLY | O_CLOEXEC));
  std::ifstream maps(fmt::format("/proc/{}/maps", tid));
  uint64_t covered = address;
  Mapping mapping;
  for (std::string line; covered < address + size && std::getline(maps, line);) {
    if (!Parse(line, &mapping) || mapping.end <= covered) continue;
    if (mapping.begin > covered || !CanBePinned(mapping, writable)) return nullptr;
    covered = mapping.end;
  }
  if (covered < address + size) return nullptr;
  return pinned;
}

}  // namespace dxg::client
