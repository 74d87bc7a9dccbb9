// ProcessVm::Pin: a client's memory for longer than a call. Nothing outside a process can hold on to its
// pages, so they are reached through its address space, which /proc/<pid>/mem names even when the process
// executes another program.
#include <unistd.h>

#include "base/page.h"
#include "cuse-dxg/client/kinds.h"
#include "cuse-dxg/client/process_vm.h"

namespace dxg::client {
namespace {

constexpr uint64_t kFrameMask = (uint64_t{1} << 55) - 1;  // of a pagemap entry

class ProcessMemory final : public AddressSpace {
 public:
  explicit ProcessMemory(std::shared_ptr<const OpenSpace> space) : space_(std::move(space)) {}

  bool Read(uint64_t address, std::span<std::byte> to) override { return space_->Read(address, to); }

  bool Write(uint64_t address, std::span<const std::byte> from) override {
    return space_->Write(address, from);
  }

  bool Frames(uint64_t address, std::span<uint64_t> frames) override {
    const off_t at = static_cast<off_t>(address / kPageBytes * sizeof(uint64_t));
    const int pagemap = space_->pagemap.get();
    if (pread(pagemap, frames.data(), frames.size_bytes(), at) != static_cast<ssize_t>(frames.size_bytes()))
      return false;
    for (uint64_t& frame : frames) {
      if ((frame & kPagemapPresent) == 0) return false;
      frame &= kFrameMask;
    }
    return true;
  }

  int file() const override { return space_->memory.get(); }
  uint64_t number() const override { return space_->number; }

 private:
  const std::shared_ptr<const OpenSpace> space_;
};

}  // namespace

std::unique_ptr<AddressSpace> ProcessVm::Pin(pid_t tid, uint64_t address, uint64_t size, bool writable) {
  if (size == 0 || address % kPageBytes != 0 || size % kPageBytes != 0 || address + size < address)
    return nullptr;
  const auto space = spaces_.Of(tid);
  const auto map = AddressMap::Of(tid);
  if (space == nullptr || map == nullptr) return nullptr;
  Kinds kinds(tid);
  const auto can_be_pinned = [&](const MappedRange& range) {
    return kinds.CanBePinned(range, address + size, writable);
  };
  if (!map->Walk(address, size, can_be_pinned)) return nullptr;
  return std::make_unique<ProcessMemory>(space);
}

}  // namespace dxg::client
