#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "base/page.h"

// What memory is, without any of the reasons: the least that is needed to say what each call must answer.

namespace dxg::simulation {

constexpr uint64_t kPage = kPageBytes;

// The bytes behind allocations: one word for each page stands for all of it.
struct Bytes {
  uint64_t pages = 0;
  std::map<uint64_t, uint32_t> words;  // by page; absent: 0
  bool offered = false;
  int creator = 0;           // the life of the process that made it
  bool system_only = false;  // never in the adapter's own memory: counts in the other group

  uint32_t word(uint64_t page) const {
    const auto found = words.find(page);
    return found == words.end() ? 0 : found->second;
  }
  uint64_t size() const { return pages * kPage; }
};

struct ModelAllocation {
  uint32_t handle = 0;
  uint32_t resource = 0;  // 0: stands alone
  std::shared_ptr<Bytes> bytes;
  uint32_t residency = 0;
  uint32_t locks = 0;
  uint64_t address = 0;  // while locked
  uint32_t priority = 0x78000000;
  char* own_memory = nullptr;  // the client's own pages
};

struct ModelResource {
  uint32_t handle = 0;
  bool shareable = false;
  bool sealed = false;
  bool opened = false;  // it came by a descriptor
  std::vector<uint32_t> allocations;
};

struct ModelRange {
  uint64_t pages = 0;
  bool reserved = false;    // by Reserve; else by Map
  uint32_t allocation = 0;  // 0: none
  uint64_t offset_pages = 0;
  bool writable = false;
};

struct ModelProcess {
  bool open = false;
  int life = 0;  // no two processes have the same
  uint32_t adapter = 0, device = 0, queue = 0;
  const volatile uint64_t* fence = nullptr;
  std::map<uint32_t, ModelAllocation> allocations;
  std::map<uint32_t, ModelResource> resources;
  std::map<uint64_t, ModelRange> ranges;
  uint64_t reservation = 0;

  // By whichever of its handles.
  bool is_resident(const Bytes& bytes) const {
    for (const auto& [handle, allocation] : allocations) {
      if (allocation.bytes.get() == &bytes && allocation.residency != 0) return true;
    }
    return false;
  }
  // What is offered does not count: it may be taken away at any time.
  uint64_t usage(int group) const {
    uint64_t sum = 0;
    std::set<const Bytes*> counted;
    for (const auto& [handle, allocation] : allocations) {
      if (allocation.residency != 0 && !allocation.bytes->offered &&
          (allocation.bytes->system_only ? 1 : 0) == group && counted.insert(allocation.bytes.get()).second) {
        sum += allocation.bytes->size();
      }
    }
    return sum;
  }
};

// A descriptor of a shared resource.
struct ModelDescriptor {
  std::vector<std::shared_ptr<Bytes>> bytes;
};

}  // namespace dxg::simulation
