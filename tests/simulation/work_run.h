#pragma once

#include <map>
#include <memory>
#include <vector>

#include "hostsim/machine/faults.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/dxg_commands.h"
#include "proto/abi/interface.h"
#include "proto/abi/ntstatus.h"
#include "tests/simulation/seeded_run.h"
#include "tests/simulation/work_model.h"

namespace dxg::simulation {

inline constexpr uint64_t kGroupBytes = 16 << 20;
inline constexpr uint32_t kMemoryBytes = 128 << 10;  // of a device
inline constexpr uint32_t kMemoryOfStep = 8 << 10;   // the most that a step takes of it
inline constexpr uint32_t kNodes = 3;
inline constexpr int kClientsMax = 4;
inline constexpr size_t kQueuesMax = 6;    // of a device
inline constexpr size_t kHandlesMax = 12;  // of a client
inline constexpr int kEventsOfClockMax = 100000;
inline constexpr uint64_t kJumped = kFenceLost - 1;   // where a rule may bring a fence
inline constexpr uint64_t kEverybody = 1ull << 40;    // a fence's value that lets all go
inline constexpr uint64_t kNowhere = 0x7F0000000000;  // a GPU address that nothing is mapped at

struct Handle {
  std::shared_ptr<Sync> sync;
  std::shared_ptr<ModelDevice> device;
  uint32_t handle = 0;
  const volatile uint64_t* view = nullptr;
  uint64_t gpu = 0;
  // What its owner may do with it: each handle has flags of its own.
  bool signals = true, waits = true;
  bool lost_with_device = true;  // where it signals
};

struct Client {
  bool open = false;
  uint32_t adapter = 0;
  uint32_t adapter_life = 0;
  std::vector<std::shared_ptr<ModelDevice>> devices;
  std::vector<Handle> handles;
};

// A rule that is armed.
struct ModelRule {
  int client = -1;     // the only one that it is for
  uint32_t state = 0;  // that it brings devices into
  uint64_t struck = 0;
};

// What a rule has done, where that takes devices with it.
struct Strike {
  uint32_t state = 0;
  int client = -1;     // whose devices; -1: anybody's
  bool all = false;    // not only one of them
  int before = 0;      // devices and queues that were gone by then
  bool spent = false;  // it has had its device
};

struct Descriptor {
  std::shared_ptr<Sync> sync;
  uint32_t adapter_life = 0;
};

// Random work of several clients on one simulated GPU: queues, fences of every kind, waits, sharing, faults,
// the death of devices, processes and adapters, on virtual time. The model (work_model.h) judges after every
// step and every event of the clock.
//
//   work_run.cc      steps, time, the end          work_clients.cc  processes, devices, their trouble
//   work_objects.cc  queues, fences, sharing       work_queues.cc   what goes into queues
//   work_cpu.cc      signals and waits of the CPU    work_faults.cc  rules of the fault plan
class WorkRun final : public SeededRun {
 public:
  WorkRun(uint64_t seed, bool verbose)
      : SeededRun(seed * 2 + 1, verbose), machine_(Profile()), model_(machine_) {}
  ~WorkRun();

  void Steps(int steps);

 private:
  Machine& machine() override { return machine_; }
  Client& Now() { return clients_[current_]; }
  AdapterProfile Profile();

  // -- Picking. Null where there is none.
  std::shared_ptr<ModelDevice> AnyDevice();
  enum class Queues { kAll, kContexts, kHardware };
  std::vector<std::shared_ptr<ModelQueue>> QueuesOf(const ModelDevice& device, Queues which);
  std::shared_ptr<ModelQueue> AnyQueue(Queues which = Queues::kAll);
  template <typename Condition>
  Handle* AnyHandle(const ModelDevice* device, Condition condition) {
    std::vector<Handle*> list;
    for (Handle& handle : Now().handles) {
      if ((device == nullptr || handle.device.get() == device) && condition(handle)) list.push_back(&handle);
    }
    auto* picked = Pick(list);
    return picked == nullptr ? nullptr : *picked;
  }
  // To wait for; of any device where null.
  Handle* AnyFence(const ModelDevice* device);
  // To signal to a value; `both`: also to wait for.
  Handle* AnyGrowing(const ModelDevice& device, bool both = false);
  // Up to three of them, and what each is signalled to. False: there are none.
  bool PickToSignal(const ModelDevice& device, std::vector<uint32_t>* objects, std::vector<uint64_t>* values,
                    std::vector<Point>* points);

  // -- Clients and devices
  void OpenClient();
  void OpenAdapter();
  void CreateDevice();
  void CreateMemory(ModelDevice& device);
  uint64_t Take(ModelDevice& device, uint64_t bytes);
  volatile uint64_t* WordAt(const ModelDevice& device, uint64_t at) {
    return reinterpret_cast<volatile uint64_t*>(device.cpu + at);
  }
  bool Accepted(const ModelDevice& device, int32_t result, const char* what);
  uint32_t StateOf(const ModelDevice& device);
  void FindLostDevices();
  void LoseDevice(ModelDevice& device, uint32_t state);
  void ExpectLost(ModelDevice& device, uint32_t state);
  void DestroyDevice(const std::shared_ptr<ModelDevice>& device);
  void ForgetSums(const ModelDevice& device);
  void ForgetDevice(const std::shared_ptr<ModelDevice>& device);
  void Recover();
  void ReplaceDevice(std::shared_ptr<ModelDevice> device);
  void UseLost(const ModelDevice& device);
  void EndClient();
  void ReplaceClient();

  // -- Queues
  void CreateQueue();
  void CreateQueueOn(const std::shared_ptr<ModelDevice>& device);
  bool CreateHwQueue(ModelQueue& queue);
  void EndQueue(const std::shared_ptr<ModelQueue>& queue);
  void EndFence(const std::shared_ptr<Sync>& fence);
  void DestroyQueue();
  void Priority();

  // -- Objects
  int NewEvent();
  void ForbidSomething(d3dddi_synchronizationobject_flags* flags);
  void CreateSync();
  void CreatePeriodic();
  void EndPeriodic();
  void CreateSyncOn(const std::shared_ptr<ModelDevice>& device);
  void ForgetNothing(int32_t result, uint32_t handle);
  void AddHandle(Handle handle, uint64_t view, uint64_t gpu);
  void CountHandles(Sync& sync);
  void ForgetHandle(int client, size_t index);
  void DestroySync();
  void DestroyHandle(size_t index);
  void Share();
  void OpenShared();
  void CloseDescriptor();
  void CloseDescriptor(std::map<int, Descriptor>::iterator it);

  // -- Commands
  template <typename Write>
  bool SubmitTo(const std::shared_ptr<ModelQueue>& queue, Packet packet, Write write);
  bool SubmitBuffer(ModelQueue& queue, uint64_t at, uint64_t bytes, Packet packet);
  void Submit();
  bool SubmitWork(const std::shared_ptr<ModelQueue>& queue, const Region* source, const Point& handover = {});
  void SubmitBad();
  void SubmitNeedy();
  void WriteWords();
  void SubmitNothing();
  void SubmitBroadcast();

  // -- Signals and waits of queues
  // Of a fence that has come to its end: small ones again, which change nothing and which the CPU may not
  // signal.
  uint64_t ValueToSignal(const Sync& sync) {
    return std::max(FromSmall(sync.value), FromSmall(sync.seen)) + Below(4);
  }
  uint64_t ValueToAwait(const Sync& sync) { return FromSmall(sync.seen) + Below(4); }
  static uint64_t FromSmall(uint64_t value) { return value >= kJumped ? 0 : value; }
  void SignalByQueue();
  void SignalFrom(const std::shared_ptr<ModelQueue>& queue);
  void PushSignal(const std::vector<std::shared_ptr<ModelQueue>>& queues,
                  const std::shared_ptr<Signal>& signal);
  void SignalLegacy(const std::shared_ptr<ModelQueue>& queue);
  void WaitByQueue();
  void WaitOn(const std::shared_ptr<ModelQueue>& queue);
  void WaitLegacy(const std::shared_ptr<ModelQueue>& queue);
  bool PushWaitLegacy(const std::shared_ptr<ModelQueue>& queue, const Handle& handle, uint64_t value);
  void Pipeline();
  void Sections();

  // -- The CPU
  void SignalByCpu();
  bool CpuSignal(const std::shared_ptr<ModelDevice>& device, std::vector<uint32_t> objects,
                 std::vector<uint64_t> values, const std::vector<Point>& points, bool rewind);
  void Rewind();
  void WaitByCpu();
  void AskWait(const std::shared_ptr<CpuWait>& wait, std::vector<uint32_t>& objects,
               std::vector<uint64_t>& values, bool blocks);
  void Interrupt();
  void Refused();
  void Denied();
  void DenyTo(const Handle& handle, bool signal);

  // -- Time
  void Advance();
  void Rest();
  void Observe();

  // -- Trouble
  void MarkDevice();
  void ExpectMarked(ModelDevice& device);
  void ResetAdapter();
  void NoteRemoval();
  void BringAdapterBack();
  void LoseAll(uint32_t state);
  void ReplaceAdapter();
  void Trouble();

  // -- Rules of faults
  void ArmRule();
  void ClearRules();
  uint64_t Struck(hostsim::FaultPoint point);
  void NoteStrikes();
  bool StruckInto(const ModelDevice& device, uint32_t state);
  bool EndHangs();
  void JudgeStrikes();
  void JudgeRulesAtRest();

  // -- The end
  void Finish();
  void Release();
  void CheckLeft();

  void Step();

  bool asynchronous_ = false;
  uint64_t vertical_sync_ns_ = 0;  // 0: there is no display
  Machine machine_;
  WorkModel model_;
  std::vector<Client> clients_;
  std::map<int, Descriptor> descriptors_;
  std::map<int, std::vector<int>> events_;  // eventfds, by client
  std::vector<std::weak_ptr<ModelQueue>> queues_ever_;
  std::vector<std::weak_ptr<ModelDevice>> devices_ever_;
  std::vector<std::shared_ptr<ModelQueue>> queues_of_lost_;  // whose progress fences can still be read
  int ids_ = 0;
  int lost_ = 0;   // devices
  int ended_ = 0;  // queues, by their clients
  std::map<hostsim::FaultPoint, ModelRule> rules_;
  std::vector<Strike> strikes_;  // that are not judged yet
  uint32_t adapter_life_ = 0;
  bool adapter_is_gone_ = false;
  uint64_t state_changes_ = 0;
};

}  // namespace dxg::simulation
