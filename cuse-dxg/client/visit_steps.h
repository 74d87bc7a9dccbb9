#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "base/unix_socket.h"
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
//     mmap(descriptor, ...)                                                  where it is memory that is
//     wanted close a, b, descriptor, munmap the page
//
// The page is one of its own: the stack may be tiny, and what is below it another thread's. Page and sockets
// last for one Do, however many files it brings. A fork() by another thread at that very moment copies them
// into the child.
class VisitSteps {
 public:
  VisitSteps(Tracee& tracee, pid_t tgid) : tracee_(tracee), tgid_(tgid) {}
  // One result for each step. `node` is set by a kGiveNode.
  Result<std::vector<uint64_t>> Do(std::span<const injector::WireStep> steps, std::vector<UniqueFd> files,
                                   injector::NodeIdentity* node);

 private:
  struct Page;
  Result<uint64_t> DoOne(const injector::WireStep& step, UniqueFd file, injector::NodeIdentity* node);
  Result<uint64_t> Map(const injector::WireStep& step, int file);
  Result<uint64_t> GiveNode(injector::NodeIdentity* node);
  Result<int> Give(int file);
  Status OpenChannel();
  void CloseChannel();
  void CloseAll();
  Result<uint64_t> Call(const char* what, long number, const Tracee::Arguments& arguments);

  Tracee& tracee_;
  pid_t tgid_;
  uint64_t page_ = 0;          // address in the client, 0: no channel
  int receiver_ = -1;          // the client's a
  UniqueFd sender_;            // our copy of b
  std::vector<int> to_close_;  // in the client, when the Do ends
};

// A copy of a thread's descriptor. EBADF where it has none of that number.
Result<UniqueFd> CopyOf(pid_t tid, pid_t tgid, int descriptor);
// What tells the file behind it from others. Asks no file system for news: the file may be one that never
// answers.
Result<injector::NodeIdentity> IdentityOf(int file);

}  // namespace dxg::client
