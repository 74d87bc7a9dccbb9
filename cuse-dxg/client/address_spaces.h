#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "base/mutex.h"
#include "base/unique_fd.h"

namespace dxg::client {

// A client's address space, by descriptors of ours: /proc/<pid>/mem, and the pagemap beside it where that can
// be had. They name this address space also when the process executes another program, and keep nothing of it
// alive.
struct OpenSpace {
  UniqueFd memory, pagemap;
  uint64_t number = 0;  // its own, from 1 on
  pid_t tgid = 0;       // whose it is, as long as that group executes no other program
  uint64_t start_time = 0;

  // False: not all of it is there.
  bool Read(uint64_t address, std::span<std::byte> to) const;
  bool Write(uint64_t address, std::span<const std::byte> from) const;

  // What tells it from the one that its process had before: where its stack had 16 random bytes when it
  // began, and what is there. Both are new with each program; a process that changes them deceives itself.
  struct Mark {
    uint64_t address = 0;
    std::array<std::byte, 16> bytes{};
  };
  std::optional<Mark> MarkAt(uint64_t address) const;
  uint64_t mark_address = 0;  // 0: it has none

 private:
  void BringIn(uint64_t address, uint64_t size) const;
  bool IsOfItsProcess() const;
};

// The address spaces that something of a client's is pinned in: one OpenSpace for each, however much that is,
// because descriptors are few.
class AddressSpaces {
 public:
  // That of the thread, which waits in a call meanwhile; null: it cannot be reached.
  std::shared_ptr<OpenSpace> Of(pid_t tid) DXG_EXCLUDES(mutex_);

 private:
  using Key = std::pair<pid_t, uint64_t>;  // a thread group, and when it started

  // What is known under the key, unless that is none or the one that `now` was compared with: then `now` is
  // known from here on.
  std::shared_ptr<OpenSpace> KeepUnlessOther(const Key& key, const std::shared_ptr<OpenSpace>& compared,
                                             const std::shared_ptr<OpenSpace>& now) DXG_EXCLUDES(mutex_);

  Mutex mutex_;
  std::map<Key, std::weak_ptr<OpenSpace>> spaces_ DXG_GUARDED_BY(mutex_);
  size_t sweep_at_ DXG_GUARDED_BY(mutex_) = 16;
  uint64_t numbers_ DXG_GUARDED_BY(mutex_) = 0;
};

}  // namespace dxg::client
