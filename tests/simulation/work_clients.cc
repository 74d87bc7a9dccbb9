#include "tests/conformance/allocation_data.h"
#include "tests/simulation/work_run.h"

namespace dxg::simulation {

// -- Clients and devices

void WorkRun::OpenClient() {
  machine_.Open(Pid());
  Now() = Client();
  Now().open = true;
  OpenAdapter();
  CreateDevice();
  if (Chance(40)) CreateDevice();
}

void WorkRun::OpenAdapter() {
  d3dkmt_adapterinfo adapters[4]{};
  d3dkmt_enumadapters2 enumerate{};
  enumerate.num_adapters = 4;
  enumerate.adapters = reinterpret_cast<decltype(enumerate.adapters)>(adapters);
  Equal(Call(LX_DXENUMADAPTERS2, &enumerate), 0, "EnumAdapters2");
  Equal(uint32_t{enumerate.num_adapters}, 1u, "adapters");
  Now().adapter = adapters[0].adapter_handle.v;
  Now().adapter_life = adapter_life_;
}

void WorkRun::CreateDevice() {
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

void WorkRun::CreateMemory(ModelDevice& device) {
  conformance::AllocationData data{.bytes = kMemoryBytes};
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
uint64_t WorkRun::Take(ModelDevice& device, uint64_t bytes) {
  const uint64_t at = device.used;
  device.used += (bytes + 7) / 8 * 8;
  DXG_CHECK(device.used <= kMemoryBytes);
  return at;
}

// Whether a call on the device was accepted. A device that is found lost refuses.
bool WorkRun::Accepted(const ModelDevice& device, int32_t result, const char* what) {
  FindLostDevices();
  if (result == 0) return device.active();
  Equal(result, -ENODEV, what);
  True(!device.active(), "a healthy device refused a call as removed");
  return false;
}

uint32_t WorkRun::StateOf(const ModelDevice& device) {
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

void WorkRun::FindLostDevices() {
  NoteStrikes();
  if (Struck(hostsim::FaultPoint::kAdapterRemoval) != 0) NoteRemoval();
  if (machine_.state_changes() == state_changes_) return JudgeStrikes();
  state_changes_ = machine_.state_changes();
  model_.Read();
  for (const auto& device : model_.devices) {
    if (!device->active()) continue;
    const uint32_t state = StateOf(*device);
    if (state == kActive) continue;
    if ((model_.PossibleStates(*device) >> state & 1) == 0 && !StruckInto(*device, state))
      throw Broken{fmt::format("device {} went to state {} for no reason", device->id, state)};
    Say("device {} is lost, state {}", device->id, state);
    LoseDevice(*device, state);
  }
  JudgeStrikes();
}

void WorkRun::LoseDevice(ModelDevice& device, uint32_t state) {
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
void WorkRun::ExpectLost(ModelDevice& device, uint32_t state) {
  Equal(StateOf(device), state, "the device's state");
  LoseDevice(device, state);
}

void WorkRun::DestroyDevice(const std::shared_ptr<ModelDevice>& device) {
  Say("destroy device {}", device->id);
  d3dkmt_destroydevice args{};
  args.device.v = device->handle;
  Equal(Call(LX_DXDESTROYDEVICE, &args), 0, "DestroyDevice");
  ForgetDevice(device);
}

// Words in its memory that commands add to.
void WorkRun::ForgetSums(const ModelDevice& device) {
  std::erase_if(model_.syncs, [&](const auto& sync) { return sync->id == -device.id; });
}

// What dies with it: queues, fences, waits; not what is no fence.
void WorkRun::ForgetDevice(const std::shared_ptr<ModelDevice>& device) {
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

void WorkRun::Recover() {
  for (const auto& device : Now().devices) {
    if (!device->active()) {
      if (Chance(50)) UseLost(*device);
      return ReplaceDevice(device);
    }
  }
  if (Chance(10)) ReplaceDevice(*Pick(Now().devices));
}

void WorkRun::ReplaceDevice(std::shared_ptr<ModelDevice> device) {
  DestroyDevice(device);
  CreateDevice();
}

void WorkRun::UseLost(const ModelDevice& device) {
  d3dkmt_createcontextvirtual args{};
  args.device.v = device.handle;
  const int32_t result = Call(LX_DXCREATECONTEXTVIRTUAL, &args);
  (void)Struck(hostsim::FaultPoint::kNoMemoryCreate);  // or not: it is refused all the same
  FindLostDevices();
  True(result < 0, "a lost device made a context");
  Say("a lost device refuses: {}", result);
}

void WorkRun::EndClient() {
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

void WorkRun::ReplaceClient() {
  EndClient();
  OpenClient();
}

// -- Trouble

void WorkRun::MarkDevice() {
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

void WorkRun::ExpectMarked(ModelDevice& device) {
  const uint32_t state = StateOf(device);
  True(state == kDmaFault || state == kReset, "a marked device is in another state");
  LoseDevice(device, state);
  FindLostDevices();  // its engine has gone on to others' commands
}

void WorkRun::ResetAdapter() {
  Say("the adapter is reset");
  Observe();
  machine_.host().ResetAdapter(machine_.host().Adapters().front().address);
  LoseAll(kReset);
}

void WorkRun::LoseAll(uint32_t state) {
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
void WorkRun::ReplaceAdapter() {
  Say("the adapter is removed");
  Observe();
  True(machine_.RemoveAdapter(), "RemoveAdapter");
  NoteRemoval();
  BringAdapterBack();
}

void WorkRun::NoteRemoval() {
  adapter_is_gone_ = true;
  ++adapter_life_;
  LoseAll(kStopped);
}

void WorkRun::BringAdapterBack() {
  Observe();
  if (Chance(50)) Rest();
  True(machine_.AddAdapter(), "AddAdapter");
  adapter_is_gone_ = false;
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
      Equal(Call(LX_DXDESTROYSYNCHRONIZATIONOBJECT, &args), 0,
            "DestroySynchronizationObject after the adapter's end");
      ForgetHandle(current_, 0);
    }
    OpenAdapter();
    CreateDevice();
  }
  current_ = current;
}

void WorkRun::Trouble() {
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

}  // namespace dxg::simulation
