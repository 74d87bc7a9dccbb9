#include "cuse-dxg/attach/interrupts.h"

#include <utility>

#include "cuse-dxg/attach/libfuse.h"
#include "cuse-dxg/attach/session.h"

namespace dxg::attach {
namespace {

void OnInterrupt(fuse_req_t request, void* ticket) {
  auto* session = static_cast<Session*>(fuse_req_userdata(request));
  // Safety: Arm made this pointer from a number, and it is used as nothing else.
  session->interrupts().Arrived(reinterpret_cast<uintptr_t>(ticket));
}

}  // namespace

uint64_t Interrupts::Arm(fuse_req* request, std::function<void()> interrupted) {
  uint64_t ticket;
  {
    std::lock_guard lock(mutex_);
    ticket = ++last_ticket_;
    armed_.emplace(ticket, std::move(interrupted));
  }
  // Safety: see OnInterrupt.
  fuse_req_interrupt_func(request, OnInterrupt, reinterpret_cast<void*>(uintptr_t{ticket}));
  return ticket;
}

void Interrupts::Drop(uint64_t ticket) {
  std::function<void()> dropped;  // destroyed after the lock is given back: it may own anything
  std::lock_guard lock(mutex_);
  dropped = Take(ticket);
}

void Interrupts::Arrived(uint64_t ticket) {
  std::lock_guard lock(mutex_);
  if (stopping_) return;
  arrived_.push_back(ticket);
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  changed_.notify_one();
}

// With mutex_ held. Empty where the request was answered.
std::function<void()> Interrupts::Take(uint64_t ticket) {
  auto node = armed_.extract(ticket);
  return node.empty() ? nullptr : std::move(node.mapped());
}

void Interrupts::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !arrived_.empty(); });
    if (stopping_) return;
    std::function<void()> interrupted = Take(arrived_.front());
    arrived_.pop_front();
    if (!interrupted) continue;
    lock.unlock();
    interrupted();
    interrupted = nullptr;
    lock.lock();
  }
}

void Interrupts::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

}  // namespace dxg::attach
