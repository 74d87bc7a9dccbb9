#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <set>

#include "cuse-dxg/client/address_map.h"

namespace dxg::client {

// Judges mappings of one process, at one moment: what it has mounted is looked at once.
class Kinds {
 public:
  explicit Kinds(pid_t tid) : tid_(tid) {}

  // Whether the kernel would let a device keep the pages of that mapping, up to the address `end`, for long;
  // if `writable`, to write there. Judged by the file behind the mapping, not by its name: shared mappings of
  // files are refused to writers, because a file system could not know when they are dirty, while shared
  // memory has no file system behind it. What the kernel itself or a device maps has no pages to keep, and
  // neither has a mapping beyond its file's end.
  bool CanBePinned(const MappedRange& range, uint64_t end, bool writable);

 private:
  bool IsMemory(uint64_t device);

  const pid_t tid_;
  std::optional<std::set<uint64_t>> mounted_memory_;  // file systems, by their number
};

}  // namespace dxg::client
