#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "hostsim/adapter/adapter.h"
#include "hostsim/machine/call.h"
#include "hostsim/machine/machine.h"
#include "hostsim/machine/world.h"
#include "hostsim/memory/gpu_va.h"
#include "hostsim/work/device.h"
#include "hostsim/work/engine.h"
#include "proto/dxg/control.pb.h"
#include "proto/dxg/profile.pb.h"

namespace dxg::hostsim {

// What the host tells its guest without being asked. The host holds no lock of its own while it calls, and a
// command's events come before its completion; but another thread's command may wait for nothing that these
// wait for, so they only note what they hear. They do not call the host.
class HostEvents {
 public:
  virtual ~HostEvents() = default;
  // Exactly once in the life of a device that does not end healthy. `state_cookie` is the one of
  // CreateDevice; the device may be gone by now. `state` is a D3DKMT_DEVICEEXECUTION_STATE.
  virtual void DeviceStateChanged(uint32_t process, uint64_t vgpu_luid, uint64_t state_cookie,
                                  uint32_t state) = 0;
  // What the guest gave that number happened: a wait is over, or a queue came to it. It may have forgotten
  // it.
  virtual void GuestEvent(uint32_t process, uint64_t event) = 0;
  // After every device of it has stopped.
  virtual void AdapterRemoved(uint64_t vgpu_luid) = 0;
  virtual void AdapterArrived(const AdapterInfo& adapter) = 0;
};

// How much is alive, for leak checks and tests.
struct Accounting {
  uint64_t processes = 0;
  uint64_t devices = 0;
  uint64_t contexts = 0;
  uint64_t hw_queues = 0;
  uint64_t adapters = 0;
  uint64_t resources = 0;
  uint64_t allocations = 0;
  uint64_t storages = 0;  // memory of allocations; those that processes share count once
  uint64_t mappings = 0;  // ranges of GPU virtual addresses
  uint64_t paging_queues = 0;
  uint64_t sync_objects = 0;
  uint64_t waits = 0;             // for them, that are not over
  uint64_t shared = 0;            // handles that all processes can name
  uint64_t regions = 0;           // parts of the window
  uint64_t window_bytes = 0;      // of them, what is given out
  uint64_t machine_bytes = 0;     // what they cost the machine
  uint64_t lost_accesses = 0;     // ever, to pages of the guest that were gone
  uint64_t unheard_refusals = 0;  // ever, of asynchronous commands
  uint64_t ignored_rewinds = 0;   // ever, of queues that would have lowered a fence and were not allowed to
  // All adapters together, by group.
  uint64_t reserved_bytes[kSegmentGroups] = {};
  uint64_t placed_bytes[kSegmentGroups] = {};
  uint64_t listed_bytes[kSegmentGroups] = {};  // what somebody has made resident

  bool operator==(const Accounting&) const = default;
};

// The simulated Windows host behind a guest's GPUs: it takes the commands of proto/dxg/host.proto and answers
// them as the real one does, without a GPU. It trusts nothing that a command says. Any number of threads may
// submit.
class Host {
 public:
  // `profiles` have passed ParseProfile or LoadProfile; there are at most kAdaptersMax, more are left out.
  static std::unique_ptr<Host> Create(World world, const std::vector<AdapterProfile>& profiles);
  ~Host();  // ends it first

  // Ends every process; commands that are still waiting are done before it returns, and what their
  // completions submit finds no process any more. Not from inside a completion.
  void End();

  // Before the first command, and with null after the last one.
  void SetEvents(HostEvents* events) { machine_.events.store(events); }

  // The live adapters, in the order of their arrival.
  std::vector<AdapterInfo> Adapters();

  // Called once: when the command is done, which may be before Submit returns or later, on any thread that
  // holds no lock of the host's; then it may submit again. `accepted` is false where the host answers with
  // less than a whole reply, the refusal of commands without a status. Where a reply has a status or a
  // handle, that says whether it worked.
  using Completion = std::function<void(bool accepted)>;

  // Serves one command. `request` and `reply` are the Request and Reply of the command with that id; whatever
  // `reply` held is lost. Both live until `done`.
  void Submit(const Caller& caller, uint32_t command_id, const google::protobuf::Message& request,
              google::protobuf::Message* reply, const Completion& done);

  // The region of the guest-visible window that holds the address; nothing: none does.
  std::optional<RegionInfo> FindRegion(uint64_t window_address) {
    return machine_.io_space()->Find(window_address);
  }
  // The region that most memory of the process is going to be in; nothing: no such process.
  std::optional<RegionInfo> HomeRegion(uint32_t process);

  // The region of one allocation of a shared resource, by the handle of CreateNtSharedObject; nothing: there
  // is none, or its memory is the guest's own.
  std::optional<RegionInfo> FindShared(uint32_t nt_handle, uint32_t allocation_index);

  // -- What tests and faults do to the host.

  // A new adapter of that profile. False: there are kAdaptersMax.
  bool AddAdapter(const AdapterProfile& profile, AdapterInfo* info);
  // Its devices stop, and what is still asked of it answers DEVICE_REMOVED. False: no such live adapter.
  bool RemoveAdapter(uint64_t vgpu_luid);
  // An adapter-wide timeout: all its devices are reset. False: no such live adapter.
  bool ResetAdapter(uint64_t vgpu_luid);
  // Puts one device into error; one in error stays as it is. False: no such device, or `state` is kActive.
  bool FailDevice(uint32_t process, uint32_t device, ExecutionState state);
  // As FailDevice, by an access to memory that is not there.
  bool FaultDevice(uint32_t process, uint32_t device, const PageFault& fault);

  // Faults on demand (faults.h). Nothing: the rule is armed.
  std::optional<FaultComplaint> ArmFault(const FaultRule& rule);
  FaultPlan& faults() { return machine_.faults(); }
  // What was not done as by a real host.
  Fidelity& fidelity() { return machine_.fidelity(); }
  uint64_t NowNs() const { return machine_.NowNs(); }
  // As Clock::CallAt, in so much time; not after End.
  void CallAfter(uint64_t ns, std::function<void()> call) { machine_.CallAt(NowNs() + ns, std::move(call)); }
  // The client's process id of a process; 0: no such process.
  uint64_t ProcessId(uint32_t process);

  // A segment of the adapter has only so many bytes left. False: no such live adapter or segment.
  bool SetSegmentLimit(uint64_t vgpu_luid, uint32_t segment, uint64_t bytes);
  // As an engine of the adapter accesses the process's GPU virtual addresses. False: `fault` says why.
  bool ReadGpu(const Caller& caller, uint64_t address, Bytes bytes, GpuFault* fault);
  bool WriteGpu(const Caller& caller, uint64_t address, ConstBytes bytes, GpuFault* fault);

  // What engines of the adapter have come to: MARKER ops, and private data that came with submissions, byte
  // for byte. The latest of them, oldest first.
  std::vector<GpuMark> Marks(uint64_t vgpu_luid);
  std::vector<std::string> SubmittedPrivateData(uint64_t vgpu_luid);

  Accounting Account();
  // What there is to see of adapters, with the first page, and of the page of processes that is wanted.
  void AddTo(const ControlRequest::Live& wanted, ControlReply::Live* live);

 private:
  explicit Host(World world) : machine_(std::move(world)) {}
  template <class Access>
  bool OnGpuMemory(const Caller& caller, Access access);

  Machine machine_;
};

}  // namespace dxg::hostsim
