#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/mutex.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "cuse-dxg/client/access.h"

namespace dxg::client {

// An eventfd of a client's, held by us as the driver holds one: the client may close its descriptor, or end.
class EventFile {
 public:
  virtual ~EventFile() = default;
  // Adds 1 to its counter, as the kernel's own eventfd_signal does: never blocks, and stops at 2^64-1 where
  // the client lets it fill up. From any thread, also with locks held.
  virtual void Signal() = 0;
};

// Adds to eventfds without ever waiting for who reads them. write(2) would: a client can keep the counter
// full, and the descriptor's flags are the client's. So the kernel is asked to signal the eventfd itself, as
// a read of nothing completes (Linux AIO). docs/decisions/010 has what else there is, and what each costs.
class Signaller {
 public:
  Signaller();
  ~Signaller();
  Signaller(const Signaller&) = delete;
  Signaller& operator=(const Signaller&) = delete;

  void Signal(int eventfd);
  // False where the kernel has no AIO: then it is poll and write, which a client that races with us can make
  // wait.
  bool has_aio() const { return aio_ != 0; }

 private:
  bool SignalByAio(int eventfd);
  void Reap() DXG_EXCLUDES(reaping_);

  unsigned long aio_ = 0;  // aio_context_t
  UniqueFd nothing_;
  Mutex reaping_;  // held while completions are taken out: one thread at a time is enough
  std::atomic<uint32_t> submitted_{0};
};

// The eventfds that we hold. Every eventfd has one EventFile, however often and under whatever numbers it was
// taken: a hundred thousand waits with one eventfd hold one descriptor.
class EventFiles : public std::enable_shared_from_this<EventFiles> {
 public:
  // Descriptors that one client process can make us hold at a time. All together have half of what we may
  // have open, and of that half a user has half.
  static constexpr size_t kPerProcessMax = 4096;

  EventFiles();

  // What `descriptor` of that thread of the process means, where it is an eventfd that was taken by that
  // number before. The kernel compares the two open files, so that a number that was closed and used again is
  // found out; null then.
  std::shared_ptr<EventFile> Find(const Identity& process, pid_t tid, int descriptor) DXG_EXCLUDES(mutex_);
  // `copy` is a copy of that descriptor. EINVAL where it is no eventfd, ENOMEM where the process, its user or
  // all together have made us hold as many as they may.
  Result<std::shared_ptr<EventFile>> Add(const Identity& process, int descriptor, UniqueFd copy)
      DXG_EXCLUDES(mutex_);
  // Of how many processes and users an eventfd is held.
  size_t accounts_count() DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return held_by_process_.size() + held_by_user_.size();
  }

 private:
  class Held;
  struct Number {
    pid_t tgid;
    uint64_t start_time;
    int descriptor;
    auto operator<=>(const Number&) const = default;
  };

  std::shared_ptr<Held> FindById(uint64_t id) DXG_REQUIRES(mutex_);
  void Remember(const Number& number, const std::shared_ptr<Held>& file) DXG_REQUIRES(mutex_);
  void Forget(const Held& file) DXG_EXCLUDES(mutex_);
  Status CheckRoom(const Identity& process) DXG_REQUIRES(mutex_);

  Signaller signaller_;
  size_t held_max_ = 0;
  Mutex mutex_;
  std::map<uint64_t, std::weak_ptr<Held>> by_id_ DXG_GUARDED_BY(mutex_);
  std::map<Number, std::weak_ptr<Held>> by_number_ DXG_GUARDED_BY(mutex_);
  std::map<std::pair<pid_t, uint64_t>, size_t> held_by_process_ DXG_GUARDED_BY(mutex_);
  std::map<uid_t, size_t> held_by_user_ DXG_GUARDED_BY(mutex_);
  size_t held_ DXG_GUARDED_BY(mutex_) = 0;
};

// What is said of a descriptor that is no eventfd: EINVAL, as the driver does.
inline Status NoEventFile(int descriptor) {
  return Status::Refuse(EINVAL, "descriptor {} of the caller is no eventfd", descriptor);
}

// The kernel's number of an eventfd, unique while it lives, by its descriptor's file in an fdinfo folder of
// /proc. None where it is no eventfd, or before Linux 5.2.
std::optional<uint64_t> EventFileId(const std::string& fdinfo_path);

// What a descriptor's link in /proc leads to. Asks no file system, which may be one that never answers.
enum class FileKind { kUnknown, kEventFile, kOther };
FileKind KindOf(const std::string& path);

}  // namespace dxg::client
