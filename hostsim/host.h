#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "hostsim/adapter.h"
#include "hostsim/call.h"
#include "hostsim/device.h"
#include "hostsim/machine.h"
#include "hostsim/world.h"
#include "proto/dxg/profile.pb.h"

namespace dxg::hostsim {

// What the host tells its guest without being asked. The host holds no lock of its own while it calls, and a
// command's events come before its completion; but another thread's command may wait for nothing that these
// wait for, so they only note what they hear. They do not call the host.
class Events {
 public:
  virtual ~Events() = default;
  // Exactly once in the life of a device that does not end healthy. `state_cookie` is the one of
  // CreateDevice; the device may be gone by now. `state` is a D3DKMT_DEVICEEXECUTION_STATE.
  virtual void DeviceStateChanged(uint32_t process, uint64_t vgpu_luid, uint64_t state_cookie,
                                  uint32_t state) = 0;
  // After every device of it has stopped.
  virtual void AdapterRemoved(uint64_t vgpu_luid) = 0;
  virtual void AdapterArrived(const AdapterInfo& adapter) = 0;
};

// How much is alive, for leak checks and tests.
struct Accounting {
  uint64_t processes = 0;
  uint64_t devices = 0;
  uint64_t contexts = 0;
  uint64_t adapters = 0;
  uint64_t reserved_bytes[kSegmentGroups] = {};  // all adapters together
};

// The simulated Windows host behind a guest's GPUs: it takes the commands of proto/dxg/host.proto and answers
// them as the real one does, without a GPU. It trusts nothing that a command says. Any number of threads may
// submit.
class Host {
 public:
  // `profiles` have passed ParseProfile or LoadProfile; there are at most kAdaptersMax, more are left out.
  static std::unique_ptr<Host> Create(World world, const std::vector<AdapterProfile>& profiles);

  // Before the first command, and with null after the last one.
  void SetEvents(Events* events) { events_.store(events); }

  // The live adapters, in the order of their arrival.
  std::vector<AdapterInfo> Adapters();

  // Called once: when the command is done, which today is always inside Submit. `accepted` is false where the
  // host answers with less than a whole reply, the refusal of commands without a status. Where a reply has a
  // status or a handle, that says whether it worked.
  using Completion = std::function<void(bool accepted)>;

  // Serves one command. `request` and `reply` are the Request and Reply of the command with that id; whatever
  // `reply` held is lost. Both live until `done`.
  void Submit(const Caller& caller, uint32_t command_id, const google::protobuf::Message& request,
              google::protobuf::Message* reply, const Completion& done);

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

  Accounting Account();

 private:
  explicit Host(World world) : machine_(world) {}
  void Tell(const StateChanges& changes);

  Machine machine_;
  std::atomic<Events*> events_{nullptr};
};

}  // namespace dxg::hostsim
