#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace dxg::client {

// What tells a file from others, as the kernel names it beside a mapping.
struct FileId {
  uint64_t device = 0, inode = 0;
  auto operator<=>(const FileId&) const = default;
};
// Of a descriptor of ours; all zero where it cannot be said.
inline FileId FileIdOf(int file) {
  struct stat info;
  if (file < 0 || fstat(file, &info) != 0) return {};
  return {info.st_dev, info.st_ino};
}

// One mapping of a process.
struct MappedRange {
  uint64_t begin = 0, end = 0;
  bool readable = false, writable = false, shared = false;
  uint64_t offset = 0;  // in its file, of `begin`
  FileId file;          // all zero: memory without one
  std::string name;     // as /proc/<pid>/maps writes it; empty where the kernel was not asked for it
};

enum class Mapped { kYes, kNo, kUnknown };

// What a process has mapped, without a touch of its memory. It is the address space that the process had when
// this was made: one that executed another program since has nothing of it.
//
//     Linux 6.11     asked for one address, by an ioctl (PROCMAP_QUERY)
//     before         read from the text of /proc/<pid>/maps, and then asked by the bounds that it had there
class AddressMap {
 public:
  static std::unique_ptr<AddressMap> Of(pid_t tid);
  // As on a kernel before 6.11; for tests.
  static std::unique_ptr<AddressMap> ByText(pid_t tid);
  AddressMap() { ++living_; }
  AddressMap(const AddressMap&) = delete;
  AddressMap& operator=(const AddressMap&) = delete;
  virtual ~AddressMap() { --living_; }

  // Whether all of that range is shared with that file, from `offset` on. kUnknown where there is no such
  // file, or the process has more mappings than we read. Any number of threads.
  virtual Mapped Shows(uint64_t address, uint64_t size, const FileId& file, uint64_t offset) = 0;
  // The mapping that has the address.
  virtual std::optional<MappedRange> At(uint64_t address) = 0;
  // All mappings of a range that does not wrap around, in order, until `each` says false. False then, where
  // not all of the range is mapped, and where that is more text than we read.
  virtual bool Walk(uint64_t address, uint64_t size, const std::function<bool(const MappedRange&)>& each) {
    for (uint64_t covered = address; covered < address + size;) {
      const std::optional<MappedRange> range = At(covered);
      if (!range || !each(*range)) return false;
      covered = range->end;
    }
    return true;
  }
  // Whether the kernel can be asked for one address; else it costs more the more a process has mapped.
  virtual bool is_quick() const = 0;
  // Whether the process still has that address space.
  virtual bool alive() = 0;
  // How many there are: each is a descriptor of ours.
  static size_t living_count() { return living_; }

 private:
  inline static std::atomic<size_t> living_ = 0;
};

}  // namespace dxg::client
