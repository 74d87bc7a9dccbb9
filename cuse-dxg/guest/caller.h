#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "cuse-dxg/attach/node.h"
#include "cuse-dxg/client/access.h"
#include "cuse-dxg/client/delivery.h"
#include "cuse-dxg/guest/event_table.h"
#include "cuse-dxg/guest/task.h"

namespace dxg::guest {

// A thread of a client that waits in an ioctl: its memory, what can be done in its name, and its answer.
class Caller {
 public:
  // `process` outlives the caller.
  Caller(std::unique_ptr<attach::IoctlRequest> ioctl, client::Access& access, const client::Identity& process)
      : ioctl_(std::move(ioctl)), access_(access, *this), process_(process), tid_(ioctl_->caller().tid) {}

  virtual ~Caller() = default;

  pid_t tid() const { return tid_; }
  client::Waiting waiting() const { return {tid_, ioctl_->code(), ioctl_->argument()}; }
  client::Access& access() { return access_; }

  // The call whose handler this thread has begun and that has not waited nor ended since: nobody else has it,
  // so nothing of it needs a lock.
  static thread_local const Caller* at_once;

  // Where the call waits for more than a moment: `killed` runs when its thread is being killed. Nothing where
  // the call has ended by now.
  void WhenKilled(std::function<void()> killed) DXG_EXCLUDES(mutex_);
  // The thread is being killed while the call waits: it is let go, and nothing of it is touched any more.
  void Abandon() DXG_EXCLUDES(mutex_);
  // What is to end the call when it waits without limit, for whoever signals it; made at most once.
  std::shared_ptr<ParkedCall> Park() { return parked_ = std::make_shared<ParkedCall>(); }
  ParkedCall::Awaiter Ended() const { return parked_->Ended(); }
  // From here on any signal to the thread ends the parked call, also one that came before, and so does its
  // death.
  void EndBySignal() DXG_EXCLUDES(mutex_);
  bool ends_by_signal() const DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return ends_by_signal_;
  }

  // Reads client memory with the rest of the page around it, and takes what is asked for next from there: a
  // struct and what it points to often lie together on a stack, and it is the reading that costs, not the
  // bytes. What is more than a page long, or not in one, is read as it is. A page is readable as a whole or
  // not at all.
  bool ReadNear(uint64_t address, std::span<std::byte> to);
  // Gives that page back, of a call that waits for long.
  void ForgetNear() {
    near_.reset();
    near_address_ = 1;
  }
  // Null: nothing can be brought into this client.
  void set_delivery(client::Delivery* delivery) { delivery_ = delivery; }

  // Catches the thread at the end of its system call, where things can be done in its name. The call stays
  // open: its result goes back by the visit.
  Task Enter();
  // Does the steps, in a visit that it enters where there is none. A step's result is in `results`, where
  // that is asked for. The first failure ends it.
  Task InClient(std::vector<client::Step> steps, std::vector<uint64_t>* results);
  Task InClient(client::Step step, std::vector<uint64_t>* results) {
    return InClient(std::vector<client::Step>(1, step), results);
  }

 protected:
  // A visit begins: the kernel has its answer, and no longer keeps the file open for the call; and it ends,
  // at the latest with Answer.
  virtual void VisitBegins() {}
  virtual void VisitEnds() {}

  // The last thing that happens. `out` is the beginning of the fixed struct, where the kernel is to copy
  // that.
  void Answer(Status status, std::span<const std::byte> out) DXG_EXCLUDES(mutex_);

  // The client's memory, until it is let go: its number may be another's then.
  class UntilAbandoned final : public client::Access {
   public:
    UntilAbandoned(client::Access& access, Caller& caller) : access_(access), caller_(caller) {}
    bool Read(pid_t tid, uint64_t address, std::span<std::byte> to) override;
    bool Write(pid_t tid, uint64_t address, std::span<const std::byte> from) override;
    bool ReadPieces(pid_t tid, std::span<const client::ReadPiece> pieces) override;
    bool WritePieces(pid_t tid, std::span<const client::WritePiece> pieces) override;
    std::unique_ptr<client::AddressSpace> Pin(pid_t tid, uint64_t address, uint64_t size,
                                              bool writable) override;
    std::optional<client::Identity> Identify(pid_t tid) override { return access_.Identify(tid); }
    bool InGroup(pid_t tid, pid_t tgid) override { return access_.InGroup(tid, tgid); }
    uint64_t PidNamespace(pid_t tid) override { return access_.PidNamespace(tid); }

   private:
    client::Access& access_;
    Caller& caller_;
  };

  // What the client's memory is touched under: the caller's lock. A call that only its own thread has needs
  // none, and takes none.
  class DXG_SCOPED_CAPABILITY MemoryLock {
   public:
    explicit MemoryLock(Caller& caller) DXG_ACQUIRE(caller.mutex_);
    ~MemoryLock() DXG_RELEASE();
    MemoryLock(const MemoryLock&) = delete;
    MemoryLock& operator=(const MemoryLock&) = delete;

   private:
    Mutex* const taken_;  // null: none
  };

  const std::unique_ptr<attach::IoctlRequest> ioctl_;
  UntilAbandoned access_;

 private:
  const client::Identity& process_;
  const pid_t tid_;
  client::Delivery* delivery_ = nullptr;
  std::unique_ptr<client::Visit> visit_;
  // Held while the request is answered early and while its callbacks are set, so that only one of them ends
  // it. The process's lock may be taken meanwhile (VisitBegins).
  mutable Mutex mutex_;
  bool answered_ DXG_GUARDED_BY(mutex_) = false;  // provisionally, for a visit
  bool abandoned_ DXG_GUARDED_BY(mutex_) = false;
  bool finished_ DXG_GUARDED_BY(mutex_) = false;
  bool ends_by_signal_ DXG_GUARDED_BY(mutex_) = false;
  std::shared_ptr<ParkedCall> parked_;
  std::unique_ptr<std::byte[]> near_;  // a page of the client ...
  uint64_t near_address_ = 1;          // ... and where it is there; no page begins at 1
};

}  // namespace dxg::guest
