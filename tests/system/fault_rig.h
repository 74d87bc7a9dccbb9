#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

// The processes of the fault proof (host_faults.cc). The rig starts, ends and inspects them, and ends all of
// them when it is destroyed.

namespace dxg::faults {

// Resources of a process that it may leak.
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
  // `bin` is the directory of the programs; the rig makes a directory of its own for sockets and logs.
  // `backend` is how the device reaches its host: "unix", or "vmbus" over rings.
  Rig(std::string bin, std::string backend);
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;
  ~Rig();

  const std::string& node() const { return node_; }
  pid_t host() const { return host_; }
  pid_t device() const { return device_; }

  // Return when the process is ready. Throw if it does not become ready.
  void StartHost();
  void StartDevice();
  // Adds a process that was forked elsewhere.
  void Adopt(pid_t pid) { ours_.insert(pid); }

  // Whether `condition` becomes true before the deadline. Checks it when a process of ours has ended, when
  // `told` (an eventfd, -1: none) is written to, when we are asked to end, and at `look_ns` if that is not 0.
  bool Until(int64_t deadline_ns, const std::function<bool()>& condition, int told = -1, int64_t look_ns = 0);
  // Whether SIGTERM, SIGINT or SIGHUP has arrived, as far as Until has seen.
  bool asked_to_end() const { return asked_to_end_; }
  // To be called in a child after the fork: it must not inherit our signal mask.
  static void UnblockSignals();

  // Whether the process has ended, and how (wait status).
  bool HasEnded(pid_t pid, int* status = nullptr);
  void Kill(pid_t pid);                           // SIGKILL, and waits
  int Terminate(pid_t pid, int64_t patience_ns);  // SIGTERM, and waits; the wait status
  // Ends the connection between device and host for both sides. Both processes keep running.
  void CutConnection();
  void RemoveSocketFile();
  bool HasSocketFile() const;
  // Unmounts what killed devices have left. Returns the number of mounts.
  int Unmount();
  // The logs of all processes.
  std::string Logs() const;

 private:
  pid_t Start(const std::string& name, const std::vector<std::string>& arguments);
  void Reap();
  void TakeSignals();

  const std::string bin_, backend_;
  int signals_ = -1;  // a signalfd: SIGCHLD, SIGTERM, SIGINT, SIGHUP
  bool asked_to_end_ = false;
  std::string dir_, node_, socket_;
  pid_t host_ = -1, device_ = -1;
  std::set<pid_t> ours_;        // that have not ended
  std::map<pid_t, int> ended_;  // wait status, of ours and of orphans
};

}  // namespace dxg::faults
