#include "cuse-dxg/guest/caller.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#include "base/page.h"
#include "base/relay.h"

namespace dxg::guest {

thread_local const Caller* Caller::at_once = nullptr;

namespace {

pid_t ThisThread() {
  thread_local const pid_t tid = gettid();
  return tid;
}

// Whether a thread of ours sleeps in the system call that copies from or to another process. A kernel without
// /proc/PID/syscall (User Mode Linux) cannot name the call that it sleeps in. There a thread that is about to
// copy and sleeps is taken to be in the copy: before that it sleeps nowhere.
bool SleepsInCopy(pid_t thread, bool copies) {
  long call = -1;
  char state = 0;
  std::ifstream file(fmt::format("/proc/self/task/{}/syscall", thread));
  if (file.is_open()) {
    file >> call;
    copies = call == SYS_process_vm_readv || call == SYS_process_vm_writev;
  }
  std::string stat;
  std::getline(std::ifstream(fmt::format("/proc/self/task/{}/stat", thread)), stat);
  if (const size_t name_ends = stat.rfind(')'); name_ends + 2 < stat.size()) state = stat[name_ends + 2];
  return copies && (state == 'S' || state == 'D');
}

}  // namespace

Caller::Touch::Touch(Caller& caller, How how) : caller_(caller) {
  caller.copies_.store(how == How::kCopies, std::memory_order_relaxed);
  caller.toucher_.store(ThisThread(), std::memory_order_relaxed);
  caller.touches_.fetch_add(1, std::memory_order_relaxed);
  allowed_ = (caller.touch_.fetch_or(kUnderWay) & kOver) == 0;
}

bool Caller::UntilAbandoned::Read(pid_t tid, uint64_t address, std::span<std::byte> to) {
  const Relay::Pause pause;
  const Touch touch(caller_, Touch::How::kCopies);
  return touch.allowed() && access_.Read(tid, address, to);
}

bool Caller::UntilAbandoned::Write(pid_t tid, uint64_t address, std::span<const std::byte> from) {
  const Relay::Pause pause;
  const Touch touch(caller_, Touch::How::kCopies);
  return touch.allowed() && access_.Write(tid, address, from);
}

// As many at once as one system call takes: between two of them the thread may be let go.
bool Caller::UntilAbandoned::ReadPieces(pid_t tid, std::span<const client::ReadPiece> pieces) {
  for (; !pieces.empty(); pieces = pieces.subspan(std::min(pieces.size(), client::kPiecesAtOnce))) {
    const Relay::Pause pause;
    const Touch touch(caller_, Touch::How::kCopies);
    const auto some = pieces.first(std::min(pieces.size(), client::kPiecesAtOnce));
    if (!touch.allowed() || !access_.ReadPieces(tid, some)) return false;
  }
  return true;
}

bool Caller::UntilAbandoned::WritePieces(pid_t tid, std::span<const client::WritePiece> pieces) {
  for (; !pieces.empty(); pieces = pieces.subspan(std::min(pieces.size(), client::kPiecesAtOnce))) {
    const Relay::Pause pause;
    const Touch touch(caller_, Touch::How::kCopies);
    const auto some = pieces.first(std::min(pieces.size(), client::kPiecesAtOnce));
    if (!touch.allowed() || !access_.WritePieces(tid, some)) return false;
  }
  return true;
}

std::unique_ptr<client::AddressSpace> Caller::UntilAbandoned::Pin(pid_t tid, uint64_t address, uint64_t size,
                                                                  bool writable) {
  const Relay::Pause pause;
  const Touch touch(caller_, Touch::How::kOtherwise);
  return touch.allowed() ? access_.Pin(tid, address, size, writable) : nullptr;
}

std::unique_ptr<client::AddressMap> Caller::UntilAbandoned::MapOf(pid_t tid) {
  const Relay::Pause pause;
  const Touch touch(caller_, Touch::How::kOtherwise);
  return touch.allowed() ? access_.MapOf(tid) : nullptr;
}

Result<UniqueFd> Caller::UntilAbandoned::OpenFor(pid_t tid, const std::string& path) {
  const Touch touch(caller_, Touch::How::kOtherwise);
  if (!touch.allowed()) return Status::Refuse(EINTR, "thread {} was killed while its call waited", tid);
  return access_.OpenFor(tid, path);
}

void Caller::WatchForDeath(Share caller) {
  Caller& watched = *caller;
  try {
    // Before the lock, so that it ends after it: the share may be the last.
    std::function<bool()> killed = [shared = std::shared_ptr<Caller>(std::move(caller))] {
      return shared->Abandon();
    };
    MutexLock lock(watched.mutex_);
    if (watched.ends_by_signal_) return;  // a death ends it as any signal does
    if (!watched.answered_ && !watched.finished_) watched.ioctl_->OnKilled(std::move(killed));
  } catch (const std::bad_alloc&) {
    // Nobody hears of its death: the client is gone when the call ends.
  }
}

// A copy from or to a process finds that process when it begins, and keeps to its memory then. Who sleeps in
// the same copy at two looks has begun it.
bool Caller::IsCertainlyInItsMemory() {
  const uint32_t touch = touches_.load();
  const bool sleeps = SleepsInCopy(toucher_.load(), copies_.load()) && touches_.load() == touch;
  const uint32_t before = std::exchange(seen_asleep_, sleeps ? touch : 0);
  return sleeps && before == touch;
}

bool Caller::Abandon() {
  std::shared_ptr<ParkedCall> parked;
  {
    MutexLock lock(mutex_);
    // Where a visit is on its way, whoever makes it sees the thread die.
    if (answered_ || finished_ || let_go_) return true;
    if (ends_by_signal_) {
      parked = parked_;
    } else {
      abandoned_ = true;
      const bool touched = (touch_.fetch_or(kOver) & kUnderWay) != 0;
      if (touched && !IsCertainlyInItsMemory()) return false;
      let_go_ = true;
      // In memory it comes back, and may ask the host yet. At the host it may never: the host ends what it
      // waits for with the process.
      outlives_ = touched;
      if (outlives_) OutlivesItsFile();
      ioctl_->Answer(-EINTR, {});
    }
  }
  if (parked != nullptr) parked->Interrupt();
  return true;
}

void Caller::EndBySignal() {
  {
    MutexLock lock(mutex_);
    if (!abandoned_) {
      ends_by_signal_ = true;
      return ioctl_->OnInterrupt([interrupted = std::weak_ptr(parked_)] {
        if (const auto still = interrupted.lock()) still->Interrupt();
      });
    }
  }
  parked_->Abandon();  // the thread was let go before
}

bool Caller::ReadNear(uint64_t address, std::span<std::byte> to) {
  const uint64_t page = address & ~(kPageBytes - 1);
  if (to.empty()) return true;
  if (to.size() > kPageBytes - (address - page)) return access_.Read(tid(), address, to);
  if (near_ == nullptr) near_.reset(new std::byte[kPageBytes]);
  if (near_address_ != page) {
    near_address_ = 1;
    if (!access_.Read(tid(), page, {near_.get(), kPageBytes})) return false;
    near_address_ = page;
  }
  std::memcpy(to.data(), near_.get() + (address - page), to.size());
  return true;
}

Task Caller::Enter() {
  if (visit_ != nullptr) co_return Status::Ok();
  {
    MutexLock lock(mutex_);
    if (abandoned_) co_return Status::Refuse(EINTR, "thread {} was killed while its call waited", tid());
  }
  if (delivery_ == nullptr)
    co_return Status::Refuse(EPERM, "this device has no way to bring memory or descriptors into clients");
  auto entered = co_await Callback<Result<std::unique_ptr<client::Visit>>>([&](auto done) {
    delivery_->Enter(
        waiting(), process_,
        [this] {
          MutexLock lock(mutex_);
          if (abandoned_) return;
          answered_ = true;
          OutlivesItsFile();
          // What the call returns where the injector ends before it has the thread. Else a visit's end says
          // it.
          ioctl_->Answer(-EIO, {});
        },
        std::move(done));
  });
  if (!entered.ok()) co_return std::move(entered).status();
  visit_ = *std::move(entered);
  co_return Status::Ok();
}

Task Caller::InClient(std::vector<client::Step> steps, std::vector<uint64_t>* results) {
  DXG_CO_TRY(co_await Enter());
  auto done = co_await Callback<Result<std::vector<uint64_t>>>(
      [&](auto callback) { visit_->Do(std::move(steps), std::move(callback)); });
  if (!done.ok()) co_return std::move(done).status();
  if (results != nullptr) *results = *std::move(done);
  co_return Status::Ok();
}

void Caller::Answer(Status status, std::span<const std::byte> out) {
  bool answered;
  {
    MutexLock lock(mutex_);
    finished_ = true;
    if (abandoned_ && !std::exchange(let_go_, true)) return ioctl_->Answer(-EINTR, {});
    if (let_go_ && !outlives_) return;
    answered = answered_ || let_go_;
  }
  if (!answered) return ioctl_->Answer(status.value(), out);
  if (visit_ != nullptr) {  // else the thread was killed on its way
    // What the kernel was to copy with the answer.
    int32_t result = status.value();
    if (!out.empty() && !access_.Write(tid(), ioctl_->argument(), out)) result = -EFAULT;
    visit_->Leave(result);
  }
  Ends();
}

}  // namespace dxg::guest
