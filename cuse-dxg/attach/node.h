#pragma once

#include <poll.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"

// The one interface between the ways a client can meet us (CUSE, FUSE file, private /dev, preload) and the
// device. An attach mode turns what the kernel tells it into these three requests; the device answers each
// exactly once, from any thread, now or later. Nothing above this line knows FUSE; nothing below it knows
// what a GPU is.

namespace dxg::attach {

// Who calls. `tid` is the calling THREAD, as seen from the pid namespace of this process.
struct Caller {
  pid_t tid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};

// A client opens the node.
class OpenRequest {
 public:
  virtual ~OpenRequest() = default;
  virtual const Caller& caller() const = 0;
  // `file` comes back with every ioctl on the descriptor and with its release.
  virtual void Accept(uint64_t file) = 0;
  virtual void Refuse(int error) = 0;  // a positive errno
};

// A client's ioctl. Dropping it without an answer is a bug of ours.
class IoctlRequest {
 public:
  virtual ~IoctlRequest() = default;
  virtual const Caller& caller() const = 0;
  virtual uint64_t file() const = 0;
  virtual uint32_t code() const = 0;
  virtual uint64_t argument() const = 0;  // the third argument of ioctl(2), an address in the client

  // The fixed struct, where the kernel has already copied it in (restricted ioctls: the size is the one in
  // the code). Empty where the device has to read it from the client itself (unrestricted ioctls).
  virtual std::span<const std::byte> in() const = 0;
  // True where the kernel copies the answer's `out` to the client. Where false, `out` of Answer must be
  // empty.
  virtual bool kernel_copies_out() const = 0;

  // `result` is 0 or positive, or -errno, or (see Status) a raw NTSTATUS. `out` is the first bytes of the
  // fixed struct as they go back to the client; it is copied also when the result is an error.
  virtual void Answer(int32_t result, std::span<const std::byte> out) = 0;

  // `interrupted` runs at most once, from any thread, when a signal arrives at the waiting client before the
  // answer. Only a request that may wait without limit sets it. Answer(kRestart, {}) is what a driver does
  // then: the kernel restarts the call, or makes it fail with EINTR, as the signal's handler was installed
  // (SA_RESTART). Only a request that was interrupted may be answered so. A signal that came before this was
  // asked for counts. A visit to the thread (client/delivery.h) looks like a signal too.
  static constexpr int32_t kRestart = -kErestartsys;
  virtual void OnInterrupt(std::function<void()> interrupted) = 0;
  // As OnInterrupt, but only when the waiting thread is being killed: nothing less ends a wait for the host.
  // Until it is answered then, the client cannot die. A request may have both: then `interrupted` runs first,
  // and `killed` where that did not answer.
  // `killed` says whether that was heard; where it says false, it is asked again a little later.
  virtual void OnKilled(std::function<bool()> killed) = 0;
};

// Threads of clients that sleep in poll, select or epoll on one open file, until it changes.
class PollWaiter {
 public:
  virtual ~PollWaiter() = default;
  // They ask again what is ready. From any thread.
  virtual void Wake() = 0;
};

// What serves the node.
class Node {
 public:
  virtual ~Node() = default;
  virtual void Open(std::unique_ptr<OpenRequest> request) = 0;
  virtual void Ioctl(std::unique_ptr<IoctlRequest> request) = 0;
  // The last descriptor of the open file is closed; no request of it is under way any more. Runs before any
  // later Open is handed in, so that close-then-open meets a clean slate.
  virtual void Release(uint64_t file) = 0;
  // What of the open file is ready (POLLIN and so on), at once. `waiter` is not null where somebody is going
  // to sleep until that changes; it stands for all who sleep on this file, so that a newer one replaces it,
  // and is not kept after Release. The node itself is always ready, as any file without a poll of its own.
  virtual uint32_t Poll(uint64_t /*file*/, std::unique_ptr<PollWaiter> /*waiter*/) { return kAlwaysReady; }
  // A number that tells apart the processes whose requests have turns.
  virtual uint64_t ProcessOf(uint64_t file) { return file; }
  // A request that was handed in takes long: its thread has been at it for a tick, and another one goes on.
  virtual void LookAtLongRequests() {}
  static constexpr uint32_t kAlwaysReady = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
};

}  // namespace dxg::attach
