#pragma once

#include <atomic>
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
  const client::Identity& identity() const { return process_; }
  client::Waiting waiting() const { return {tid_, ioctl_->code(), ioctl_->argument()}; }
  client::Access& access() { return access_; }

  // The call whose handler this thread has begun and that has not waited nor ended since.
  static thread_local const Caller* at_once;

  // A call has two shares from its start: of whoever finishes it, and of whoever begins it, until it waits.
  // Who holds the last one deletes it.
  struct Release {
    int shares;
    void operator()(Caller* caller) const {
      if (caller->shares_.fetch_sub(shares, std::memory_order_acq_rel) == shares) delete caller;
    }
  };
  template <class C>
  using SharesOf = std::unique_ptr<C, Release>;
  using Share = SharesOf<Caller>;
  void AddShare() { shares_.fetch_add(1, std::memory_order_relaxed); }

  // The call waits, or is at something, for more than a moment: its thread may be killed meanwhile.
  static void WatchForDeath(Share caller);
  // The thread is being killed: it is let go, and nothing of it is touched any more. False: it is being
  // touched, and what is touched could still be another's by then; ask again.
  bool Abandon() DXG_EXCLUDES(mutex_);
  // What is to end the call when it waits without limit, for whoever signals it; made at most once.
  std::shared_ptr<ParkedCall> Park() { return parked_ = std::make_shared<ParkedCall>(); }
  const std::shared_ptr<ParkedCall>& parked() const { return parked_; }
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
  // The call goes on, for a visit or because its client was killed, although the kernel has its answer and no
  // longer keeps the file open for it; and it ends, with Answer.
  virtual void OutlivesItsFile() {}
  virtual void Ends() {}

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
    std::unique_ptr<client::AddressMap> MapOf(pid_t tid) override;
    std::optional<client::Identity> Identify(pid_t tid) override { return access_.Identify(tid); }
    bool InGroup(pid_t tid, pid_t tgid) override { return access_.InGroup(tid, tgid); }
    uint64_t PidNamespace(pid_t tid) override { return access_.PidNamespace(tid); }
    Result<UniqueFd> OpenFor(pid_t tid, const std::string& path) override;

   private:
    client::Access& access_;
    Caller& caller_;
  };

  // While the client's memory is touched. No lock is held meanwhile: it may last for as long as the client
  // likes.
  class Touch {
   public:
    enum class How { kCopies, kOtherwise };
    Touch(Caller& caller, How how);
    ~Touch() { caller_.touch_.fetch_and(~kUnderWay); }
    Touch(const Touch&) = delete;
    Touch& operator=(const Touch&) = delete;
    // False: the thread was let go.
    bool allowed() const { return allowed_; }

   private:
    Caller& caller_;
    bool allowed_;
  };
  static constexpr uint32_t kUnderWay = 1, kOver = 2;  // of touch_

  const std::unique_ptr<attach::IoctlRequest> ioctl_;
  UntilAbandoned access_;

 private:
  bool IsCertainlyInItsMemory() DXG_REQUIRES(mutex_);

  std::atomic<int> shares_{2};
  // What touches the client's memory now, if anything does, and whether anything still may.
  std::atomic<uint32_t> touch_{0};
  std::atomic<uint32_t> touches_{0};
  std::atomic<pid_t> toucher_{0};
  std::atomic<bool> copies_{false};                  // it, by the system call for that
  uint32_t seen_asleep_ DXG_GUARDED_BY(mutex_) = 0;  // in that touch; 0: in none
  const client::Identity& process_;
  const pid_t tid_;
  client::Delivery* delivery_ = nullptr;
  std::unique_ptr<client::Visit> visit_;
  // Held while the request is answered early and while its callbacks are set, so that only one of them ends
  // it. The process's lock may be taken meanwhile (OutlivesItsFile).
  mutable Mutex mutex_;
  bool answered_ DXG_GUARDED_BY(mutex_) = false;  // provisionally, for a visit
  bool abandoned_ DXG_GUARDED_BY(mutex_) = false;
  bool let_go_ DXG_GUARDED_BY(mutex_) = false;    // the answer of an abandoned one is given
  bool outlives_ DXG_GUARDED_BY(mutex_) = false;  // the process of such a call ends after it
  bool finished_ DXG_GUARDED_BY(mutex_) = false;
  bool ends_by_signal_ DXG_GUARDED_BY(mutex_) = false;
  std::shared_ptr<ParkedCall> parked_;
  std::unique_ptr<std::byte[]> near_;  // a page of the client ...
  uint64_t near_address_ = 1;          // ... and where it is there; no page begins at 1
};

}  // namespace dxg::guest
