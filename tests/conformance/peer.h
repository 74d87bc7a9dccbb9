#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>

// A second client: a forked process whose failed expectations become failures of the test that started it.
//
// The node keeps its state per process, and a test program is one process. Tests of two clients, and of a
// process that has never opened the node, need another process.

namespace dxg::conformance {

class Peer {
 public:
  // Runs `body` in the child. The child talks to the parent by the Peer that it gets, the parent to the child
  // by this one.
  using Body = std::function<void(Peer&)>;

  explicit Peer(const Body& body);
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer();

  pid_t pid() const { return pid_; }

  // Send a number to the other side, or receive one from it. Receive waits. Both throw if the other side has
  // ended.
  void Send(uint64_t value) const;
  uint64_t Receive() const;

  // Waits for the child's end and reports its failures as failures of this test. The destructor calls it if
  // nobody has.
  void Join();
  // Kills the child by SIGKILL and waits for its end.
  void Kill();

 private:
  Peer(int channel, pid_t pid) : channel_(channel), pid_(pid) {}

  int channel_ = -1;
  int report_ = -1;  // the child's failures; closed by its end
  pid_t pid_ = -1;
};

// Runs `body` in a process of its own and waits for it. The node has not seen that process before, so its
// handle tables are empty.
void InFreshProcess(const std::function<void()>& body);

// A thread in which a failed set-up call is a failure of the test, as in the main thread.
std::thread StartThread(std::function<void()> body);

// Whether `condition` becomes true, in half a minute at most: a slow machine's second is no failure. For work
// that a node may finish after the call that asks for it, such as the release of a killed process.
bool Eventually(const std::function<bool()>& condition);

}  // namespace dxg::conformance
