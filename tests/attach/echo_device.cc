#include "tests/attach/echo_device.h"

#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "cuse-dxg/dxg_node.h"
#include "proto/dxg/control.pb.h"

namespace dxg {
namespace {

using attach::IoctlRequest;
using attach::OpenRequest;
namespace echo = attach::echo;

class EchoDevice final : public attach::Node {
 public:
  void Open(std::unique_ptr<OpenRequest> request) override {
    uint64_t file;
    {
      std::lock_guard lock(mutex_);
      file = ++last_file_;
      ++open_files_;
    }
    request->Accept(file);
  }

  void Release(uint64_t file) override {
    std::lock_guard lock(mutex_);
    --open_files_;
    pollable_.erase(file);
  }

  uint32_t Poll(uint64_t file, std::unique_ptr<attach::PollWaiter> waiter) override {
    std::lock_guard lock(mutex_);
    const auto found = pollable_.find(file);
    if (found == pollable_.end()) return kAlwaysReady;
    ++found->second.polls;
    if (waiter) found->second.waiter = std::move(waiter);
    return found->second.ready;
  }

  void Ioctl(std::unique_ptr<IoctlRequest> request) override {
    switch (request->code()) {
      case echo::kEcho:
        return Echo(*request, 0);
      case echo::kFail:
        return Echo(*request, -EPERM);
      case echo::kRawStatus:
        return Echo(*request, static_cast<int32_t>(0xc000000d));
      case echo::kOnlyOut:
        return Echo(*request, 0);
      case echo::kOnlyIn:
        return OnlyIn(*request);
      case echo::kEchoLarge:
        return Invert(*request);
      case echo::kNoData:
        return request->Answer(static_cast<int32_t>(request->argument() & 0xff), {});
      case echo::kOpenFiles:
        return request->Answer(OpenFiles(), {});
      case echo::kServerPid:
        return request->Answer(getpid(), {});
      case echo::kWaiting:
        return request->Answer(Waiting(static_cast<pid_t>(request->argument())), {});
      case echo::kWait:
        return Wait(std::move(request), -EINTR);
      case echo::kWaitRestart:
        return Wait(std::move(request), IoctlRequest::kRestart);
      case echo::kReady:
        return Ready(*request);
      case echo::kPolls:
        return Polls(*request);
      case echo::kWake:
        return Wake(*request);
      default:
        return request->Answer(-ENOTTY, {});
    }
  }

 private:
  // Unrestricted ioctls (CUSE) leave the copies to the device.
  template <typename T>
  static bool Read(const IoctlRequest& request, T* into) {
    if (request.kernel_copies_out()) {
      std::memcpy(into, request.in().data(), std::min(sizeof(T), request.in().size()));
      return true;
    }
    if (!(request.code() & IOC_IN)) return true;
    iovec here = {into, sizeof(T)};
    iovec there = {reinterpret_cast<void*>(request.argument()),
                   sizeof(T)};  // Safety: used by the kernel only
    return process_vm_readv(request.caller().tid, &here, 1, &there, 1, 0) == sizeof(T);
  }

  template <typename T>
  static void Reply(IoctlRequest& request, int32_t result, const T& from) {
    if (request.kernel_copies_out()) return request.Answer(result, std::as_bytes(std::span(&from, 1)));
    iovec here = {const_cast<T*>(&from), sizeof(T)};
    iovec there = {reinterpret_cast<void*>(request.argument()),
                   sizeof(T)};  // Safety: used by the kernel only
    const bool stored = process_vm_writev(request.caller().tid, &here, 1, &there, 1, 0) == sizeof(T);
    request.Answer(stored ? result : -EFAULT, {});
  }

  static void Echo(IoctlRequest& request, int32_t result) {
    echo::Small small = {};
    if (!Read(request, &small)) return request.Answer(-EFAULT, {});
    small = {.value = small.value + 1,
             .file = request.file(),
             .tid = request.caller().tid,
             .uid = request.caller().uid};
    Reply(request, result, small);
  }

  static void OnlyIn(IoctlRequest& request) {
    echo::Small small = {};
    if (!Read(request, &small)) return request.Answer(-EFAULT, {});
    request.Answer(static_cast<int32_t>(small.value), {});
  }

  static void Invert(IoctlRequest& request) {
    echo::Large large = {};
    if (!Read(request, &large)) return request.Answer(-EFAULT, {});
    for (unsigned char& byte : large.bytes) byte = static_cast<unsigned char>(~byte);
    Reply(request, 0, large);
  }

  int32_t OpenFiles() {
    std::lock_guard lock(mutex_);
    return open_files_;
  }

  int32_t Waiting(pid_t tid) {
    std::lock_guard lock(mutex_);
    return static_cast<int32_t>(std::count_if(waiters_.begin(), waiters_.end(), [tid](const auto& waiter) {
      return tid == 0 || waiter.second->caller().tid == tid;
    }));
  }

  void Wait(std::unique_ptr<IoctlRequest> request, int32_t when_interrupted) {
    std::lock_guard lock(mutex_);
    const uint64_t ticket = ++last_waiter_;
    request->OnInterrupt([this, ticket, when_interrupted] {
      if (auto waiter = TakeWaiter(ticket)) waiter->Answer(when_interrupted, {});
    });
    waiters_.emplace(ticket, std::move(request));
  }

  std::unique_ptr<IoctlRequest> TakeWaiter(uint64_t ticket) {
    std::lock_guard lock(mutex_);
    auto found = waiters_.find(ticket);
    if (found == waiters_.end()) return nullptr;
    std::unique_ptr<IoctlRequest> waiter = std::move(found->second);
    waiters_.erase(found);
    return waiter;
  }

  void Ready(IoctlRequest& request) {
    {
      std::lock_guard lock(mutex_);
      Pollable& file = pollable_[request.file()];
      file.ready = static_cast<uint32_t>(request.argument());
      if (file.waiter) file.waiter->Wake();
    }
    request.Answer(0, {});
  }

  void Polls(IoctlRequest& request) {
    int32_t polls;
    {
      std::lock_guard lock(mutex_);
      polls = pollable_[request.file()].polls;
    }
    request.Answer(polls, {});
  }

  void Wake(IoctlRequest& request) {
    std::map<uint64_t, std::unique_ptr<IoctlRequest>> woken;
    {
      std::lock_guard lock(mutex_);
      woken.swap(waiters_);
    }
    for (auto& [ticket, waiter] : woken) waiter->Answer(0, {});
    request.Answer(static_cast<int32_t>(woken.size()), {});
  }

  struct Pollable {
    uint32_t ready = 0;
    int32_t polls = 0;
    std::unique_ptr<attach::PollWaiter> waiter;
  };

  std::mutex mutex_;  // guards everything below
  std::map<uint64_t, Pollable> pollable_;
  uint64_t last_file_ = 0;
  int32_t open_files_ = 0;
  uint64_t last_waiter_ = 0;
  std::map<uint64_t, std::unique_ptr<IoctlRequest>> waiters_;
};

}  // namespace

Result<std::unique_ptr<attach::Node>> MakeNode(const NodeOptions& options) {
  if (options.backend != "sim")
    return Status::Refuse(EINVAL, "no back-end {}: expected sim", options.backend);
  return std::unique_ptr<attach::Node>(std::make_unique<EchoDevice>());
}

// A driver of everybody's.
Result<DriverStore> FindDriverStore(const NodeOptions&) { return DriverStore{.folders = {"echo.inf"}}; }
Status StartShadow(NodeOptions*) { return Status::Ok(); }
void FinishObservers(attach::Node&) {}
ControlReply ReportOf(attach::Node&) { return {}; }

int PrintVersion(bool) { return 0; }

int PrintCalls(bool json) {
  fmt::print("{}\n", json ? "[]" : "no calls");
  return 0;
}

}  // namespace dxg
