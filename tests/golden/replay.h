#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cuse-dxg/guest/driver.h"
#include "tests/golden/fake_client.h"
#include "tests/golden/fake_delivery.h"
#include "tests/golden/scripted_host.h"

namespace dxg::golden {

// How a record compares with what our guest does. kByDecision is for a difference that docs/abi.md lists;
// there is none.
enum class Outcome { kMatch, kByDecision, kDiffers, kNotServed, kNotRebuilt };

// Replays recorded sequences through the guest driver: opens, calls and what happened around them, in order,
// each against the packets and answers of its record. One object for one file.
class Replay {
 public:
  ~Replay() { CloseAll(); }

  struct Verdict {
    Outcome outcome;
    std::string why;  // what differs, or why it was not compared
  };
  Verdict Run(const Json& record);

 private:
  struct Answered {
    bool answered = false;
    int32_t result = 0;
    std::function<void()> interrupt;  // set where any signal to the caller ends the call
  };
  class FakeOpen;
  class FakeIoctl;

  Verdict Load(const Json& record);
  Verdict Open(const Json& record);
  Verdict Ioctl(const Json& record);
  Verdict Action(const Json& record);
  uint64_t FileOf(pid_t tgid, int fd);
  void Close(std::map<std::pair<pid_t, int>, uint64_t>::iterator file);
  void CloseAll();  // what happened between two records: nothing is compared
  void CloseProcess(uint32_t host_process);
  Verdict AdapterArrives(const Json& record);

  // What the recorded host signalled, and what the caller's signal did. A sentence where an eventfd was not
  // raised as it was.
  std::string Signal(const Json& record, const contract::CallRow* row, Answered& answer);
  std::optional<Verdict> SignalAction(const std::string& label);
  std::map<std::pair<pid_t, int>, uint64_t>::iterator ClosedObject(const Json& record);
  std::optional<Verdict> CloseObjectAction(const Json& record);
  void CloseObjectsOf(uint32_t host_process);
  void CloseObjects(pid_t tgid);  // 0: of every process
  uint64_t OpenNode();

  FakeClient client_;
  FakeDelivery delivery_{[this] { return OpenNode(); }};
  std::unique_ptr<ScriptedHost> host_;
  std::unique_ptr<guest::Driver> driver_;
  std::map<std::pair<pid_t, int>, uint64_t> files_;
  std::map<pid_t, uint32_t> host_of_tgid_;  // the host's handle of a process, the only name that a close has
  std::string program_;                     // the recorded program that is running
  uint64_t luid_ = 0;                       // of the one adapter
  uint32_t version_ = 40;
  bool compute_only_ = false, map_guest_pages_ = false;
};

}  // namespace dxg::golden
