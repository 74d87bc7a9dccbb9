#include "cuse-dxg/guest/caller.h"

#include <cstring>

#include "base/page.h"

namespace dxg::guest {

thread_local const Caller* Caller::at_once = nullptr;

// Conditional, which clang cannot follow.
Caller::MemoryLock::MemoryLock(Caller& caller) DXG_NO_THREAD_SAFETY_ANALYSIS
    : taken_(at_once == &caller ? nullptr : &caller.mutex_) {
  if (taken_ != nullptr) taken_->Lock();
}

Caller::MemoryLock::~MemoryLock() DXG_NO_THREAD_SAFETY_ANALYSIS {
  if (taken_ != nullptr) taken_->Unlock();
}

bool Caller::UntilAbandoned::Read(pid_t tid, uint64_t address, std::span<std::byte> to) {
  const MemoryLock lock(caller_);
  return !caller_.abandoned_ && access_.Read(tid, address, to);
}

bool Caller::UntilAbandoned::Write(pid_t tid, uint64_t address, std::span<const std::byte> from) {
  const MemoryLock lock(caller_);
  return !caller_.abandoned_ && access_.Write(tid, address, from);
}

bool Caller::UntilAbandoned::ReadPieces(pid_t tid, std::span<const client::ReadPiece> pieces) {
  const MemoryLock lock(caller_);
  return !caller_.abandoned_ && access_.ReadPieces(tid, pieces);
}

bool Caller::UntilAbandoned::WritePieces(pid_t tid, std::span<const client::WritePiece> pieces) {
  const MemoryLock lock(caller_);
  return !caller_.abandoned_ && access_.WritePieces(tid, pieces);
}

std::unique_ptr<client::AddressSpace> Caller::UntilAbandoned::Pin(pid_t tid, uint64_t address, uint64_t size,
                                                                  bool writable) {
  const MemoryLock lock(caller_);
  return caller_.abandoned_ ? nullptr : access_.Pin(tid, address, size, writable);
}

void Caller::WhenKilled(std::function<void()> killed) {
  MutexLock lock(mutex_);
  if (!answered_ && !finished_ && !ends_by_signal_) ioctl_->OnKilled(std::move(killed));
}

void Caller::Abandon() {
  std::shared_ptr<ParkedCall> parked;
  {
    MutexLock lock(mutex_);
    if (answered_ || finished_) return;  // where a visit is on its way, whoever makes it sees the thread die
    if (ends_by_signal_) {
      parked = parked_;
    } else {
      abandoned_ = true;
      ioctl_->Answer(-EINTR, {});
    }
  }
  if (parked != nullptr) parked->Interrupt();
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
  parked_->Interrupt();  // the thread was let go before
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
          VisitBegins();
          ioctl_->Answer(0, {});
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
    if (abandoned_) return;
    answered = answered_;
  }
  if (!answered) return ioctl_->Answer(status.value(), out);
  if (visit_ != nullptr) {  // else the thread was killed on its way
    // What the kernel was to copy with the answer.
    int32_t result = status.value();
    if (!out.empty() && !access_.Write(tid(), ioctl_->argument(), out)) result = -EFAULT;
    visit_->Leave(result);
  }
  VisitEnds();
}

}  // namespace dxg::guest
