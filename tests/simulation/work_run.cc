// Random work of several clients on one simulated GPU: queues, fences of every kind, waits, sharing, faults, the death of
// devices, processes and adapters, on virtual time. The model (work_model.h) judges after every step and every event of
// the clock.
#include <fmt/format.h>

#include <cstring>
#include <random>

#include "proto/abi/d3dkmthk.h"
#include "proto/abi/dxg_commands.h"
#include "proto/abi/ntstatus.h"
#include "tests/simulation/run.h"
#include "tests/simulation/work_model.h"

namespace dxg::simulation {
namespace {

constexpr uint64_t kGroupBytes = 16 << 20;
constexpr uint32_t kMemoryBytes = 128 << 10;  // of a device
constexpr uint32_t kMemoryOfStep = 8 << 10;   // the most that a step takes of it
constexpr uint32_t kNodes = 3;
constexpr int kClientsMax = 4;
constexpr size_t kQueuesMax = 6;    // of a device
constexpr size_t kHandlesMax = 12;  // of a client
constexpr int kEventsOfClockMax = 100000;
constexpr uint64_t kEverybody = 1ull << 40;  // a fence's value that lets all go
constexpr uint64_t kNowhere = 0x7F0000000000;  // a GPU address that nothing is mapped at

enum : uint32_t { kMutex = 1, kSemaphore = 2, kFence = 3, kCpuNotification = 4, kMonitored = 5 };
enum : uint32_t { kActive = 1, kReset = 2, kStopped = 4, kDmaFault = 6, kDmaPageFault = 7 };

struct Handle {
  std::shared_ptr<Sync> sync;
  std::shared_ptr<ModelDevice> device;
  uint32_t handle = 0;
  const volatile uint64_t* view = nullptr;
  uint64_t gpu = 0;
};

struct Client {
  bool open = false;
  uint32_t adapter = 0;
  uint32_t adapter_life = 0;
  std::vector<std::shared_ptr<ModelDevice>> devices;
  std::vector<Handle> handles;
};

struct Descriptor {
  std::shared_ptr<Sync> sync;
  uint32_t adapter_life = 0;
};

class Run {
 public:
  Run(uint64_t seed, bool verbose) : random_(seed * 2 + 1), verbose_(verbose), machine_(Profile()), model_(machine_) {}

  // Packets name regions, which name the queues that have the packets.
  ~Run() {
    for (const auto& each : queues_ever_) {
      if (const auto queue = each.lock()) queue->packets.clear();
    }
    for (const auto& each : devices_ever_) {
      if (const auto device = each.lock()) device->regions.clear();
    }
  }

  void Steps(int steps) {
    clients_.resize(2 + Below(kClientsMax - 1));
    for (current_ = 0; current_ < static_cast<int>(clients_.size()); ++current_) OpenClient();
    for (step_ = 0; step_ < steps; ++step_) {
      Step();
      Observe();
    }
    Finish();
  }
  int step() const { return step_; }
  uint64_t hash() const { return hash_; }

 private:
  // -- Tools
  uint64_t Below(uint64_t limit) { return limit == 0 ? 0 : random_() % limit; }
  bool Chance(int percent) { return Below(100) < static_cast<uint64_t>(percent); }
  template <typename... Args>
  void Say(fmt::format_string<Args...> format, Args&&... args) {
    const std::string line = fmt::format("{:4} {} @{}: {}", step_, Pid(), machine_.clock().NowNs(), fmt::format(format, std::forward<Args>(args)...));
    for (const char letter : line) hash_ = (hash_ ^ static_cast<unsigned char>(letter)) * 0x100000001B3;
    if (verbose_) fmt::print("{}\n", line);
  }
  template <typename A, typename B>
  void Equal(const A& got, const B& wanted, const char* what) {
    if (got != wanted) throw Broken{fmt::format("process {}: {}: got {}, the model says {}", Pid(), what, got, wanted)};
  }
  void True(bool condition, const char* what) {
    if (!condition) throw Broken{fmt::format("process {}: {}", Pid(), what)};
  }
  pid_t Pid() const { return 100 + current_; }
  Client& Now() { return clients_[current_]; }
  template <typename Args>
  int32_t Call(uint32_t code, Args* args) {
    return machine_.Call(Pid(), code, args);
  }
  template <typename T>
  T* Pick(std::vector<T>& list) {
    return list.empty() ? nullptr : &list[Below(list.size())];
  }
  static uint64_t AddressOf(const void* data) { return reinterpret_cast<uint64_t>(data); }

  AdapterProfile Profile() {
    AdapterProfile profile = Machine::Discrete(kGroupBytes);
    asynchronous_ = Chance(50);
    profile.mutable_messages()->set_asynchronous(asynchronous_);
    return profile;
  }

  // -- Picking. Null where there is none.
  std::shared_ptr<ModelDevice> AnyDevice() {
    std::vector<std::shared_ptr<ModelDevice>> list;
    for (const auto& device : Now().devices) {
      if (device->active() && device->used + kMemoryOfStep <= kMemoryBytes) list.push_back(device);
    }
    auto* picked = Pick(list);
    return picked == nullptr ? nullptr : *picked;
  }
  enum class Queues { kAll, kContexts, kHardware };
  std::vector<std::shared_ptr<ModelQueue>> QueuesOf(const ModelDevice& device, Queues which) {
    std::vector<std::shared_ptr<ModelQueue>> list;
    for (const auto& queue : model_.queues) {
      if (queue->device.get() == &device && (which == Queues::kAll || queue->hardware == (which == Queues::kHardware))) list.push_back(queue);
    }
    return list;
  }
  std::shared_ptr<ModelQueue> AnyQueue(Queues which = Queues::kAll) {
    const auto device = AnyDevice();
    if (device == nullptr) return nullptr;
    auto list = QueuesOf(*device, which);
    auto* picked = Pick(list);
    return picked == nullptr ? nullptr : *picked;
  }
  template <typename Condition>
  Handle* AnyHandle(const ModelDevice* device, Condition condition) {
    std::vector<Handle*> list;
    for (Handle& handle : Now().handles) {
      if ((device == nullptr || handle.device.get() == device) && condition(*handle.sync)) list.push_back(&handle);
    }
    auto* picked = Pick(list);
    return picked == nullptr ? nullptr : *picked;
  }
  Handle* AnyFence(const ModelDevice& device) {
    return AnyHandle(&device, [](const Sync& sync) { return sync.readable(); });
  }
  // What a queue can signal to a value.
  Handle* AnyGrowing(const ModelDevice& device) {
    return AnyHandle(&device, [](const Sync& sync) { return sync.readable() && !sync.gpu_adds; });
  }

  // -- Clients and devices
  void OpenClient() {
    machine_.Open(Pid());
    Now() = Client();
    Now().open = true;
    OpenAdapter();
    CreateDevice();
    if (Chance(40)) CreateDevice();
  }
  void OpenAdapter() {
    d3dkmt_adapterinfo adapters[4]{};
    d3dkmt_enumadapters2 enumerate{};
    enumerate.num_adapters = 4;
    enumerate.adapters = reinterpret_cast<decltype(enumerate.adapters)>(adapters);
    Equal(Call(LX_DXENUMADAPTERS2, &enumerate), 0, "EnumAdapters2");
    Equal(uint32_t{enumerate.num_adapters}, 1u, "adapters");
    Now().adapter = adapters[0].adapter_handle.v;
    Now().adapter_life = adapter_life_;
  }

  void CreateDevice() {
    if (Now().devices.size() >= 3) return;
    auto device = std::make_shared<ModelDevice>();
    devices_ever_.push_back(device);
    d3dkmt_createdevice create{};
    create.adapter.v = Now().adapter;
    Equal(Call(LX_DXCREATEDEVICE, &create), 0, "CreateDevice");
    device->id = ++ids_;
    device->client = current_;
    device->handle = create.device.v;
    device->adapter_life = adapter_life_;
    Now().devices.push_back(device);
    model_.devices.push_back(device);
    d3dkmt_createpagingqueue queue{};
    queue.device.v = device->handle;
    Equal(Call(LX_DXCREATEPAGINGQUEUE, &queue), 0, "CreatePagingQueue");
    device->paging_queue = queue.paging_queue.v;
    CreateMemory(*device);
    Say("device {} is {:#x}", device->id, device->handle);
    const uint64_t queues = 1 + Below(3);
    for (uint64_t i = 0; i < queues; ++i) CreateQueueOn(device);
    CreateSyncOn(device);
  }
  void CreateMemory(ModelDevice& device) {
    struct {
      uint32_t magic = 0x434C4153, version = 1;
      uint64_t size = kMemoryBytes;
      uint32_t flags = 0, segment = 0;
      uint64_t allocated = 0;
    } data;
    d3dddi_allocationinfo2 info{};
    info.priv_drv_data = AddressOf(&data);
    info.priv_drv_data_size = sizeof(data);
    d3dkmt_createallocation create{};
    create.device.v = device.handle;
    create.alloc_count = 1;
    create.allocation_info = AddressOf(&info);
    Equal(Call(LX_DXCREATEALLOCATION, &create), 0, "CreateAllocation");
    device.allocation = info.allocation.v;
    uint32_t list[] = {device.allocation};
    d3dddi_makeresident resident{};
    resident.paging_queue.v = device.paging_queue;
    resident.alloc_count = 1;
    resident.allocation_list = AddressOf(list);
    const int32_t result = Call(LX_DXMAKERESIDENT, &resident);
    True(result == 0 || result == kStatusPending, "MakeResident");
    d3dddi_mapgpuvirtualaddress map{};
    map.paging_queue.v = device.paging_queue;
    map.allocation.v = device.allocation;
    map.size_in_pages = kMemoryBytes / 4096;
    map.protection.value = 1;
    const int32_t mapped = Call(LX_DXMAPGPUVIRTUALADDRESS, &map);
    True(mapped == 0 || mapped == kStatusPending, "MapGpuVirtualAddress");
    device.gpu = map.virtual_address;
    d3dkmt_lock2 lock{};
    lock.device.v = device.handle;
    lock.allocation.v = device.allocation;
    Equal(Call(LX_DXLOCK2, &lock), 0, "Lock2");
    device.cpu = reinterpret_cast<char*>(lock.data);
    machine_.clock().AdvanceNs(1'000'000);  // of paging; judged with the step
  }
  // Some bytes of the device's memory. A step finds enough of it (AnyDevice).
  uint64_t Take(ModelDevice& device, uint64_t bytes) {
    const uint64_t at = device.used;
    device.used += (bytes + 7) / 8 * 8;
    DXG_CHECK(device.used <= kMemoryBytes);
    return at;
  }
  volatile uint64_t* WordAt(const ModelDevice& device, uint64_t at) { return reinterpret_cast<volatile uint64_t*>(device.cpu + at); }

  // Whether a call on the device was accepted. A device that is found lost refuses.
  bool Accepted(const ModelDevice& device, int32_t result, const char* what) {
    FindLostDevices();
    if (result == 0) return device.active();
    Equal(result, -ENODEV, what);
    True(!device.active(), "a healthy device refused a call as removed");
    return false;
  }
  uint32_t StateOf(const ModelDevice& device) {
    const int current = std::exchange(current_, device.client);
    d3dkmt_getdevicestate args{};
    args.device.v = device.handle;
    args.state_type = 1;
    const int32_t result = Call(LX_DXGETDEVICESTATE, &args);
    const bool stopped = device.adapter_life != adapter_life_;
    if (!stopped || result != -ENODEV) Equal(result, 0, "GetDeviceState");
    current_ = current;
    return result == 0 ? args.execution_state : uint32_t{kStopped};
  }
  void FindLostDevices() {
    if (machine_.state_changes() == state_changes_) return;
    state_changes_ = machine_.state_changes();
    model_.Read();
    for (const auto& device : model_.devices) {
      if (!device->active()) continue;
      const uint32_t state = StateOf(*device);
      if (state == kActive) continue;
      if ((model_.PossibleStates(*device) >> state & 1) == 0) throw Broken{fmt::format("device {} went to state {} for no reason", device->id, state)};
      Say("device {} is lost, state {}", device->id, state);
      LoseDevice(*device, state);
    }
  }
  void LoseDevice(ModelDevice& device, uint32_t state) {
    if (state == kDmaPageFault) {
      const int current = std::exchange(current_, device.client);
      d3dkmt_getdevicestate args{};
      args.device.v = device.handle;
      args.state_type = 5;
      Equal(Call(LX_DXGETDEVICESTATE, &args), 0, "GetDeviceState of the page fault");
      Equal(uint64_t{args.page_fault_state.faulted_virtual_address}, kNowhere, "the address of the page fault");
      current_ = current;
    }
    for (const auto& queue : QueuesOf(device, Queues::kAll)) queues_of_lost_.push_back(queue);
    model_.Lose(device, state);
    ForgetSums(device);  // a reset of the adapter purges its memory
    ++lost_;
  }
  // By the caller's deed alone.
  void ExpectLost(ModelDevice& device, uint32_t state) {
    Equal(StateOf(device), state, "the device's state");
    LoseDevice(device, state);
  }

  void DestroyDevice(const std::shared_ptr<ModelDevice>& device) {
    Say("destroy device {}", device->id);
    d3dkmt_destroydevice args{};
    args.device.v = device->handle;
    Equal(Call(LX_DXDESTROYDEVICE, &args), 0, "DestroyDevice");
    ForgetDevice(device);
  }
  // Words in its memory that commands add to.
  void ForgetSums(const ModelDevice& device) {
    std::erase_if(model_.syncs, [&](const auto& sync) { return sync->id == -device.id; });
  }
  // What dies with it: queues, fences, waits; not what is no fence.
  void ForgetDevice(const std::shared_ptr<ModelDevice>& device) {
    device->gone = true;
    for (const auto& queue : QueuesOf(*device, Queues::kAll)) EndQueue(queue);
    std::erase_if(queues_of_lost_, [&](const auto& queue) {
      if (queue->device != device) return false;
      if (queue->progress) EndFence(queue->progress);
      return true;
    });
    auto& handles = clients_[device->client].handles;
    for (size_t i = 0; i < handles.size();) {
      if (handles[i].device == device && handles[i].sync->readable()) {
        ForgetHandle(device->client, i);
      } else {
        ++i;
      }
    }
    model_.EndWaits(*device);
    ForgetSums(*device);
    std::erase(clients_[device->client].devices, device);
    std::erase(model_.devices, device);
  }
  void Recover() {
    for (const auto& device : Now().devices) {
      if (!device->active()) {
        if (Chance(50)) UseLost(*device);
        return ReplaceDevice(device);
      }
    }
    if (Chance(10)) ReplaceDevice(*Pick(Now().devices));
  }
  void ReplaceDevice(std::shared_ptr<ModelDevice> device) {
    DestroyDevice(device);
    CreateDevice();
  }
  void UseLost(const ModelDevice& device) {
    d3dkmt_createcontextvirtual args{};
    args.device.v = device.handle;
    const int32_t result = Call(LX_DXCREATECONTEXTVIRTUAL, &args);
    True(result < 0, "a lost device made a context");
    Say("a lost device refuses: {}", result);
  }

  void EndClient() {
    Say("end of the process");
    std::erase_if(model_.waits, [this](const auto& wait) { return wait->client == current_; });
    machine_.Close(Pid());
    const auto devices = Now().devices;
    for (const auto& device : devices) ForgetDevice(device);
    while (!Now().handles.empty()) ForgetHandle(current_, 0);
    for (const int event : events_[current_]) model_.ticks.erase(event);
    events_.erase(current_);
    Now() = Client();
  }
  void ReplaceClient() {
    EndClient();
    OpenClient();
  }

  // -- Queues
  void CreateQueue() {
    const auto device = AnyDevice();
    if (device != nullptr) CreateQueueOn(device);
  }
  void CreateQueueOn(const std::shared_ptr<ModelDevice>& device) {
    if (QueuesOf(*device, Queues::kAll).size() >= kQueuesMax) return;
    const uint64_t word = Take(*device, 8);
    auto queue = std::make_shared<ModelQueue>();
    queues_ever_.push_back(queue);
    queue->id = ++ids_;
    queue->device = device;
    queue->hardware = Chance(35);
    queue->node = static_cast<uint32_t>(Below(kNodes));
    queue->word = WordAt(*device, word);
    queue->word_gpu = device->gpu + word;
    d3dkmt_createcontextvirtual context{};
    context.device.v = device->handle;
    context.node_ordinal = queue->node;
    context.flags.hw_queue_supported = queue->hardware;
    const int32_t result = Call(LX_DXCREATECONTEXTVIRTUAL, &context);
    FindLostDevices();
    if (!device->active()) return True(result <= 0, "CreateContextVirtual");
    Equal(result, 0, "CreateContextVirtual");
    queue->context = queue->handle = context.context.v;
    if (queue->hardware && !CreateHwQueue(*queue)) return;
    model_.queues.push_back(queue);
    Say("queue {} on device {}, node {}, {}", queue->id, device->id, queue->node, queue->hardware ? "hardware" : "context");
  }
  bool CreateHwQueue(ModelQueue& queue) {
    d3dkmt_createhwqueue args{};
    args.context.v = queue.context;
    if (!Accepted(*queue.device, Call(LX_DXCREATEHWQUEUE, &args), "CreateHwQueue")) return false;
    queue.handle = args.queue.v;
    queue.progress_handle = args.queue_progress_fence.v;
    auto progress = std::make_shared<Sync>();
    progress->id = ++ids_;
    progress->type = kMonitored;
    progress->names = 1;
    progress->views.push_back(reinterpret_cast<const volatile uint64_t*>(args.queue_progress_fence_cpu_va));
    Equal(uint64_t{*progress->views[0]}, 0u, "a new progress fence");
    queue.progress = progress;
    model_.syncs.push_back(progress);
    return true;
  }
  void EndQueue(const std::shared_ptr<ModelQueue>& queue) {
    if (queue->progress) queue->progress->views.clear();
    model_.End(queue);
  }
  void EndFence(const std::shared_ptr<Sync>& fence) {
    fence->views.clear();
    model_.Drop(fence, true);
  }
  void DestroyQueue() {
    const auto queue = AnyQueue();
    if (queue == nullptr) return;
    Say("destroy queue {} with {} packets", queue->id, queue->packets.size());
    if (queue->hardware && Chance(50)) {
      d3dkmt_destroyhwqueue args{};
      args.queue.v = queue->handle;
      Equal(Call(LX_DXDESTROYHWQUEUE, &args), 0, "DestroyHwQueue");
    } else {
      d3dkmt_destroycontext args{};
      args.context.v = queue->context;
      Equal(Call(LX_DXDESTROYCONTEXT, &args), 0, "DestroyContext");
    }
    EndQueue(queue);
  }
  void Priority() {
    const auto queue = AnyQueue();
    if (queue == nullptr) return;
    d3dkmt_setcontextschedulingpriority set{};
    set.context.v = queue->context;
    set.priority = static_cast<int32_t>(Below(17)) - 8;
    const int32_t result = Call(LX_DXSETCONTEXTSCHEDULINGPRIORITY, &set);
    Say("priority of queue {}: {}: {}", queue->id, set.priority, result);
    if (set.priority < -7 || set.priority > 7) return Equal(result, -EINVAL, "a priority out of range");
    if (!Accepted(*queue->device, result, "SetContextSchedulingPriority")) return;
    d3dkmt_getcontextschedulingpriority get{};
    get.context.v = queue->context;
    Equal(Call(LX_DXGETCONTEXTSCHEDULINGPRIORITY, &get), 0, "GetContextSchedulingPriority");
    Equal(get.priority, set.priority, "the priority that was set");
  }

  // -- Objects
  int NewEvent() {
    const int event = machine_.NewEvent(Pid());
    events_[current_].push_back(event);
    model_.ticks[event] = {};
    return event;
  }
  void CreateSync() {
    const auto device = AnyDevice();
    if (device != nullptr) CreateSyncOn(device);
  }
  void CreateSyncOn(const std::shared_ptr<ModelDevice>& device) {
    if (Now().handles.size() >= kHandlesMax) return;
    static constexpr uint32_t kTypes[] = {kMonitored, kMonitored, kMonitored, kMonitored, kMonitored, kFence, kSemaphore, kMutex, kCpuNotification};
    auto sync = std::make_shared<Sync>();
    d3dkmt_createsynchronizationobject2 args{};
    args.device.v = device->handle;
    args.info.type = sync->type = kTypes[Below(std::size(kTypes))];
    const bool shared = sync->type != kCpuNotification && Chance(40);
    args.info.flags.shared = args.info.flags.nt_security_sharing = shared;
    if (sync->type == kMonitored && !shared) {
      args.info.flags.no_signal_max_value_on_tdr = Chance(15);
      sync->gpu_adds = Chance(25);
    }
    switch (sync->type) {
      case kMonitored:
        args.info.monitored_fence.initial_fence_value = sync->value = sync->seen = sync->now = Below(4);
        break;
      case kFence:
        args.info.fence.fence_value = sync->value = Below(4);
        break;
      case kSemaphore:
        args.info.semaphore.max_count = static_cast<uint32_t>(sync->limit = Chance(70) ? 1000 : 2);
        args.info.semaphore.initial_count = static_cast<uint32_t>(sync->value = Below(3));
        break;
      case kMutex:
        sync->limit = sync->value = 1;
        break;
      case kCpuNotification:
        args.info.cpu_notification.event = static_cast<uint64_t>(sync->event = NewEvent());
        break;
    }
    sync->flags = args.info.flags.value;
    const int32_t result = Call(LX_DXCREATESYNCHRONIZATIONOBJECT, &args);
    FindLostDevices();
    if (!device->active()) return True(result <= 0, "CreateSynchronizationObject");
    Equal(result, 0, "CreateSynchronizationObject");
    sync->id = ++ids_;
    Say("object {} of type {}, flags {:#x}, value {} on device {}", sync->id, sync->type, sync->flags, sync->value, device->id);
    model_.syncs.push_back(sync);
    AddHandle({sync, device, args.sync_object.v, nullptr, 0}, sync->readable() ? args.info.monitored_fence.fence_cpu_virtual_address : 0,
              sync->readable() ? args.info.monitored_fence.fence_gpu_virtual_address : 0);
  }
  void AddHandle(Handle handle, uint64_t view, uint64_t gpu) {
    Sync& sync = *handle.sync;
    ++sync.names;
    if (sync.readable()) {
      True(view != 0, "a monitored fence without an address");
      handle.view = reinterpret_cast<const volatile uint64_t*>(view);
      handle.gpu = gpu;
      if (!sync.visible()) sync.now = sync.seen = *handle.view;
      sync.views.push_back(handle.view);
      sync.signallers.insert(handle.device->id);
    }
    Now().handles.push_back(handle);
  }
  void ForgetHandle(int client, size_t index) {
    const Handle handle = clients_[client].handles[index];
    clients_[client].handles.erase(clients_[client].handles.begin() + static_cast<ptrdiff_t>(index));
    std::erase(handle.sync->views, handle.view);
    bool another = false;
    for (const Handle& other : clients_[client].handles) another |= other.sync == handle.sync && other.device == handle.device;
    if (!another) handle.sync->signallers.erase(handle.device->id);
    model_.Drop(handle.sync, true);
  }
  void DestroySync() {
    Client& client = Now();
    if (client.handles.empty()) return;
    const size_t index = Below(client.handles.size());
    const Handle& handle = client.handles[index];
    if (handle.sync->gpu_adds && !model_.Idle(*handle.sync)) return;  // a command would write to where nothing is
    Say("destroy object {}", handle.sync->id);
    d3dkmt_destroysynchronizationobject args{};
    args.sync_object.v = handle.handle;
    Equal(Call(LX_DXDESTROYSYNCHRONIZATIONOBJECT, &args), 0, "DestroySynchronizationObject");
    ForgetHandle(current_, index);
  }
  void Share() {
    Handle* handle = AnyHandle(nullptr, [](const Sync& sync) { return (sync.flags & 3) == 3; });
    if (handle == nullptr || handle->device->adapter_life != adapter_life_) return;
    uint64_t descriptor = 0;
    uint32_t list[] = {handle->handle};
    d3dkmt_shareobjects args{};
    args.object_count = 1;
    args.objects = AddressOf(list);
    args.shared_handle = AddressOf(&descriptor);
    Equal(Call(LX_DXSHAREOBJECTS, &args), 0, "ShareObjects");
    Say("object {} is descriptor {}", handle->sync->id, descriptor);
    ++handle->sync->names;
    descriptors_[static_cast<int>(descriptor)] = {handle->sync, adapter_life_};
  }
  void OpenShared() {
    const auto device = AnyDevice();
    if (device == nullptr || descriptors_.empty() || Now().handles.size() >= kHandlesMax) return;
    auto it = descriptors_.begin();
    std::advance(it, static_cast<ptrdiff_t>(Below(descriptors_.size())));
    d3dkmt_opensyncobjectfromnthandle2 args{};
    args.nt_handle = static_cast<uint64_t>(it->first);
    args.device.v = device->handle;
    const int32_t result = Call(LX_DXOPENSYNCOBJECTFROMNTHANDLE2, &args);
    Say("open descriptor {} on device {}: {}", it->first, device->id, result);
    FindLostDevices();
    if (it->second.adapter_life != adapter_life_) return True(result < 0, "an object of another adapter was opened");
    if (!device->active()) return True(result <= 0, "OpenSyncObjectFromNtHandle2");
    Equal(result, 0, "OpenSyncObjectFromNtHandle2");
    AddHandle({it->second.sync, device, args.sync_object.v, nullptr, 0}, args.monitored_fence.fence_value_cpu_va, args.monitored_fence.fence_value_gpu_va);
  }
  void CloseDescriptor() {
    if (descriptors_.empty()) return;
    auto it = descriptors_.begin();
    std::advance(it, static_cast<ptrdiff_t>(Below(descriptors_.size())));
    Say("close descriptor {}", it->first);
    machine_.CloseDescriptor(it->first);
    model_.Drop(it->second.sync, false);
    descriptors_.erase(it);
  }

  // -- Commands
  // Writes a command buffer and submits it; `packet` is what it does.
  template <typename Write>
  bool SubmitTo(const std::shared_ptr<ModelQueue>& queue, Packet packet, Write write) {
    ModelDevice& device = *queue->device;
    alignas(8) char buffer[1024];
    dxg_commands commands = dxg_commands_begin(buffer, sizeof(buffer));
    packet.number = queue->submitted + 1;
    write(&commands, &packet);
    if (packet.fate == Fate::kHangs) dxg_push_hang(&commands);
    if (packet.fate == Fate::kFaults) dxg_push_fault(&commands, 7);
    if (packet.fate == Fate::kPageFaults) dxg_push_write64(&commands, kNowhere, 1);
    dxg_push_write64(&commands, queue->word_gpu, packet.number);
    DXG_CHECK(commands.used <= sizeof(buffer));
    const uint64_t at = Take(device, commands.used);
    std::memcpy(device.cpu + at, buffer, commands.used);
    queue->submitted = packet.number;
    return SubmitBuffer(*queue, at, commands.used, std::move(packet));
  }
  // What the model has to know of a submission it is told before: it may be carried out within the call.
  bool SubmitBuffer(ModelQueue& queue, uint64_t at, uint64_t bytes, Packet packet) {
    const ModelDevice& device = *queue.device;
    if (!queue.hardware) {
      d3dkmt_submitcommand args{};
      args.command_buffer = device.gpu + at;
      args.command_length = static_cast<uint32_t>(bytes);
      args.broadcast_context_count = 1;
      args.broadcast_context[0].v = queue.handle;
      queue.packets.push_back(std::move(packet));
      return Accepted(device, Call(LX_DXSUBMITCOMMAND, &args), "SubmitCommand");
    }
    d3dkmt_submitcommandtohwqueue args{};
    args.hwqueue.v = queue.handle;
    args.hwqueue_progress_fence_id = packet.progress = queue.last_progress += 1 + Below(2);
    args.command_buffer = device.gpu + at;
    args.command_length = static_cast<uint32_t>(bytes);
    queue.packets.push_back(std::move(packet));
    return Accepted(device, Call(LX_DXSUBMITCOMMANDTOHWQUEUE, &args), "SubmitCommandToHwQueue");
  }
  // One command: writes some memory, copies what earlier ones wrote, takes its time.
  void Submit() {
    const auto queue = AnyQueue();
    if (queue != nullptr) SubmitWork(queue, nullptr);
  }
  // `source`: copied, where the queue is behind its producer.
  bool SubmitWork(const std::shared_ptr<ModelQueue>& queue, const Region* source, const Point& handover = {}) {
    ModelDevice& device = *queue->device;
    Region target;
    target.bytes = 8 << Below(5);
    const uint64_t at = Take(device, target.bytes);
    target.at = device.cpu + at;
    target.gpu = device.gpu + at;
    target.producer = queue;
    target.number = queue->submitted + 1;
    Region from;
    if (source != nullptr) {
      from = *source;
    } else if (!device.regions.empty() && Chance(50)) {
      // Only what is there for sure: written in front of it, or already.
      const Region& other = *Pick(device.regions);
      if (other.producer == queue || other.producer->now >= other.number) from = other;
    }
    const bool copies = from.at != nullptr;
    if (copies) target.bytes = std::min(target.bytes, from.bytes);
    target.pattern = copies ? from.pattern : static_cast<uint32_t>(random_());
    const uint64_t delay = Chance(60) ? Below(300'000) : 0;
    Handle* adds = Chance(30) ? AnyHandle(&device, [](const Sync& sync) { return sync.gpu_adds && !sync.lost; }) : nullptr;
    Packet packet;
    packet.copies.emplace_back(target, from);
    packet.handover = handover;
    const int doubled = copies && Chance(30);
    const bool done = SubmitTo(queue, std::move(packet), [&](dxg_commands* commands, Packet* command) {
      if (delay != 0 && Chance(50)) dxg_push_delay(commands, delay);
      if (!copies) {
        dxg_push_fill(commands, target.gpu, target.bytes, target.pattern);
      } else if (doubled) {
        dxg_push_add(commands, target.gpu, from.gpu, from.gpu, target.bytes / 4, DXG_TYPE_I32);
        command->copies[0].first.pattern = target.pattern = 2 * from.pattern;
      } else {
        dxg_push_copy(commands, target.gpu, from.gpu, target.bytes);
      }
      if (adds != nullptr) {
        const uint64_t value = 1 + Below(2);
        dxg_push_atomic_add64(commands, adds->gpu, value);
        command->adds.push_back({adds->sync, value});
      }
      if (delay != 0) dxg_push_delay(commands, delay);
      Say("queue {} command {}: {} bytes {} {:#x}{}, {} ns{}", queue->id, command->number, target.bytes, copies ? "copied" : "filled", target.pattern, doubled ? " doubled" : "",
          delay, adds != nullptr ? fmt::format(", adds to object {}", adds->sync->id) : "");
    });
    if (done) device.regions.push_back(target);
    return done;
  }

  void SubmitBad() {
    const auto queue = AnyQueue();
    if (queue == nullptr || lost_ > 6) return;
    Packet packet;
    packet.fate = static_cast<Fate>(1 + Below(3));
    Say("queue {} command {}, of fate {}", queue->id, queue->submitted + 1, static_cast<int>(packet.fate));
    SubmitTo(queue, std::move(packet), [](dxg_commands*, Packet*) {});
  }

  // A command that waits for memory, on its engine.
  void SubmitNeedy() {
    const auto queue = AnyQueue();
    if (queue == nullptr) return;
    const uint64_t at = Take(*queue->device, 8);
    Packet packet;
    packet.needs = WordAt(*queue->device, at);
    Say("queue {} command {} needs a word", queue->id, queue->submitted + 1);
    const uint64_t gpu = queue->device->gpu + at;
    const bool submitted = SubmitTo(queue, std::move(packet), [gpu](dxg_commands* commands, Packet*) { dxg_push_wait64(commands, gpu, 1, ~0ull, DXG_COMPARE_GREATER_EQUAL); });
    if (submitted && Chance(70)) {
      Advance();
      WriteWords();
    }
  }
  void WriteWords() {
    for (const auto& queue : model_.queues) {
      for (const Packet& packet : queue->packets) {
        if (packet.needs != nullptr && Chance(90)) *const_cast<volatile uint64_t*>(packet.needs) = 1;
      }
    }
    Say("the CPU writes words");
  }

  // Commands that do nothing that shows: without effect on purpose, or of another GPU's driver.
  void SubmitNothing() {
    const auto queue = AnyQueue(Queues::kContexts);
    if (queue == nullptr) return;
    ModelDevice& device = *queue->device;
    const uint64_t at = Take(device, 64);
    const bool null = Chance(50);
    dxg_commands commands = dxg_commands_begin(device.cpu + at, 64);
    dxg_push_write64(&commands, null ? queue->word_gpu : kNowhere, 1);
    if (!null) std::memset(device.cpu + at, 0x55, 8);
    d3dkmt_submitcommand args{};
    args.command_buffer = device.gpu + at;
    args.command_length = static_cast<uint32_t>(commands.used);
    args.flags.null_rendering = null;
    args.broadcast_context_count = 1;
    args.broadcast_context[0].v = queue->handle;
    Say("queue {}: a command that does nothing", queue->id);
    queue->packets.emplace_back();
    Accepted(device, Call(LX_DXSUBMITCOMMAND, &args), "SubmitCommand");
  }

  // One command on several contexts.
  void SubmitBroadcast() {
    const auto device = AnyDevice();
    if (device == nullptr) return;
    auto contexts = QueuesOf(*device, Queues::kContexts);
    if (contexts.empty()) return;
    const uint64_t word = Take(*device, 8), at = Take(*device, 64);
    dxg_commands commands = dxg_commands_begin(device->cpu + at, 64);
    dxg_push_atomic_add64(&commands, device->gpu + word, 1);
    auto sum = std::make_shared<Sync>();
    sum->id = -device->id;
    sum->type = kMonitored;
    sum->gpu_adds = true;
    sum->names = 1;
    sum->views.push_back(WordAt(*device, word));
    d3dkmt_submitcommand args{};
    args.command_buffer = device->gpu + at;
    args.command_length = static_cast<uint32_t>(commands.used);
    for (const auto& context : contexts) args.broadcast_context[args.broadcast_context_count++].v = context->handle;
    Say("device {}: a command on {} contexts", device->id, contexts.size());
    Packet packet;
    packet.adds.push_back({sum, 1});
    model_.syncs.push_back(sum);
    for (const auto& context : contexts) context->packets.push_back(packet);
    Accepted(*device, Call(LX_DXSUBMITCOMMAND, &args), "SubmitCommand to several contexts");
  }

  // -- Signals and waits of queues
  uint64_t ValueToSignal(const Sync& sync) { return std::max(sync.value, sync.seen == kLost ? 0 : sync.seen) + Below(4); }
  uint64_t ValueToAwait(const Sync& sync) { return (sync.seen == kLost ? 0 : sync.seen) + Below(4); }

  void SignalByQueue() {
    const auto queue = AnyQueue();
    if (queue == nullptr) return;
    SignalFrom(queue);
  }
  void SignalFrom(const std::shared_ptr<ModelQueue>& queue) {
    const auto device = queue->device;
    auto signal = std::make_shared<Signal>();
    std::vector<std::shared_ptr<ModelQueue>> queues = {queue};
    if (!queue->hardware && Chance(35)) return SignalLegacy(queue);
    if (Chance(30)) {
      for (const auto& other : QueuesOf(*device, queue->hardware ? Queues::kHardware : Queues::kContexts)) {
        if (other != queue && queues.size() < 4) queues.push_back(other);
      }
    }
    std::vector<uint32_t> objects, names;
    std::vector<uint64_t> values;
    const uint64_t count = 1 + Below(3);
    for (uint64_t i = 0; i < count; ++i) {
      Handle* handle = AnyGrowing(*device);
      if (handle == nullptr) return;
      objects.push_back(handle->handle);
      values.push_back(ValueToSignal(*handle->sync));
      signal->points.push_back({handle->sync, values.back()});
    }
    for (const auto& other : queues) names.push_back(other->handle);
    signal->early = (queue->hardware || queues.size() > 1) && Chance(15);
    signal->members = static_cast<int>(queues.size());
    Say("queue {} and {} more signal object {} and {} more to {}{}", queue->id, queues.size() - 1, signal->points[0].sync->id, count - 1, values[0], signal->early ? ", early" : "");
    int32_t result = 0;
    PushSignal(queues, signal);
    if (queue->hardware) {
      d3dkmt_submitsignalsyncobjectstohwqueue args{};
      args.flags.signal_at_submission = signal->early;
      args.hwqueue_count = static_cast<uint32_t>(names.size());
      args.hwqueues = AddressOf(names.data());
      args.object_count = static_cast<uint32_t>(count);
      args.objects = AddressOf(objects.data());
      args.fence_values = AddressOf(values.data());
      result = Call(LX_DXSUBMITSIGNALSYNCOBJECTSTOHWQUEUE, &args);
    } else if (queues.size() == 1 && Chance(50)) {
      d3dkmt_signalsynchronizationobjectfromgpu args{};
      args.context.v = names[0];
      args.object_count = static_cast<uint32_t>(count);
      args.objects = AddressOf(objects.data());
      args.monitored_fence_values = AddressOf(values.data());
      result = Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU, &args);
    } else {
      d3dkmt_signalsynchronizationobjectfromgpu2 args{};
      args.flags.signal_at_submission = signal->early;
      args.object_count = static_cast<uint32_t>(count);
      args.objects = AddressOf(objects.data());
      args.context_count = static_cast<uint32_t>(names.size());
      args.contexts = AddressOf(names.data());
      args.monitored_fence_values = AddressOf(values.data());
      result = Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2, &args);
    }
    Accepted(*device, result, "a signal by a queue");
  }
  void PushSignal(const std::vector<std::shared_ptr<ModelQueue>>& queues, const std::shared_ptr<Signal>& signal) {
    Packet packet;
    packet.kind = Packet::Kind::kSignal;
    packet.signal = signal;
    for (const auto& queue : queues) queue->packets.push_back(packet);
  }
  // Objects without values of their own, and eventfds.
  void SignalLegacy(const std::shared_ptr<ModelQueue>& queue) {
    auto signal = std::make_shared<Signal>();
    d3dkmt_signalsynchronizationobject2 args{};
    args.context.v = queue->handle;
    if (Chance(30)) {
      signal->event = NewEvent();
      args.flags.enqueue_cpu_event = 1;
      args.cpu_event_handle = static_cast<uint64_t>(signal->event);
      Say("queue {} ticks eventfd {}", queue->id, signal->event);
      if (Chance(50)) {
        uint32_t names[] = {queue->handle};
        d3dkmt_signalsynchronizationobjectfromgpu2 other{};
        other.flags.enqueue_cpu_event = 1;
        other.context_count = 1;
        other.contexts = AddressOf(names);
        other.cpu_event_handle = static_cast<uint64_t>(signal->event);
        PushSignal({queue}, signal);
        Accepted(*queue->device, Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2, &other), "SignalSynchronizationObjectFromGpu2 of an eventfd");
        return;
      }
      PushSignal({queue}, signal);
      Accepted(*queue->device, Call(LX_DXSIGNALSYNCHRONIZATIONOBJECT, &args), "SignalSynchronizationObject of an eventfd");
      return;
    }
    Handle* handle = AnyHandle(queue->device.get(), [](const Sync& sync) { return sync.type == kSemaphore || sync.type == kFence || sync.type == kCpuNotification; });
    if (handle == nullptr) return;
    const uint64_t value = handle->sync->type == kFence ? handle->sync->value + Below(3) : 0;
    args.object_count = 1;
    args.object_array[0].v = handle->handle;
    args.fence.fence_value = value;
    signal->points.push_back({handle->sync, value});
    Say("queue {} signals object {} of type {} to {}", queue->id, handle->sync->id, handle->sync->type, value);
    PushSignal({queue}, signal);
    Accepted(*queue->device, Call(LX_DXSIGNALSYNCHRONIZATIONOBJECT, &args), "SignalSynchronizationObject");
  }

  void WaitByQueue() {
    const auto queue = AnyQueue();
    if (queue == nullptr) return;
    WaitOn(queue);
    // What shows that the wait is over.
    if (!queue->packets.empty() && queue->packets.back().kind == Packet::Kind::kWait) SubmitWork(queue, nullptr);
  }
  void WaitOn(const std::shared_ptr<ModelQueue>& queue) {
    const auto device = queue->device;
    if (!queue->hardware && Chance(30)) return WaitLegacy(queue);
    std::vector<uint32_t> objects;
    std::vector<uint64_t> values;
    Packet packet;
    packet.kind = Packet::Kind::kWait;
    const uint64_t count = Chance(80) ? 1 + Below(2) : 32;
    for (uint64_t i = 0; i < count; ++i) {
      Handle* handle = AnyFence(*device);
      if (handle == nullptr) return;
      objects.push_back(handle->handle);
      values.push_back(ValueToAwait(*handle->sync));
      packet.points.push_back({handle->sync, values.back()});
    }
    Say("queue {} waits for object {} and {} more at {}", queue->id, packet.points[0].sync->id, count - 1, values[0]);
    int32_t result = 0;
    queue->packets.push_back(std::move(packet));
    if (queue->hardware) {
      d3dkmt_submitwaitforsyncobjectstohwqueue args{};
      args.hwqueue.v = queue->handle;
      args.object_count = static_cast<uint32_t>(count);
      args.objects = AddressOf(objects.data());
      args.fence_values = AddressOf(values.data());
      result = Call(LX_DXSUBMITWAITFORSYNCOBJECTSTOHWQUEUE, &args);
    } else {
      d3dkmt_waitforsynchronizationobjectfromgpu args{};
      args.context.v = queue->handle;
      args.object_count = static_cast<uint32_t>(count);
      args.objects = AddressOf(objects.data());
      args.monitored_fence_values = AddressOf(values.data());
      result = Call(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, &args);
    }
    Accepted(*device, result, "a wait of a queue");
  }
  void WaitLegacy(const std::shared_ptr<ModelQueue>& queue) {
    Handle* handle = AnyHandle(queue->device.get(), [](const Sync& sync) { return sync.type == kSemaphore || sync.type == kFence; });
    if (handle == nullptr) return;
    PushWaitLegacy(queue, *handle, handle->sync->type == kFence ? handle->sync->value + Below(3) : 0);
  }
  bool PushWaitLegacy(const std::shared_ptr<ModelQueue>& queue, const Handle& handle, uint64_t value) {
    Packet packet;
    packet.kind = Packet::Kind::kWait;
    packet.points.push_back({handle.sync, value});
    Say("queue {} waits for object {} of type {} at {}", queue->id, handle.sync->id, handle.sync->type, value);
    int32_t result = 0;
    queue->packets.push_back(std::move(packet));
    if (Chance(50)) {
      d3dkmt_waitforsynchronizationobject2 args{};
      args.context.v = queue->handle;
      args.object_count = 1;
      args.object_array[0].v = handle.handle;
      args.fence.fence_value = value;
      result = Call(LX_DXWAITFORSYNCHRONIZATIONOBJECT, &args);
    } else {
      uint32_t list[] = {handle.handle};
      d3dkmt_waitforsynchronizationobjectfromgpu args{};
      args.context.v = queue->handle;
      args.object_count = 1;
      args.objects = AddressOf(list);
      args.fence_value = value;
      result = Call(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, &args);
    }
    return Accepted(*queue->device, result, "a wait of a queue");
  }

  // What one queue makes, another one copies, with a fence in between.
  void Pipeline() {
    const auto producer = AnyQueue(Queues::kContexts);
    if (producer == nullptr) return;
    const auto device = producer->device;
    auto all = QueuesOf(*device, Queues::kAll);
    const auto consumer = *Pick(all);
    Handle* fence = AnyGrowing(*device);
    if (fence == nullptr || fence->sync->lost || fence->sync->seen == kLost || consumer == producer) return;
    if (!SubmitWork(producer, nullptr)) return;
    const Region made = device->regions.back();
    // Higher than anybody but another producer has in mind.
    const uint64_t value = 1'000'000 + static_cast<uint64_t>(++ids_) * 10'000;
    uint32_t list[] = {fence->handle};
    uint64_t values[] = {value};
    auto signal = std::make_shared<Signal>();
    signal->points.push_back({fence->sync, value});
    d3dkmt_signalsynchronizationobjectfromgpu args{};
    args.context.v = producer->handle;
    args.object_count = 1;
    args.objects = AddressOf(list);
    args.monitored_fence_values = AddressOf(values);
    const auto sync = fence->sync;
    Say("queue {} hands over to queue {} by object {} at {}", producer->id, consumer->id, sync->id, value);
    PushSignal({producer}, signal);
    if (!Accepted(*device, Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU, &args), "SignalSynchronizationObjectFromGpu")) return;
    Packet wait;
    wait.kind = Packet::Kind::kWait;
    wait.points.push_back({sync, value});
    int32_t result = 0;
    consumer->packets.push_back(std::move(wait));
    if (consumer->hardware) {
      d3dkmt_submitwaitforsyncobjectstohwqueue hold{};
      hold.hwqueue.v = consumer->handle;
      hold.object_count = 1;
      hold.objects = AddressOf(list);
      hold.fence_values = AddressOf(values);
      result = Call(LX_DXSUBMITWAITFORSYNCOBJECTSTOHWQUEUE, &hold);
    } else {
      d3dkmt_waitforsynchronizationobjectfromgpu hold{};
      hold.context.v = consumer->handle;
      hold.object_count = 1;
      hold.objects = AddressOf(list);
      hold.monitored_fence_values = AddressOf(values);
      result = Call(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, &hold);
    }
    if (!Accepted(*device, result, "a wait of a queue")) return;
    SubmitWork(consumer, &made, {sync, value});
  }

  // Several contexts take a mutex in turn; what each writes must not be written over before it has read it back.
  void Sections() {
    const auto device = AnyDevice();
    if (device == nullptr) return;
    Handle* mutex = AnyHandle(device.get(), [](const Sync& sync) { return sync.type == kMutex && sync.certain; });
    if (mutex == nullptr) return;
    const uint64_t word = Take(*device, 8);
    const Handle handle = *mutex;
    for (const auto& queue : QueuesOf(*device, Queues::kContexts)) {
      const uint64_t at = Take(*device, 8);
      if (!PushWaitLegacy(queue, handle, 0)) return;
      Region target;
      target.at = device->cpu + at;
      target.gpu = device->gpu + at;
      target.bytes = 8;
      target.pattern = static_cast<uint32_t>(queue->id);
      Packet packet;
      packet.copies.emplace_back(target, Region());
      packet.guard = handle.sync;
      const bool submitted = SubmitTo(queue, std::move(packet), [&](dxg_commands* commands, Packet*) {
        dxg_push_fill(commands, device->gpu + word, 8, target.pattern);
        dxg_push_delay(commands, 1000 + Below(100'000));
        dxg_push_copy(commands, target.gpu, device->gpu + word, 8);
      });
      if (!submitted) return;
      auto signal = std::make_shared<Signal>();
      signal->points.push_back({handle.sync, 0});
      d3dkmt_signalsynchronizationobject2 args{};
      args.context.v = queue->handle;
      args.object_count = 1;
      args.object_array[0].v = handle.handle;
      PushSignal({queue}, signal);
      if (!Accepted(*device, Call(LX_DXSIGNALSYNCHRONIZATIONOBJECT, &args), "SignalSynchronizationObject")) return;
    }
    Say("a section for all contexts of device {} under mutex {}", device->id, handle.sync->id);
  }

  // -- The CPU
  void SignalByCpu() {
    const auto device = AnyDevice();
    if (device == nullptr) return;
    std::vector<uint32_t> objects;
    std::vector<uint64_t> values;
    std::vector<Point> points;
    const uint64_t count = 1 + Below(3);
    for (uint64_t i = 0; i < count; ++i) {
      Handle* handle = AnyGrowing(*device);
      if (handle == nullptr) return;
      objects.push_back(handle->handle);
      values.push_back(ValueToSignal(*handle->sync));
      points.push_back({handle->sync, values.back()});
    }
    CpuSignal(device, objects, values, points, false);
  }
  bool CpuSignal(const std::shared_ptr<ModelDevice>& device, std::vector<uint32_t> objects, std::vector<uint64_t> values, const std::vector<Point>& points, bool rewind) {
    d3dkmt_signalsynchronizationobjectfromcpu args{};
    args.device.v = device->handle;
    args.object_count = static_cast<uint32_t>(objects.size());
    args.objects = AddressOf(objects.data());
    args.fence_values = AddressOf(values.data());
    args.flags.allow_fence_rewind = rewind;
    Say("the CPU signals object {} and {} more to {}{}", points[0].sync->id, points.size() - 1, values[0], rewind ? ", back" : "");
    const int32_t result = Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, &args);
    // Where it was accepted it has happened, even if a command that it let go has lost the device.
    if (!Accepted(*device, result, "SignalSynchronizationObjectFromCpu") && result != 0) return false;
    for (const Point& point : points) model_.SignalNow(point, rewind);
    return true;
  }
  // Only when all is at rest: then everybody who can be let go has been.
  void Rewind() {
    const auto device = AnyDevice();
    if (device == nullptr) return;
    Rest();
    if (!device->active()) return;
    Handle* handle = AnyGrowing(*device);
    if (handle == nullptr || handle->sync->seen == 0) return;
    // Lost ones stay: which device would lose it next is not known.
    if (handle->sync->lost) return;
    const uint64_t value = Below(std::min<uint64_t>(handle->sync->seen, 1000));
    model_.Rewind(*handle->sync);
    CpuSignal(device, {handle->handle}, {value}, {{handle->sync, value}}, true);
  }

  void WaitByCpu() {
    const auto device = AnyDevice();
    if (device == nullptr || model_.waits.size() > 40) return;
    auto wait = std::make_shared<CpuWait>();
    wait->id = ++ids_;
    wait->client = current_;
    wait->device = device;
    wait->any = Chance(40);
    std::vector<uint32_t> objects;
    std::vector<uint64_t> values;
    const uint64_t count = Chance(85) ? 1 + Below(3) : 32;
    for (uint64_t i = 0; i < count; ++i) {
      // Also of another device: the wait ends with the one that it was asked on.
      Handle* handle = Chance(70) ? AnyFence(*device) : AnyHandle(nullptr, [](const Sync& sync) { return sync.readable(); });
      if (handle == nullptr) return;
      objects.push_back(handle->handle);
      values.push_back(Chance(3) ? kLost : ValueToAwait(*handle->sync));
      wait->points.push_back({handle->sync, values.back()});
    }
    const auto hardware = QueuesOf(*device, Queues::kHardware);
    if (!hardware.empty() && Chance(30)) {
      objects[0] = hardware[0]->progress_handle;
      values[0] = ValueToAwait(*hardware[0]->progress);
      wait->points[0] = {hardware[0]->progress, values[0]};
    }
    AskWait(wait, objects, values, Chance(40));
  }
  void AskWait(const std::shared_ptr<CpuWait>& wait, std::vector<uint32_t>& objects, std::vector<uint64_t>& values, bool blocks) {
    if (!blocks) {
      // One eventfd may be for several waits.
      int event = 0;
      if (Chance(30)) {
        for (const auto& other : model_.waits) {
          if (other->client == current_ && other->event != 0) event = other->event;
        }
      }
      wait->event = event != 0 ? event : NewEvent();
    }
    d3dkmt_waitforsynchronizationobjectfromcpu args{};
    args.device.v = wait->device->handle;
    args.object_count = static_cast<uint32_t>(objects.size());
    args.objects = AddressOf(objects.data());
    args.fence_values = AddressOf(values.data());
    args.async_event = static_cast<uint64_t>(wait->event);
    args.flags.wait_any = wait->any;
    const int32_t result = Call(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &args);
    Say("wait {} of the CPU for {} of {}, object {} at {}, eventfd {}: {}", wait->id, wait->any ? "any" : "all", objects.size(), wait->points[0].sync->id, values[0], wait->event, result);
    if (result == Machine::kWaits) {
      True(blocks, "a wait with an eventfd blocked");
      wait->call = machine_.TakeWaiting();
      model_.waits.push_back(wait);
      return;
    }
    wait->may_end = !Accepted(*wait->device, result, "WaitForSynchronizationObjectFromCpu");
    if (result != 0) return;
    if (!blocks) {
      model_.waits.push_back(wait);
      return;
    }
    model_.Read();
    for (const Point& point : wait->points) {
      const bool reached = point.sync->now >= point.value;
      if (reached && wait->any) return;
      True(reached || wait->any, "a wait that is not over returned at once");
    }
    True(!wait->any, "a wait for any of several returned at once although none is reached");
  }
  void Interrupt() {
    for (size_t i = 0; i < model_.waits.size(); ++i) {
      const auto wait = model_.waits[i];
      if (wait->call == nullptr || wait->client != current_) continue;
      Say("a signal interrupts wait {}", wait->id);
      wait->call->Interrupt();
      True(wait->call->done(), "an interrupted wait goes on");
      True(wait->call->result() < 0, "an interrupted wait succeeded");
      model_.waits.erase(model_.waits.begin() + static_cast<ptrdiff_t>(i));
      return;
    }
  }
  void Refused() {
    const auto device = AnyDevice();
    if (device == nullptr) return;
    uint32_t objects[33] = {};
    uint64_t values[33] = {};
    d3dkmt_signalsynchronizationobjectfromcpu signal{};
    signal.device.v = device->handle;
    signal.object_count = Chance(50) ? 0 : 33;
    signal.objects = AddressOf(objects);
    signal.fence_values = AddressOf(values);
    Equal(Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, &signal), -EINVAL, "a signal of too few or too many objects");
    d3dkmt_submitcommand submit{};
    submit.broadcast_context_count = Chance(50) ? 0 : 65;
    Equal(Call(LX_DXSUBMITCOMMAND, &submit), -EINVAL, "a submission to too few or too many contexts");
    d3dkmt_waitforsynchronizationobjectfromcpu wait{};
    wait.device.v = device->handle;
    wait.object_count = 1;
    wait.objects = AddressOf(objects);
    wait.fence_values = AddressOf(values);
    wait.async_event = static_cast<uint64_t>(NewEvent());
    Equal(Call(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &wait), -EINVAL, "a wait for the object 0");
  }

  // -- Time
  void Advance() {
    if (Chance(50)) {
      machine_.clock().AdvanceNs(Below(400'000));
      Say("some time");
    } else {
      const uint64_t events = 1 + Below(6);
      for (uint64_t i = 0; i < events && machine_.clock().AdvanceToNext(); ++i) Observe();
      Say("some events");
    }
    Observe();
  }
  void Rest() {
    for (int i = 0; machine_.clock().AdvanceToNext(); ++i) {
      Observe();
      True(i < kEventsOfClockMax, "the machine does not come to rest");
    }
    Observe();
    model_.JudgeAtRest();
    Say("rest");
    for (const auto& sync : model_.syncs) {
      if (sync->readable()) Say("object {} is {}", sync->id, sync->now);
    }
  }
  void Observe() {
    model_.Read();
    FindLostDevices();
    for (const auto& queue : model_.queues) {
      if (queue->now != queue->seen) Say("queue {} has run command {}", queue->id, queue->now);
    }
    model_.Judge();
  }

  // -- Trouble
  void MarkDevice() {
    const auto device = AnyDevice();
    if (device == nullptr || lost_ > 6) return;
    d3dkmt_markdeviceaserror args{};
    args.device.v = device->handle;
    args.reason = _D3DKMT_DEVICE_ERROR_REASON_DRIVER_ERROR;
    Say("device {} is marked", device->id);
    Observe();
    Equal(Call(LX_DXMARKDEVICEASERROR, &args), 0, "MarkDeviceAsError");
    ExpectMarked(*device);
  }
  void ExpectMarked(ModelDevice& device) {
    const uint32_t state = StateOf(device);
    True(state == kDmaFault || state == kReset, "a marked device is in another state");
    LoseDevice(device, state);
    FindLostDevices();  // its engine has gone on to others' commands
  }
  void ResetAdapter() {
    Say("the adapter is reset");
    Observe();
    machine_.host().ResetAdapter(machine_.host().Adapters().front().vgpu_luid);
    LoseAll(kReset);
  }
  void LoseAll(uint32_t state) {
    model_.Read();
    for (const auto& device : model_.devices) {
      if (device->active()) {
        ExpectLost(*device, state);
      } else if (state == kStopped) {
        model_.LoseFences(*device, true);
      }
    }
    state_changes_ = machine_.state_changes();
  }
  // Everybody has to begin again.
  void ReplaceAdapter() {
    Say("the adapter is removed");
    Observe();
    True(machine_.RemoveAdapter(), "RemoveAdapter");
    ++adapter_life_;
    LoseAll(kStopped);
    Observe();
    if (Chance(50)) Rest();
    True(machine_.AddAdapter(), "AddAdapter");
    const int current = current_;
    for (current_ = 0; current_ < static_cast<int>(clients_.size()); ++current_) {
      const auto devices = Now().devices;
      for (const auto& device : devices) DestroyDevice(device);
      d3dkmt_closeadapter close{};
      close.adapter_handle.v = Now().adapter;
      Equal(Call(LX_DXCLOSEADAPTER, &close), 0, "CloseAdapter of a removed adapter");
      while (!Now().handles.empty()) {
        d3dkmt_destroysynchronizationobject args{};
        args.sync_object.v = Now().handles[0].handle;
        Equal(Call(LX_DXDESTROYSYNCHRONIZATIONOBJECT, &args), 0, "DestroySynchronizationObject after the adapter's end");
        ForgetHandle(current_, 0);
      }
      OpenAdapter();
      CreateDevice();
    }
    current_ = current;
  }
  void Trouble() {
    if (lost_ > 6) return;
    switch (Below(8)) {
      case 0:
        return ResetAdapter();
      case 1:
        return ReplaceAdapter();
      default:
        return MarkDevice();
    }
  }

  // -- The end
  void Finish() {
    Say("the end");
    if (Chance(60)) Release();
    Rest();
    while (!descriptors_.empty()) CloseDescriptor();
    for (current_ = 0; current_ < static_cast<int>(clients_.size()); ++current_) {
      EndClient();
      Observe();
    }
    current_ = 0;
    machine_.Settle();
    CheckLeft();
  }
  // Everything that anybody waits for is signalled, until nobody waits: nothing may be stuck.
  void Release() {
    for (current_ = 0; current_ < static_cast<int>(clients_.size()); ++current_) {
      for (const Handle& handle : Now().handles) {
        if (!handle.sync->readable() || handle.sync->gpu_adds || !handle.device->active() || handle.sync->lost) continue;
        CpuSignal(handle.device, {handle.handle}, {kEverybody}, {{handle.sync, kEverybody}}, false);
        Observe();
      }
    }
    current_ = 0;
  }
  void CheckLeft() {
    const hostsim::Accounting left = machine_.host().Account();
    Equal(left.processes + left.devices + left.contexts + left.allocations + left.resources + left.storages + left.mappings + left.paging_queues + left.sync_objects + left.waits +
              left.shared + left.regions + left.window_bytes + left.machine_bytes,
          0u, "objects, memory of the window and of the machine that are left at the end");
    Equal(left.listed_bytes[0] + left.placed_bytes[0] + left.listed_bytes[1] + left.placed_bytes[1], 0u, "memory placed at the end");
    Equal(machine_.driver().process_count(), 0u, "processes of the guest at the end");
    Equal(machine_.driver().events().size(), 0u, "events of the guest at the end");
    Equal(machine_.mapped_bytes(), 0u, "memory mapped into clients at the end");
  }

  void Step() {
    current_ = static_cast<int>(Below(clients_.size()));
    static constexpr struct {
      int weight;
      void (Run::*act)();
    } kActs[] = {
        {16, &Run::Submit},        {8, &Run::SignalByQueue}, {9, &Run::WaitByQueue},   {5, &Run::Pipeline},      {4, &Run::Sections},
        {3, &Run::SubmitNothing},  {3, &Run::SubmitBroadcast}, {3, &Run::SubmitNeedy}, {8, &Run::SignalByCpu},   {10, &Run::WaitByCpu},
        {2, &Run::Interrupt},      {14, &Run::Advance},      {8, &Run::Rest},          {3, &Run::Rewind},        {6, &Run::CreateSync},
        {3, &Run::DestroySync},    {4, &Run::Share},         {5, &Run::OpenShared},    {2, &Run::CloseDescriptor}, {3, &Run::CreateQueue},
        {2, &Run::DestroyQueue},   {2, &Run::Priority},      {2, &Run::Refused},       {2, &Run::SubmitBad},     {2, &Run::Trouble},
        {5, &Run::Recover},        {1, &Run::ReplaceClient},
    };
    int sum = 0;
    for (const auto& act : kActs) sum += act.weight;
    int chosen = static_cast<int>(Below(static_cast<uint64_t>(sum)));
    for (const auto& act : kActs) {
      if ((chosen -= act.weight) < 0) return (this->*act.act)();
    }
  }

  std::mt19937_64 random_;
  const bool verbose_;
  bool asynchronous_ = false;
  Machine machine_;
  WorkModel model_;
  std::vector<Client> clients_;
  std::map<int, Descriptor> descriptors_;
  std::map<int, std::vector<int>> events_;  // eventfds, by client
  std::vector<std::weak_ptr<ModelQueue>> queues_ever_;
  std::vector<std::weak_ptr<ModelDevice>> devices_ever_;
  std::vector<std::shared_ptr<ModelQueue>> queues_of_lost_;  // whose progress fences can still be read
  int current_ = 0;
  int ids_ = 0;
  int step_ = 0;
  int lost_ = 0;  // devices
  uint32_t adapter_life_ = 0;
  uint64_t state_changes_ = 0;
  uint64_t hash_ = 0xCBF29CE484222325;
};

}  // namespace

Outcome RunWork(const Options& options, uint64_t seed) {
  auto run = std::make_unique<Run>(seed, options.verbose);
  try {
    run->Steps(options.steps);
  } catch (const Broken& broken) {
    return {run->step(), broken.what, run->hash()};
  }
  return {0, {}, run->hash()};
}

}  // namespace dxg::simulation
