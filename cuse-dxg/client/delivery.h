#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/status.h"
#include "cuse-dxg/client/access.h"
#include "cuse-dxg/client/event_file.h"
#include "cuse-dxg/client/waiting.h"

// Bringing memory and descriptors into an unmodified client. No reply of the kernel's can do that, so it is
// done in the client's own name while the calling thread stands at the end of its system call.
// docs/architecture.md tells how.

namespace dxg::client {

// One thing to do in the client.
struct Step {
  enum class Kind : uint32_t {
    kMap,        // map `size` bytes of `file` from `offset` on, out of core dumps; result: the address
    kUnmap,      // unmap `size` bytes at `address`; result: 0
    kGiveFile,   // a descriptor of `file`, close-on-exec; result: its number
    kGiveNode,   // a descriptor of a new open of the client's own node, close-on-exec; the open reaches the
                 // Node with `token` (see TokenOfOpener); result: its number
    kCloseFile,  // close descriptor `address`; result: 0
  };
  Kind kind = Kind::kMap;
  int file = -1;         // ours; stays open until the step is done
  uint64_t offset = 0;   // bytes, whole pages
  uint64_t size = 0;     // bytes, whole pages
  uint64_t address = 0;  // kMap: where; 0: anywhere
  bool writable = true;  // kMap; kGiveNode: opened for writing too
  bool replace = true;   // kMap: what is at the address; else it is mapped elsewhere where that is not free
  uint64_t token = 0;    // kGiveNode, not 0
};

// A visit to the client: its thread does what we say and nothing else. It ends with Leave; dropped without
// it, the call fails with EINTR and the client goes on.
class Visit {
 public:
  using Done = std::function<void(Result<std::vector<uint64_t>>)>;  // one result for each step

  virtual ~Visit() = default;
  // In order; the first failure ends it (its errno and a sentence), and what was done before it stays done.
  // `done` runs once, on any thread. One Do at a time.
  virtual void Do(std::vector<Step> steps, Done done) = 0;
  // True where the call was answered provisionally to get here, so that its result goes by Leave.
  virtual bool holds_thread() const = 0;
  virtual void Leave(int32_t result) = 0;
};

// The ways into clients: the injector process (ptrace), or the agent of the preload shim.
class Delivery {
 public:
  using Entered = std::function<void(Result<std::unique_ptr<Visit>>)>;

  virtual ~Delivery() = default;
  // Ends all that is asked for and not yet done. What is asked for later is refused.
  virtual void Stop() {}
  // Visits a thread of that process, which waits in a call. `answer` is run, at most once and before
  // `entered`, when the thread is caught and the kernel is to be given an answer (0, without data) so that it
  // arrives at the end of its system call. Where that never comes, the call is still unanswered, and
  // `entered` has the reason: EINTR (the thread is being killed), EPERM (somebody traces it, or we may not),
  // EIO. An error after `answer` has run means that the call has ended with it, or its thread. The request
  // may see one interrupt (FUSE_INTERRUPT) meanwhile, which is not a signal to the client.
  virtual void Enter(const Waiting& at, const Identity& process, std::function<void()> answer,
                     Entered entered) = 0;

  // The token of the kGiveNode whose open this thread is making on behalf of a client; 0: a client's own
  // open.
  virtual uint64_t TokenOfOpener(pid_t tid) = 0;

  // Which file of ours (as named by AcceptFile below) a descriptor number means to a client's thread that
  // waits in a call; `done` gets 0 where it is no open file of our node, or the thread has left the call.
  // Nothing happens to the client. `done` runs once, on any thread.
  virtual void Identify(const Waiting& at, const Identity& process, int descriptor,
                        std::function<void(uint64_t file)> done) = 0;
  // Identify works by an ioctl of a helper of ours on the very file, with this code; the Node hands such a
  // call here first. True: it was one (the request is to be answered with 0), and `file` is what it came
  // with.
  virtual bool IsIdentifyCall(pid_t tid, uint32_t code, uint64_t argument, uint64_t file) = 0;

  // The eventfd behind a descriptor number of a client's thread that waits in a call, to be signalled for as
  // long as it is kept; `done` gets EINVAL where the number is no eventfd of that thread, EINTR where the
  // thread has left the call, ENOMEM where its process or all have made us keep too many (EventFiles), EIO
  // where nobody can look any more.
  // Nothing happens to the client, and its calls are not visited. `done` runs once: within the call where the
  // same number was taken before and still means the same eventfd, else on any thread.
  using TookEventFile = std::function<void(Result<std::shared_ptr<EventFile>>)>;
  // A delivery that cannot says that it is none.
  virtual void TakeEventFile(const Waiting&, const Identity&, int descriptor, TookEventFile done) {
    done(NoEventFile(descriptor));
  }
};

}  // namespace dxg::client
