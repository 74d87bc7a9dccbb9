#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "cuse-dxg/guest/account.h"
#include "proto/abi/interface.h"

namespace dxg::guest {

// A D3DKMT handle: 6 bits of instance (ignored in look-ups), 24 bits of index, 2 bits that tell the lives of
// an index apart. 0 is no handle.
struct Handle {
  uint32_t value = 0;

  static constexpr Handle Make(uint32_t index, uint32_t unique) {
    return {(unique << kHandleUniqueShift) | (index << kHandleIndexShift)};
  }

  uint32_t index() const { return (value >> kHandleIndexShift) & kHandleIndexMask; }
  uint32_t unique() const { return value >> kHandleUniqueShift; }
  explicit operator bool() const { return value != 0; }
  bool operator==(const Handle&) const = default;
};

// What an entry stands for; the numbers are the driver's.
enum class HandleType : uint8_t {
  kFree = 0,
  kAdapter = 1,
  kDevice = 3,
  kResource = 4,
  kAllocation = 5,
  kContext = 7,
  kSyncObject = 8,
  kPagingQueue = 10,
  kHwQueue = 15,
  kMonitoredFence = 32,
};

const char* HandleTypeName(HandleType type);

// A process has two of these: adapters, whose handles the table chooses, and everything else, whose handles
// the host chose and the table mirrors at the same index. Freed indices are reused first-in first-out and
// late, as the driver does, so that a stale handle keeps failing for long. Not thread-safe: the process
// guards its tables.
class HandleTable {
 public:
  using Object = std::shared_ptr<void>;

  // `account`: what live handles are charged to; null: they are not.
  explicit HandleTable(std::shared_ptr<Account> account = nullptr) : account_(std::move(account)) {}
  ~HandleTable();
  HandleTable(const HandleTable&) = delete;
  HandleTable& operator=(const HandleTable&) = delete;

  // The next handle, or 0 where the table is full, or the account.
  Handle Allocate(HandleType type, Object object);

  enum class Assigned { kYes, kIndexTooBig, kInUse, kTooMany };
  // Enters a handle that the host chose.
  Assigned Assign(Handle handle, HandleType type, Object object);

  // Frees the entry of a live handle; nothing where there is none.
  void Free(Handle handle);

  struct Entry {
    HandleType type = HandleType::kFree;
    uint8_t unique = 1;
    uint32_t previous = 0, next = 0;  // in the list of free entries
    Object object;
  };
  // The live entry of that handle, or null. Instance bits do not count.
  const Entry* Find(Handle handle) const;

  // Every live entry, by index.
  std::vector<std::pair<Handle, Entry>> Live() const;
  size_t live_count() const { return entries_.size() - free_count_; }

 private:
  static constexpr uint32_t kNone = ~0u;
  static constexpr uint32_t kGrowth = 1024;  // entries added at a time
  static constexpr uint32_t kReuseDelay =
      128;  // with fewer free ones than this the table grows instead of reusing
  static constexpr uint32_t kIndexMax = kHandleIndexMask - 1;

  bool HasRoom();  // and takes it
  bool Grow(uint32_t size);
  void Unlink(uint32_t index);
  void Append(uint32_t index);
  Handle Occupy(uint32_t index, uint32_t unique, HandleType type, Object object);

  const std::shared_ptr<Account> account_;
  std::vector<Entry> entries_;
  uint32_t free_head_ = kNone, free_tail_ = kNone;
  uint32_t free_count_ = 0;
};

}  // namespace dxg::guest
