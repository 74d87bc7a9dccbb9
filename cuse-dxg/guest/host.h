#pragma once

#include <sys/types.h>

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <unordered_map>

#include "base/mutex.h"
#include "base/relay.h"
#include "base/strands.h"
#include "cuse-dxg/guest/objects.h"
#include "link/backend.h"
#include "proto/abi/interface.h"
#include "proto/contract/host_commands.gen.h"

namespace dxg::guest {

// Threads for what goes on after an answer, or after a teardown, and may touch its client's memory: instead
// of a thread that everybody needs. A process has at most Strands::kAtOnceMax of them, a user
// Strands::kOfGroupMax.
class Beside {
 public:
  // Of a process, by the host's handle: whose it is, so that it counts for its user.
  void Enter(uint32_t process, uid_t user) DXG_EXCLUDES(mutex_);
  void Leave(uint32_t process) DXG_EXCLUDES(mutex_);
  // False: no memory is left to hand it over.
  bool Resume(uint32_t process, std::coroutine_handle<> waiter) DXG_EXCLUDES(mutex_);
  // Waits until all is over. What comes later is done by the thread that brings it.
  void Stop() { strands_.Stop(); }

 private:
  Mutex mutex_;
  std::unordered_map<uint32_t, uid_t> users_ DXG_GUARDED_BY(mutex_);
  Strands strands_;
};

// `co_await` sends a command and gives the transport's Status; the host's answer is in `reply`. Request and
// reply live in the awaiting coroutine's frame.
class HostAnswer {
 public:
  // `process` is whose call waits for it, also of a command that names none.
  HostAnswer(Backend& backend, Beside& beside, HostCall call, uint32_t process, uint32_t interface_version)
      : backend_(backend),
        beside_(beside),
        call_(call),
        refused_(CheckSizes(call, interface_version)),
        process_(process) {}

  bool await_ready() const { return !refused_.ok(); }
  bool await_suspend(std::coroutine_handle<> waiter) {
    waiter_ = waiter;
    backend_.Submit(call_, {&HostAnswer::Complete, this});
    // The answer may have come inside Submit, or be coming on another thread: whoever is second goes on.
    return !second_.exchange(true, std::memory_order_acq_rel);
  }
  Status await_resume() { return std::move(refused_); }

 private:
  static void Complete(void* self, Status transport) {
    auto* answer = static_cast<HostAnswer*>(self);
    answer->refused_ = std::move(transport);
    if (answer->second_.exchange(true, std::memory_order_acq_rel)) answer->GoOn();
  }

  // Here, on the thread that hears the host, which goes on without this one if need be. Where one is gone
  // from there already, whoever is next need not follow it: there are not many such threads.
  void GoOn() {
    if (Relay::AnyGone() && process_ != 0 && beside_.Resume(process_, waiter_)) return;
    waiter_.resume();
  }

  // A message or an answer that would not fit the channel is refused before anything is sent, whatever the
  // back-end.
  static Status CheckSizes(const HostCall& call, uint32_t interface_version) {
    const uint32_t header = interface_version >= kTransportHeaderSince ? kTransportHeaderBytes : 0;
    const uint32_t request = call.command->request_size(*call.request) + header;
    const uint32_t reply = call.command->reply_size(*call.request, interface_version);
    if (request <= kMessageBytesMax && reply <= kMessageBytesMax) return Status::Ok();
    return Status::Refuse(EINVAL, "{} needs a message of {} bytes and an answer of {}; at most {} fit",
                          call.command->name, request, reply, kMessageBytesMax);
  }

  Backend& backend_;
  Beside& beside_;
  const HostCall call_;
  Status refused_;
  std::coroutine_handle<> waiter_;
  const uint32_t process_;
  std::atomic<bool> second_{false};
};

// The host as handlers see it.
class Host {
 public:
  explicit Host(Backend& backend) : backend_(backend) {}
  Backend& backend() { return backend_; }
  Beside& beside() { return beside_; }

  template <class Request, class Reply>
  HostAnswer Ask(const Adapter& adapter, uint32_t process, const Request& request, Reply* reply) {
    const auto* command = Row<Request>();
    return HostAnswer(backend_, beside_,
                      {command, command->no_process ? 0 : process, adapter.info.address, &request, reply,
                       adapter.info.async_messages && command->may_be_async},
                      process, adapter.info.interface_version);
  }

  // A command of the VM, not of an adapter.
  template <class Request, class Reply>
  HostAnswer AskGlobal(uint32_t process, const Request& request, Reply* reply) {
    const auto* command = Row<Request>();
    return HostAnswer(backend_, beside_, {command, command->no_process ? 0 : process, 0, &request, reply},
                      process, kTransportHeaderSince);
  }

 private:
  template <class Request>
  static const contract::CommandRow* Row() {
    static const contract::CommandRow* const row =
        contract::FindHostCommand(contract::kHostCommandId<Request>);
    return row;
  }

  Backend& backend_;
  Beside beside_;
};

}  // namespace dxg::guest
