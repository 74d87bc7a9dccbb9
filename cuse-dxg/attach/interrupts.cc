#include "cuse-dxg/attach/interrupts.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <string>
#include <utility>

#include "base/proc_status.h"
#include "base/start_thread.h"
#include "cuse-dxg/attach/libfuse.h"
#include "cuse-dxg/attach/session.h"

namespace dxg::attach {
namespace {

void OnInterrupt(fuse_req_t request, void* ticket) {
  auto* session = static_cast<Session*>(fuse_req_userdata(request));
  // Safety: Arm made this pointer from a number, and it is used as nothing else.
  session->interrupts().Arrived(reinterpret_cast<uintptr_t>(ticket));
}

constexpr std::chrono::milliseconds kLook{20};

bool IsBeingKilled(pid_t tid) {
  const ProcStatus status(tid);
  return !status.found() || status.KillIsPending();
}

}  // namespace

uint64_t Interrupts::Arm(fuse_req* request, Wanted wanted) {
  uint64_t ticket;
  {
    MutexLock lock(mutex_);
    ticket = ++last_ticket_;
    armed_.emplace(ticket, Armed{std::move(wanted)});
  }
  // Safety: see OnInterrupt.
  fuse_req_interrupt_func(request, OnInterrupt, reinterpret_cast<void*>(uintptr_t{ticket}));
  return ticket;
}

void Interrupts::Add(uint64_t ticket, Wanted more) {
  MutexLock lock(mutex_);
  const auto found = armed_.find(ticket);
  if (found == armed_.end()) return;
  Wanted& wanted = found->second.wanted;
  if (more.interrupted) wanted.interrupted = std::move(more.interrupted);
  if (more.killed) {
    wanted.killed = std::move(more.killed);
    wanted.tid = more.tid;
  }
  if (found->second.arrived) Enqueue(ticket);
}

void Interrupts::Drop(uint64_t ticket) {
  std::unordered_map<uint64_t, Armed>::node_type
      dropped;  // destroyed after the lock is given back: it may own anything
  MutexLock lock(mutex_);
  dropped = armed_.extract(ticket);
}

void Interrupts::Arrived(uint64_t ticket) {
  MutexLock lock(mutex_);
  Enqueue(ticket);
}

void Interrupts::Enqueue(uint64_t ticket) {
  if (stopping_) return;
  arrived_.push_back(ticket);
  // Without a thread it waits for the next interrupt.
  if (!thread_.joinable()) (void)StartThread(&thread_, [this] { Run(); });
  changed_.NotifyOne();
}

void Interrupts::RunUnlocked(std::function<void()> callback) {
  mutex_.Unlock();
  callback();
  callback = nullptr;  // what it owns may end with it, and want the lock
  mutex_.Lock();
}

// True: it was heard, or nobody waits for it any more.
bool Interrupts::RunKilled(uint64_t ticket) {
  std::function<bool()> killed = std::exchange(armed_.find(ticket)->second.wanted.killed, nullptr);
  bool heard = false;
  RunUnlocked([&] { heard = killed(); });
  const auto found = armed_.find(ticket);
  if (!heard && found != armed_.end()) {
    found->second.wanted.killed = std::move(killed);
    return false;
  }
  RunUnlocked([&] { killed = nullptr; });
  return true;
}

// A callback that answers its request has dropped the ticket.
void Interrupts::RunOrWatch(uint64_t ticket) {
  auto found = armed_.find(ticket);
  if (found == armed_.end()) return;
  found->second.arrived = true;
  if (found->second.wanted.interrupted) {
    RunUnlocked(std::exchange(found->second.wanted.interrupted, nullptr));
    found = armed_.find(ticket);
    if (found == armed_.end()) return;
  }
  Wanted& wanted = found->second.wanted;
  if (!wanted.killed) return;
  // A thread that waits in a request of ours cannot be gone, nor its number another's.
  if (IsBeingKilled(wanted.tid) && RunKilled(ticket)) return;
  if (std::find(watched_.begin(), watched_.end(), ticket) == watched_.end()) watched_.push_back(ticket);
}

void Interrupts::Run() {
  MutexLock lock(mutex_);
  while (!stopping_) {
    const auto next_look = std::chrono::steady_clock::now() + kLook;
    while (!stopping_ && arrived_.empty()) {
      if (watched_.empty()) {
        changed_.Wait(mutex_);
      } else if (!changed_.WaitUntil(mutex_, next_look)) {
        break;
      }
    }
    std::vector<uint64_t> tickets = std::exchange(watched_, {});
    tickets.insert(tickets.end(), arrived_.begin(), arrived_.end());
    arrived_.clear();
    for (const uint64_t ticket : tickets) {
      if (stopping_) return;
      RunOrWatch(ticket);
    }
  }
}

void Interrupts::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

}  // namespace dxg::attach
