#include "cuse-dxg/attach/interrupts.h"

#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <string>
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

constexpr std::chrono::milliseconds kLook{20};

// SIGKILL waits for the thread: somebody sent it, or its process ends.
bool IsBeingKilled(pid_t tid) {
  std::ifstream status(fmt::format("/proc/{}/status", tid));
  uint64_t pending = 0;
  bool found = false;
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("SigPnd:") && !line.starts_with("ShdPnd:")) continue;
    pending |= std::stoull(line.substr(7), nullptr, 16);
    found = true;
  }
  return !found || (pending >> (SIGKILL - 1) & 1) != 0;
}

}  // namespace

uint64_t Interrupts::Arm(fuse_req* request, std::function<void()> interrupted) {
  return Arm(request, Armed{std::move(interrupted), 0});
}

uint64_t Interrupts::ArmForDeath(fuse_req* request, pid_t tid, std::function<void()> killed) {
  return Arm(request, Armed{std::move(killed), tid});
}

uint64_t Interrupts::Arm(fuse_req* request, Armed armed) {
  uint64_t ticket;
  {
    std::lock_guard lock(mutex_);
    ticket = ++last_ticket_;
    armed_.emplace(ticket, std::move(armed));
  }
  // Safety: see OnInterrupt.
  fuse_req_interrupt_func(request, OnInterrupt, reinterpret_cast<void*>(uintptr_t{ticket}));
  return ticket;
}

void Interrupts::Drop(uint64_t ticket) {
  Armed dropped;  // destroyed after the lock is given back: it may own anything
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

// With mutex_ held. Nothing to run where the request was answered.
Interrupts::Armed Interrupts::Take(uint64_t ticket) {
  auto node = armed_.extract(ticket);
  return node.empty() ? Armed() : std::move(node.mapped());
}

void Interrupts::RunOrWatch(uint64_t ticket, std::unique_lock<std::mutex>& lock) {
  const auto found = armed_.find(ticket);
  if (found == armed_.end()) return;
  // A thread that waits in a request of ours cannot be gone, nor its number another's.
  if (found->second.dying != 0 && !IsBeingKilled(found->second.dying)) return watched_.push_back(ticket);
  Armed armed = Take(ticket);
  lock.unlock();
  armed.run();
  armed.run = nullptr;
  lock.lock();
}

void Interrupts::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto wanted = [this] { return stopping_ || !arrived_.empty(); };
    if (watched_.empty()) {
      changed_.wait(lock, wanted);
    } else {
      changed_.wait_for(lock, kLook, wanted);
    }
    if (stopping_) return;
    std::vector<uint64_t> tickets = std::exchange(watched_, {});
    tickets.insert(tickets.end(), arrived_.begin(), arrived_.end());
    arrived_.clear();
    for (const uint64_t ticket : tickets) {
      if (stopping_) return;
      RunOrWatch(ticket, lock);
    }
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
