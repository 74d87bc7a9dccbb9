#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "hostsim/machine/bytes.h"
#include "hostsim/memory/gpu_address.h"
#include "hostsim/memory/gpu_va.h"
#include "hostsim/memory/io_space.h"
#include "hostsim/memory/memory_budget.h"
#include "hostsim/memory/storage.h"
#include "hostsim/memory/video_memory.h"

namespace dxg::hostsim::serve {

// What all connections together may have of physical memory.
class TbxRoom {
 public:
  explicit TbxRoom(uint64_t bytes) : bytes_(bytes) {}
  bool Take(uint64_t bytes) {
    if (used_.fetch_add(bytes) + bytes <= bytes_) return true;
    used_ -= bytes;
    return false;
  }
  void Give(uint64_t bytes) { used_ -= bytes; }
  uint64_t bytes() const { return bytes_; }

 private:
  const uint64_t bytes_;
  std::atomic<uint64_t> used_{0};
};

// The memory of a GPU that has no driver: physical addresses of 40 bits, the global table for rings and
// contexts, and page tables of four levels for batches. All of it is what somebody wrote, and the rest reads
// zero. Bits of entries are as in the programmer's reference manuals ("Memory Views"). One thread uses it.
class TbxMemory {
 public:
  static constexpr uint32_t kGlobalEntriesMax = 1u << 16;  // that are set at once

  explicit TbxMemory(std::shared_ptr<TbxRoom> room);
  ~TbxMemory();
  TbxMemory(const TbxMemory&) = delete;
  TbxMemory& operator=(const TbxMemory&) = delete;

  // The range lies below tbx::kPhysicalEnd.
  void Read(uint64_t address, Bytes to) const;
  // False: there is no room.
  bool Write(uint64_t address, ConstBytes from);

  // False: too many entries.
  bool SetGlobal(uint32_t index, uint64_t entry);
  uint64_t Global(uint32_t index) const;
  // 4 bytes at a multiple of 4, by the global table. Nothing: it is not mapped, or there is no room.
  std::optional<uint32_t> LoadGlobal(uint64_t address) const;
  bool StoreGlobal(uint64_t address, uint32_t value);

  // As CommandEnvironment::Translate, by the page tables at that physical address.
  bool Translate(uint64_t tables, GpuAddress address, uint64_t bytes, bool write, std::vector<GpuSpan>* spans,
                 GpuFault* fault);

 private:
  static constexpr uint64_t kChunkBytes = 64 * 1024;

  std::optional<uint64_t> PhysicalOfGlobal(uint64_t address) const;
  std::optional<GpuFault::Reason> Walk(uint64_t tables, uint64_t address, bool write,
                                       uint64_t* physical) const;
  std::shared_ptr<Storage> Find(uint64_t address) const;
  std::shared_ptr<Storage> FindOrMake(uint64_t address);

  const std::shared_ptr<TbxRoom> room_;
  std::atomic<uint64_t> count_{0};
  MemoryBudget budget_;
  const std::shared_ptr<VideoMemory> video_;
  RegionSet regions_;
  std::unordered_map<uint64_t, std::shared_ptr<Storage>> chunks_;  // by address / kChunkBytes
  std::unordered_map<uint32_t, uint64_t> global_;
};

}  // namespace dxg::hostsim::serve
