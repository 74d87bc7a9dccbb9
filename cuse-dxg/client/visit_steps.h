#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/status.h"
#include "base/unix_socket.h"
#include "cuse-dxg/client/descriptor_room.h"
#include "cuse-dxg/client/injector_protocol.h"
#include "cuse-dxg/client/tracee.h"

namespace dxg::client {

// The steps, done by a stopped thread of the client.
//
// A descriptor gets into another process by a Unix socket and in no other way that every client allows:
//
//     client                                    here
//     mmap            a page for the structs
//     socketpair  ->  a, b
//                                               takes b (pidfd_getfd), sends the file into it
//     recvmsg(a)  ->  the descriptor
//     mmap(descriptor)                          where it is memory that is wanted
//     close a, b, descriptor
//     munmap          the page
//
// The page is one of its own: the stack may be tiny, and what is below it another thread's. Page and sockets
// last for one Do, however many files it brings. A fork() by another thread at that very moment copies them
// into the child. Where the client has no number left for them, DescriptorRoom makes room.
class VisitSteps {
 public:
  // Whether the open of that file, which was the last one of this thread, has reached the daemon.
  using ReachedUs = std::function<bool(const injector::NodeIdentity&)>;

  VisitSteps(Tracee& tracee, pid_t tgid, ReachedUs reached_us)
      : tracee_(tracee),
        tgid_(tgid),
        reached_us_(std::move(reached_us)),
        room_(tgid, [this](const rlimit* limit) { return SetLimit(limit); }) {}
  // One result for each step.
  Result<std::vector<uint64_t>> Do(std::span<const injector::WireStep> steps, std::vector<UniqueFd> files);

 private:
  struct Page;
  Result<uint64_t> DoOne(const injector::WireStep& step, UniqueFd file);
  Result<uint64_t> Map(const injector::WireStep& step, int file);
  Result<uint64_t> GiveNode(const injector::WireStep& step);
  Result<int> Give(int file);
  Result<int> GiveForGood(int file);
  Result<int> Pass(int file);
  Status OpenChannel();
  Status OpenSockets();
  Status MoveSockets();
  Result<rlimit> SetLimit(const rlimit* limit);
  void CloseChannel();
  void CloseAll();
  Result<uint64_t> Call(const char* what, long number, const Tracee::Arguments& arguments);

  Tracee& tracee_;
  pid_t tgid_;
  const ReachedUs reached_us_;
  uint64_t page_ = 0;          // address in the client, 0: no channel
  int sockets_[2] = {-1, -1};  // the client's a and b
  UniqueFd sender_;            // our copy of b
  DescriptorRoom room_;
  std::vector<int> to_close_;  // in the client, when the Do ends
};

// A copy of a thread's descriptor. EBADF where it has none of that number.
Result<UniqueFd> CopyOf(pid_t tid, pid_t tgid, int descriptor);
// Why there is no copy of an eventfd, by the driver's errno: what is no descriptor of the caller is no
// eventfd either, and where we can open no more there is no memory.
Status WhyNotTaken(const Status& why);
// What tells the file behind it from others. Asks no file system for news: the file may be one that never
// answers.
Result<injector::NodeIdentity> IdentityOf(int file);

}  // namespace dxg::client
