#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "cuse-dxg/client/delivery.h"
#include "cuse-dxg/client/seccomp_filters.h"
#include "cuse-dxg/client/waiting.h"

// What the daemon and the injector process say to each other. Both are one build of one program, so these are
// structs.
//
//     daemon                                          injector
//       control socket:   <- kHello
//                         -> a worker's socket        a thread is made that serves it, one job at a time
//       worker's socket:  -> kBegin{thread}           seizes the thread
//                         <- kHeld                    the kernel may be given its answer
//                         <- kStopped                 the thread stands at the end of its system call
//                         -> kDo{steps, files}
//                         <- kOpened{node}            of a kGiveNode, before the client gets it
//                         -> kGive{result}            0: that open has reached the daemon, so it is our node
//                         <- kDid{results}            again and again
//                         -> kLeave{result}           the thread goes on
//       or, instead of kHeld or kStopped:
//                         <- kFailed{error, why}      after kHeld: the thread went on with that error
//                         <- kGone                    the thread is being killed, the worker is busy with it
//                         <- kFree                    no longer
//       or                -> kIdentify{thread, number}
//                         <- kIdentified
//       or                -> kTake{thread, number}
//                         <- kTaken, with a copy of the descriptor where it is an eventfd
//
// The end of a socket is a message too. The control socket: the other process is dead. A worker's socket, in
// the injector: the daemon is dead, and a held thread goes on with ECONNABORTED. In the daemon: the injector
// has no thread or no descriptor for that worker, where it is not dead itself.

namespace dxg::client::injector {

constexpr int kControlDescriptor = 3;  // in the injector process
constexpr size_t kStepsPerMessageMax = 32;
constexpr size_t kNodesMax = 4;

// What tells our node from other files. All zero: none.
struct NodeIdentity {
  uint64_t device = 0;  // a character device: its number; a file: its file system
  uint64_t inode = 0;   // 0 for a character device: every inode with that number is the same device
  bool operator==(const NodeIdentity&) const = default;
};

struct WireStep {
  Step::Kind kind;
  uint32_t writable;
  uint32_t has_file;  // the next of the message's descriptors
  uint32_t replace;
  uint64_t offset;
  uint64_t size;
  uint64_t address;
};

enum class Ask : uint32_t { kBegin = 1, kDo, kGive, kLeave, kIdentify, kTake };
struct Request {
  Ask ask = Ask::kBegin;
  WaitingThread thread;
  Family family;       // kBegin
  int32_t result = 0;  // kGive, kLeave
  int32_t number = 0;  // kIdentify, kTake: of a descriptor
  uint32_t steps_count = 0;
  uint64_t job = 0;  // of kBegin and kIdentify, where it is the argument of the ioctl
  std::array<NodeIdentity, kNodesMax> nodes = {};        // kIdentify: the files that it may ask
  std::array<WireStep, kStepsPerMessageMax> steps = {};  // last: only what is used is sent
};

enum class Tell : uint32_t {
  kHello = 1,
  kHeld,
  kStopped,
  kFailed,
  kOpened,
  kDid,
  kGone,
  kFree,
  kIdentified,
  kTaken
};
struct Reply {
  Tell tell = Tell::kHello;
  pid_t worker = 0;   // the thread that serves this socket
  int32_t error = 0;  // kFailed, kDid, kTaken: 0 or a positive errno
  uint32_t results_count = 0;
  // A kGone may cross the daemon's kLeave, and is then about a job that the daemon has forgotten.
  uint64_t job = 0;
  NodeIdentity node;  // kOpened
  std::array<uint64_t, kStepsPerMessageMax> results = {};
  std::array<char, 400> why = {};  // a string; last: only what is used is sent
};

}  // namespace dxg::client::injector
