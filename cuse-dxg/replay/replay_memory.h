#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/mutex.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "cuse-dxg/attach/node.h"
#include "cuse-dxg/guest/account.h"
#include "cuse-dxg/guest/objects.h"
#include "link/backend.h"

namespace dxg::replay {

// A descriptor's other end: an object of the recording, which is ready to be read when its fence is reached,
// and at once where it waits for none.
struct ReplayedObject final : guest::SharedObject {
  explicit ReplayedObject(uint32_t object, bool is_ready)
      : SharedObject(Kind::kSyncObject), object(object), ready(is_ready) {}
  std::unique_ptr<guest::OpenFile> Open(guest::Driver& driver, std::shared_ptr<SharedObject> self) override;

  uint32_t Poll(std::unique_ptr<attach::PollWaiter> next) DXG_EXCLUDES(waiting);
  void BecomeReady() DXG_EXCLUDES(waiting);

  const uint32_t object;
  Mutex waiting;
  bool ready DXG_GUARDED_BY(waiting);
  std::unique_ptr<attach::PollWaiter> waiter DXG_GUARDED_BY(waiting);
};

// The memory that clients see of a replayed host: pages of fences, and locked allocations, each at its place
// in a file of its process that begins as zeros. The file goes with the process and the last mapping of it,
// so no process sees what another one had. Any thread may use it.
class ReplayMemory {
 public:
  using OfProcess = std::pair<uint32_t, uint32_t>;  // a process, and an object of it
  // Memory of an object, for as long as somebody has this.
  struct Range {
    WindowAddress window_address;  // which no other memory ever has
    uint64_t offset = 0;           // bytes, in the file
    uint64_t size = 0;             // bytes, whole pages
    std::shared_ptr<const UniqueFd> file;
    guest::Charge charge;
  };

  std::optional<HostRegion> FindRegion(WindowAddress address) DXG_EXCLUDES(mutex_);
  // Memory for an object, or what it has already, which is charged to the account. ENOMEM: the file or the
  // account is full; ENODATA: the process has ended; EMFILE, EFBIG and the like: there is no room for its
  // file.
  Result<std::shared_ptr<const Range>> For(OfProcess object, const std::shared_ptr<guest::Account>& account,
                                           uint64_t size, bool* is_new) DXG_EXCLUDES(mutex_);
  // Another object with the same memory, unless it has some.
  void Share(OfProcess object, const std::shared_ptr<const Range>& range) DXG_EXCLUDES(mutex_);
  // The first bytes, as far as there is room. Returns how many; 0 also where the machine has no memory.
  static uint64_t Fill(const Range& range, const std::string& contents);

  // A fence's page shows at least that from here on; nothing for an object without one.
  void Raise(OfProcess object, uint64_t value) DXG_EXCLUDES(mutex_);
  // An object with that number, which is ready when the fence has the value. Null: there is no such fence.
  std::shared_ptr<ReplayedObject> Watch(OfProcess fence, uint64_t value, uint32_t number)
      DXG_EXCLUDES(mutex_);

  // Of allocations that are the client's own memory: its address there; 0: none.
  void KeepOwn(OfProcess object, uint64_t address) DXG_EXCLUDES(mutex_);
  uint64_t Own(OfProcess object) DXG_EXCLUDES(mutex_);

  // The process begins, and has ended.
  void Begin(uint32_t process) DXG_EXCLUDES(mutex_);
  void Forget(uint32_t process) DXG_EXCLUDES(mutex_);

 private:
  static constexpr uint64_t kWindowBegins = 0x1000'0000'0000;  // anywhere

  // A descriptor that becomes ready with a fence.
  struct Waiting {
    uint64_t value;
    std::weak_ptr<ReplayedObject> object;
  };

  struct OfOne {
    std::shared_ptr<const UniqueFd> file;  // null: none was needed yet
    uint64_t end = 0;                      // of what is used of it
  };

  static uint64_t ValueAt(const Range& range);

  Mutex mutex_;
  std::map<uint32_t, OfOne> processes_ DXG_GUARDED_BY(mutex_);  // that live
  std::map<OfProcess, std::shared_ptr<const Range>> ranges_ DXG_GUARDED_BY(mutex_);
  std::map<OfProcess, uint64_t> own_ DXG_GUARDED_BY(mutex_);
  std::multimap<WindowAddress, Waiting> waiting_ DXG_GUARDED_BY(mutex_);  // by the fence's address
  std::map<WindowAddress, std::shared_ptr<const Range>> regions_ DXG_GUARDED_BY(mutex_);
  WindowAddress next_ DXG_GUARDED_BY(mutex_){kWindowBegins};
};

}  // namespace dxg::replay
