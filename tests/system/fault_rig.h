#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

// The processes of the fault proof (host_faults.cc): starts, ends and looks into them. Whatever it started
// ends with it.

namespace dxg::faults {

// What a process holds that it may forget to give back.
struct Holdings {
  size_t descriptors = 0;   // with those of its helpers; without those that each thread of a helper has
  size_t memory_files = 0;  // mappings of them
  bool operator==(const Holdings&) const = default;
};

Holdings HoldingsOf(pid_t pid);
std::string ToString(const Holdings& holdings);
size_t AnonymousKiB(pid_t pid);
// The kernel's children of that process, of all of its threads.
std::set<pid_t> ChildrenOf(pid_t pid);

class Rig {
 public:
  // `bin` has the programs; the rig makes a directory of its own. `backend` is how the device reaches its
  // host: "unix" or "vmbus", which is over rings.
  Rig(std::string bin, std::string backend);
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;
  ~Rig();

  const std::string& node() const { return node_; }
  pid_t host() const { return host_; }
  pid_t device() const { return device_; }

  // Returns when it is ready. Throws where it does not get there.
  void StartHost();
  void StartDevice();
  // A process of ours that was forked elsewhere.
  void Adopt(pid_t pid) { ours_.insert(pid); }

  // Whether `condition` comes true by then. Looks when a process of ours has ended, when `told` (an eventfd,
  // -1: none) is written to, when we are asked to end, and at `look_ns`, where there is such a time.
  bool Until(int64_t deadline_ns, const std::function<bool()>& condition, int told = -1, int64_t look_ns = 0);
  // By SIGTERM, SIGINT or SIGHUP: what was started is to end too. As far as Until has looked.
  bool asked_to_end() const { return asked_to_end_; }
  // For children: they get no signal mask of ours. After the fork.
  static void UnblockSignals();

  // Whether the process has ended, and how (wait status).
  bool HasEnded(pid_t pid, int* status = nullptr);
  void Kill(pid_t pid);                           // SIGKILL, and waits
  int Terminate(pid_t pid, int64_t patience_ns);  // SIGTERM, and waits; the wait status
  // The device's connection is over, for both sides; both processes are well.
  void CutConnection();
  void RemoveSocketFile();
  bool HasSocketFile() const;
  // What killed devices left. How many.
  int Unmount();
  // What the processes had to say.
  std::string Logs() const;

 private:
  pid_t Start(const std::string& name, const std::vector<std::string>& arguments);
  void Reap();
  void TakeSignals();

  const std::string bin_, backend_;
  int signals_ = -1;  // a signalfd: SIGCHLD, and those that ask us to end
  bool asked_to_end_ = false;
  std::string dir_, node_, socket_;
  pid_t host_ = -1, device_ = -1;
  std::set<pid_t> ours_;        // and not yet ended
  std::map<pid_t, int> ended_;  // wait status, of ours and of orphans
};

}  // namespace dxg::faults
