#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>

// A second client: a forked process whose failed expectations become failures of the test that started it.
//
// Everything the node keeps is per process, and a test program is one process. What two clients do to each
// other, and what a process sees that has never opened the node, can only be tested from another one.

namespace dxg::conformance {

class Peer {
 public:
  // Runs in the child. It talks to the parent through the Peer that it is given, and the parent through this
  // one.
  using Body = std::function<void(Peer&)>;

  explicit Peer(const Body& body);
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer();

  pid_t pid() const { return pid_; }

  // One number to the other side, one number from it; Receive waits. Throw when the other side has ended.
  void Send(uint64_t value) const;
  uint64_t Receive() const;

  // Waits for the child's end and makes its failures ours. Done by the destructor at the latest.
  void Join();
  // SIGKILL, and wait.
  void Kill();

 private:
  Peer(int channel, pid_t pid) : channel_(channel), pid_(pid) {}

  int channel_ = -1;
  int report_ = -1;  // the child's failures; closed by its end
  pid_t pid_ = -1;
};

// Runs `body` as a client of its own, and waits: the node sees a process that it has not seen before, with
// empty handle tables.
void InFreshProcess(const std::function<void()>& body);

// A thread in which a failed set-up call is a failure of the test, as it is outside of one.
std::thread StartThread(std::function<void()> body);

// Whether `condition` comes true soon. For what a node may finish after the call that asks for it, as the
// release of a killed process.
bool Eventually(const std::function<bool()>& condition,
                std::chrono::milliseconds patience = std::chrono::milliseconds(3000));

}  // namespace dxg::conformance
