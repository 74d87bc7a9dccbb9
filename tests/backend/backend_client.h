#pragma once

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/page.h"
#include "hostsim/adapter/profile.h"
#include "hostsim/backend/in_process.h"
#include "hostsim/machine/bytes.h"
#include "hostsim/machine/faults.h"
#include "hostsim/memory/private_data.h"
#include "link/host_control.h"
#include "proto/abi/flags.h"
#include "proto/abi/ntstatus.h"
#include "proto/contract/host_commands.gen.h"
#include "proto/dxg/host.pb.h"
#include "tests/hostsim/command_writer.h"

// A client of the simulated host at the back-end's interface, in real time: it sends the host's commands as
// the guest does and hears the host's events. It waits for those, never for time. What fails gives 0: a
// client in trouble goes on as well as it can.

namespace dxg {

inline constexpr uint64_t kPage = kPageBytes;

// Pages of a client, which stay the client's.
class TestPages final : public ClientPages {
 public:
  explicit TestPages(uint64_t bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  bool Read(uint64_t offset, std::span<std::byte> to) override {
    std::lock_guard lock(mutex_);
    std::memcpy(to.data(), bytes_.data() + offset, to.size());
    return true;
  }
  bool Write(uint64_t offset, std::span<const std::byte> from) override {
    std::lock_guard lock(mutex_);
    std::memcpy(bytes_.data() + offset, from.data(), from.size());
    return true;
  }
  bool Frames(uint64_t, std::span<uint64_t>) override { return false; }
  uint64_t Word(uint64_t offset) {
    uint64_t word = 0;
    Read(offset, std::as_writable_bytes(std::span(&word, 1)));
    return word;
  }

 private:
  std::mutex mutex_;  // guards bytes_
  std::vector<std::byte> bytes_;
};

class BackendClient final : public BackendEvents {
 public:
  // `timeout_ms`: after which an engine counts as hung; 0: as shipped.
  explicit BackendClient(uint32_t timeout_ms = 0) {
    std::vector<std::string> profiles;
    if (timeout_ms != 0) profiles.push_back(WriteProfile(timeout_ms));
    backend_ = *hostsim::CreateInProcessBackend(profiles);
    Start();
    for (const std::string& file : profiles) unlink(file.c_str());
  }
  explicit BackendClient(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) { Start(); }
  // While we can still be told of events.
  ~BackendClient() override { backend_->Stop(); }

  Backend& backend() { return *backend_; }
  const HostAdapter& adapter() const { return adapter_; }
  uint32_t process() const { return process_; }

  // -- Commands
  template <class Command>
  typename Command::Reply Ask(const typename Command::Request& request, bool global = false) {
    struct Answer {
      std::mutex mutex;
      std::condition_variable changed;
      bool done = false, ok = false;
    } answer;
    typename Command::Reply reply;
    auto complete = [](void* context, Status transport) {
      auto* to = static_cast<Answer*>(context);
      std::lock_guard lock(to->mutex);
      to->done = true;
      to->ok = transport.ok();
      to->changed.notify_all();
    };
    const auto* row = contract::FindHostCommand(contract::kHostCommandId<typename Command::Request>);
    backend_->Submit({row, process_, global ? 0 : adapter_.address, &request, &reply}, {complete, &answer});
    std::unique_lock lock(answer.mutex);
    answer.changed.wait(lock, [&answer] { return answer.done; });
    answered_ = answer.ok;
    return reply;
  }
  // Whether the host took it: the answer came, and is no refusal.
  template <class Command>
  bool Done(const typename Command::Request& request) {
    const int32_t status = Ask<Command>(request).status();
    return answered_ && status >= 0;
  }

  void OpenProcess() { process_ = Ask<host::CreateProcess>({}, true).process(); }
  void EndProcess() { Ask<host::DestroyProcess>({}, true); }

  // -- Faults, by the control interface.
  ControlReply Control(const ControlRequest& request) {
    ControlReply reply;
    backend_->control()->Serve(request, &reply);
    EXPECT_EQ(reply.error(), "") << request.ShortDebugString();
    return reply;
  }
  void Arm(const FaultRule& rule) {
    ControlRequest request;
    *request.mutable_set_fault() = rule;
    Control(request);
  }
  void Arm(const std::string& text) {
    FaultRule rule;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &rule)) << text;
    Arm(rule);
  }
  ControlReply::Point State(const hostsim::FaultPointInfo& info) {
    ControlRequest request;
    request.mutable_list_faults();
    return Control(request).points(static_cast<int>(info.point));
  }
  uint64_t Struck(hostsim::FaultPoint point) { return State(hostsim::InfoOf(point)).struck(); }
  void ClearFaults() {
    ControlRequest request;
    request.mutable_clear_faults();
    Control(request);
  }
  // What is still alive when nothing should be; adapters, rules and counters that only grow are not of that
  // kind.
  std::vector<std::string> Left() {
    ControlRequest request;
    request.mutable_status();
    const std::set<std::string> stays = {"adapters", "armed faults", "lost accesses to client pages"};
    std::vector<std::string> left;
    const ControlReply reply = Control(request);
    for (const auto& count : reply.counts()) {
      if (count.value() != 0 && !stays.contains(count.name()))
        left.push_back(std::to_string(count.value()) + " " + count.name());
    }
    return left;
  }
  // A thread of the host that has told us of an event may hold what the event was about for a moment yet.
  void ExpectNothingLeft() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!Left().empty() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    EXPECT_EQ(Left(), std::vector<std::string>());
  }

  // -- A device with one queue for paging.
  struct Device {
    uint32_t handle = 0, paging_queue = 0, paging_fence = 0;
    uint64_t paged = 0;  // the value of the paging fence at which all is done that was asked
  };
  Device NewDevice() {
    Device device;
    device.handle = Ask<host::CreateDevice>({}).device();
    host::CreatePagingQueue::Request queue;
    queue.set_device(device.handle);
    const auto created = Ask<host::CreatePagingQueue>(queue);
    device.paging_queue = created.paging_queue();
    device.paging_fence = created.sync_object();
    return device;
  }
  uint32_t NewContext(const Device& device, uint32_t node = 0) {
    host::CreateContextVirtual::Request request;
    request.set_device(device.handle);
    request.set_node_ordinal(node);
    return Ask<host::CreateContextVirtual>(request).context();
  }
  // enum d3dkmt_deviceexecution_state
  uint32_t StateOf(const Device& device) {
    return hostsim::Get<uint32_t>(hostsim::BytesOf(std::string_view(Query(device, 1))), 0);
  }
  uint64_t FaultedAddressOf(const Device& device) {
    return hostsim::Get<uint64_t>(hostsim::BytesOf(std::string_view(Query(device, 5))), 24);
  }

  // -- Memory of a page, that the GPU uses.
  struct Memory {
    uint32_t allocation = 0;
    uint64_t gpu = 0;      // its address there
    uint64_t window = 0;   // its address in the host's window; 0: the CPU does not see it
    uint64_t buffers = 0;  // that were written into it
  };
  static std::string AllocationData() {
    using namespace hostsim;
    std::string data(kAllocationDataBytes, '\0');
    Put<uint32_t>(BytesOf(data), 0, kAllocationMagic);
    Put<uint32_t>(BytesOf(data), kAllocationVersionAt, kAllocationVersion);
    Put<uint64_t>(BytesOf(data), kAllocationSizeAt, kPage);
    return data;
  }
  uint32_t NewAllocation(const Device& device, uint32_t flags = 0) {
    host::CreateAllocation::Request create;
    create.set_device(device.handle);
    create.set_flags(flags);
    create.set_alloc_count(1);
    create.add_allocations()->set_priv_drv_data_size(hostsim::kAllocationDataBytes);
    create.set_allocation_data(AllocationData());
    const auto created = Ask<host::CreateAllocation>(create);
    return created.allocations_size() == 1 ? created.allocations(0).allocation() : 0;
  }
  // Resident and mapped when the device's paging fence says so.
  uint64_t BringIn(Device* device, uint32_t allocation, uint32_t flags = 0) {
    host::MakeResident::Request resident;
    resident.set_paging_queue(device->paging_queue);
    resident.set_alloc_count(1);
    resident.add_allocations(allocation);
    resident.set_flags(flags);
    device->paged = std::max(device->paged, Ask<host::MakeResident>(resident).paging_fence_value());
    host::MapGpuVirtualAddress::Request map;
    map.set_paging_queue(device->paging_queue);
    map.set_allocation(allocation);
    map.set_size_in_pages(1);
    map.set_protection(1);
    const auto mapped = Ask<host::MapGpuVirtualAddress>(map);
    device->paged = std::max(device->paged, mapped.paging_fence_value());
    return mapped.virtual_address();
  }
  uint64_t Lock(const Device& device, uint32_t allocation) {
    host::Lock2::Request lock;
    lock.set_device(device.handle);
    lock.set_allocation(allocation);
    return Ask<host::Lock2>(lock).cpu_visible_buffer_offset();
  }
  Memory NewMemory(Device* device) {
    Memory memory;
    memory.allocation = NewAllocation(*device);
    memory.gpu = BringIn(device, memory.allocation);
    memory.window = Lock(*device, memory.allocation);
    return memory;
  }
  // Over the client's own pages.
  Memory NewMemoryOf(Device* device, std::shared_ptr<ClientPages> pages) {
    constexpr uint32_t kResource = DXG_ALLOCATION_CREATE_RESOURCE;
    Memory memory;
    memory.allocation = NewAllocation(*device, kResource | DXG_ALLOCATION_EXISTING_SYSMEM);
    Result<uint32_t> list = backend_->AddClientPages(std::move(pages));
    if (!list.ok()) return memory;
    host::SetExistingSysmemStore::Request store;
    store.set_device(device->handle);
    store.set_allocation(memory.allocation);
    store.set_gpadl(*list);
    Ask<host::SetExistingSysmemStore>(store);
    memory.gpu = BringIn(device, memory.allocation);
    return memory;
  }
  // As a process that has the window's memory mapped.
  uint64_t Peek(uint64_t window_address) {
    uint64_t value = 0;
    const auto region = backend_->FindRegion(WindowAddress(window_address));
    if (!region) return 0;
    EXPECT_EQ(pread(region->file, &value, sizeof value, FileOffset(*region, window_address)),
              static_cast<ssize_t>(sizeof value));
    return value;
  }
  void Poke(uint64_t window_address, std::string_view bytes) {
    const auto region = backend_->FindRegion(WindowAddress(window_address));
    if (!region) return;
    EXPECT_EQ(pwrite(region->file, bytes.data(), bytes.size(), FileOffset(*region, window_address)),
              static_cast<ssize_t>(bytes.size()));
  }

  // -- Fences
  struct Fence {
    uint32_t handle = 0;
    uint64_t window = 0;  // where its value is
  };
  Fence NewFence(const Device& device) {
    host::CreateSyncObject::Request create;
    create.set_device(device.handle);
    create.set_type(5);  // D3DDDI_MONITORED_FENCE
    create.set_info(std::string(64, 0));
    const auto created = Ask<host::CreateSyncObject>(create);
    return {created.sync_object(), created.fence_storage_address()};
  }
  uint64_t ValueOf(const Fence& fence) { return Peek(fence.window); }
  bool Signal(const Device& device, const Fence& fence, uint64_t value) {
    host::SignalSyncObject::Request signal;
    signal.set_event_or_device(device.handle);
    signal.set_object_count(1);
    signal.add_objects(fence.handle);
    signal.add_fence_values(value);
    return Done<host::SignalSyncObject>(signal);
  }

  // -- Work. A command is read when it runs, so that each has its place in the second half of the memory for
  // a while.
  bool Submit(uint32_t context, Memory* memory, const hostsim::CommandWriter& commands) {
    constexpr uint64_t kBufferBytes = 128, kBuffers = kPage / 2 / kBufferBytes;
    EXPECT_LE(commands.bytes().size(), kBufferBytes);
    const uint64_t at = kPage / 2 + memory->buffers++ % kBuffers * kBufferBytes;
    Poke(memory->window + at, commands.bytes());
    host::SubmitCommand::Request submit;
    submit.set_command_buffer(memory->gpu + at);
    submit.set_command_length(static_cast<uint32_t>(commands.bytes().size()));
    submit.set_broadcast_context_count(1);
    for (int i = 0; i < 64; ++i) submit.add_broadcast_context(i == 0 ? context : 0);
    for (int i = 0; i < 16; ++i) submit.add_written_primaries(0);
    return Done<host::SubmitCommand>(submit);
  }
  bool QueueWait(uint32_t context, uint32_t fence, uint64_t value) {
    host::WaitForSyncObjectFromGpu::Request wait;
    wait.set_context(context);
    wait.set_object_count(1);
    wait.add_objects(fence);
    wait.add_fence_values(value);
    return Done<host::WaitForSyncObjectFromGpu>(wait);
  }
  bool QueueSignal(uint32_t context, const Fence& fence, uint64_t value) {
    host::SignalSyncObject::Request signal;
    signal.set_object_count(1);
    signal.add_objects(fence.handle);
    signal.add_fence_values(value);
    signal.set_context_count(1);
    signal.add_contexts(context);
    return Done<host::SignalSyncObject>(signal);
  }
  // Behind all paging that was asked: the commands, and then the fence at `value`. The event when that is so.
  // A command that fails may have lost the device before the signal behind it is asked, so that nobody asks
  // whether that was taken.
  bool Work(const Device& device, uint32_t context, Memory* memory, const hostsim::CommandWriter& commands,
            const Fence& fence, uint64_t value, uint64_t event) {
    if (!Wait(device, fence, value, event)) return false;
    QueueWait(context, device.paging_fence, device.paged);
    const bool submitted = Submit(context, memory, commands);
    QueueSignal(context, fence, value);
    return submitted;
  }
  bool Wait(const Device& device, const Fence& fence, uint64_t value, uint64_t event) {
    host::WaitForSyncObjectFromCpu::Request wait;
    wait.set_device(device.handle);
    wait.set_object_count(1);
    wait.add_objects(fence.handle);
    wait.add_fence_values(value);
    wait.set_guest_event(event);
    return Done<host::WaitForSyncObjectFromCpu>(wait);
  }
  bool MarkAsError(const Device& device) {
    host::MarkDeviceAsError::Request mark;
    mark.set_device(device.handle);
    mark.set_reason(0x80000000);
    return Done<host::MarkDeviceAsError>(mark);
  }

  // -- Events
  void AwaitEvent(uint64_t event) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return events_[event] != 0; });
  }
  void AwaitArrivals(int arrivals) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return arrivals_ == arrivals; });
  }
  int events(uint64_t event) {
    std::lock_guard lock(mutex_);
    return events_[event];
  }

 private:
  void Start() {
    EXPECT_TRUE(backend_->Start(this).ok());
    adapter_ = Arrived();
  }
  static off_t FileOffset(const HostRegion& region, uint64_t window_address) {
    return static_cast<off_t>(region.file_offset + (WindowAddress(window_address) - region.window_address));
  }
  static std::string WriteProfile(uint32_t timeout_ms) {
    auto loaded = hostsim::LoadProfile("discrete");
    EXPECT_TRUE(loaded.ok()) << loaded.status().why();
    AdapterProfile profile = *std::move(loaded);
    std::string text;
    profile.mutable_engines()->set_timeout_ms(timeout_ms);
    EXPECT_TRUE(google::protobuf::TextFormat::PrintToString(profile, &text));
    std::string path = testing::TempDir() + "/profile.XXXXXX";
    close(mkstemp(path.data()));
    std::ofstream(path) << text;
    return path;
  }
  std::string Query(const Device& device, uint32_t type) {
    host::GetDeviceState::Request request;
    request.set_device(device.handle);
    request.set_state_type(type);
    request.set_state(std::string(48, '\0'));
    std::string state = Ask<host::GetDeviceState>(request).state();
    state.resize(48);
    return state;
  }
  HostAdapter Arrived() {
    std::lock_guard lock(mutex_);
    return last_;
  }

  // BackendEvents
  void AdapterArrived(const HostAdapter& adapter) override {
    std::lock_guard lock(mutex_);
    last_ = adapter;
    ++arrivals_;
    changed_.notify_all();
  }
  void AdapterStopped(uint64_t) override {}
  void AdapterRemoved(uint64_t) override {}
  void DeviceStateChanged(uint64_t) override {}
  void GuestEvent(uint64_t event) override {
    std::lock_guard lock(mutex_);
    ++events_[event];
    changed_.notify_all();
  }
  void HostLost() override {}  // every call says so then

  std::mutex mutex_;  // guards the next four
  std::condition_variable changed_;
  std::map<uint64_t, int> events_;
  HostAdapter last_;
  int arrivals_ = 0;
  std::unique_ptr<Backend> backend_;
  HostAdapter adapter_;  // that was there first
  uint32_t process_ = 0;
  bool answered_ = false;  // the last command was
};

}  // namespace dxg
