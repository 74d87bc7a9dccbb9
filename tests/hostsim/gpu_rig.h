#pragma once

#include <string>
#include <vector>

#include "proto/abi/flags.h"
#include "tests/hostsim/command_writer.h"
#include "tests/hostsim/sync_rig.h"

// Work as a guest submits it: the SyncRig with memory that the GPU uses, and the commands of queues.

namespace dxg::hostsim {

inline constexpr uint64_t kMs = 1'000'000;
// For how long an operation may take on an engine of the profiles that are shipped.
inline constexpr uint64_t kTimeoutNs = 2000 * kMs;
// A device's state, as GetDeviceState says it.
inline constexpr uint32_t kActive = 1, kReset = 2, kHung = 3, kDmaFault = 6, kPageFault = 7;

class GpuRig : public SyncRig {
 public:
  explicit GpuRig(AdapterProfile profile = Shipped("discrete"), FaultPlan* faults = nullptr,
                  GuestMemory* guest_memory = nullptr, bool engine_threads = false,
                  uint32_t objects_max = kObjectsPerProcessMax, UserLimits user_limits = {},
                  WorkObserver* work = nullptr)
      : SyncRig(std::move(profile), faults, guest_memory, engine_threads, objects_max, user_limits, work),
        context(NewContext(caller, device)) {
    arena_ = Memory(kArenaBytes);
    data = Memory(kMiB);
  }

  // A new allocation that the GPU uses, by its address.
  uint64_t Memory(uint64_t bytes, uint32_t* allocation = nullptr) {
    const uint32_t created = New(bytes);
    if (allocation) *allocation = created;
    BringIn({created});
    return Map(created, RoundToPages(bytes) / kPage);
  }

  // The address of a command buffer with these bytes. Old ones are written over when the arena is full.
  uint64_t Put(const std::string& bytes) {
    if (arena_used_ + bytes.size() > kArenaBytes) arena_used_ = 0;
    const uint64_t address = arena_ + arena_used_;
    arena_used_ += (bytes.size() + 7) / 8 * 8;
    EXPECT_TRUE(host().WriteGpu(caller, address, BytesOf(std::string_view(bytes)), &fault));
    return address;
  }

  using Submission = host::SubmitCommand::Request;
  Submission SubmitRequest(const std::vector<uint32_t>& contexts, uint64_t address, size_t bytes) {
    Submission request;
    request.set_command_buffer(address);
    request.set_command_length(static_cast<uint32_t>(bytes));
    request.set_broadcast_context_count(static_cast<uint32_t>(contexts.size()));
    for (size_t i = 0; i < 64; ++i) request.add_broadcast_context(i < contexts.size() ? contexts[i] : 0);
    for (size_t i = 0; i < 16; ++i) request.add_written_primaries(0);
    return request;
  }
  int32_t Submit(const Submission& request) {
    return Ask<host::SubmitCommand>(caller, request).reply.status();
  }
  int32_t SubmitTo(const std::vector<uint32_t>& contexts, const CommandWriter& commands, uint32_t flags = 0) {
    Submission request = SubmitRequest(contexts, Put(commands.bytes()), commands.bytes().size());
    request.set_flags(flags);
    return Submit(request);
  }
  int32_t Submit(const CommandWriter& commands) { return SubmitTo({context}, commands); }

  host::CreateHwQueue::Reply TryHwQueue(uint32_t on, uint32_t flags = 0, const std::string& data_of = "") {
    host::CreateHwQueue::Request request;
    request.set_context(on);
    request.set_flags(flags);
    request.set_priv_drv_data_size(static_cast<uint32_t>(data_of.size()));
    request.set_priv_drv_data(data_of);
    return Ask<host::CreateHwQueue>(caller, request).reply;
  }
  host::CreateHwQueue::Reply NewHwQueue() {
    const uint32_t on = TryContext(caller, device, 0, 0, kHwQueueSupported);
    const auto reply = TryHwQueue(on);
    EXPECT_EQ(reply.status(), kStatusSuccess);
    return reply;
  }
  static constexpr uint32_t kHwQueueSupported = DXG_CONTEXT_HW_QUEUE_SUPPORTED;
  int32_t DestroyHwQueue(uint32_t queue_handle) {
    host::DestroyHwQueue::Request request;
    request.set_hwqueue(queue_handle);
    return Ask<host::DestroyHwQueue>(caller, request).reply.status();
  }
  int32_t SubmitHw(uint32_t queue_handle, uint64_t id, const CommandWriter& commands,
                   const std::string& data_of = "") {
    host::SubmitCommandToHwQueue::Request request;
    request.set_hwqueue(queue_handle);
    request.set_progress_fence_id(id);
    request.set_command_buffer(Put(commands.bytes()));
    request.set_command_length(static_cast<uint32_t>(commands.bytes().size()));
    request.set_priv_drv_data_size(static_cast<uint32_t>(data_of.size()));
    request.set_priv_drv_data(data_of);
    return Ask<host::SubmitCommandToHwQueue>(caller, request).reply.status();
  }

  host::SignalSyncObject::Request GpuSignalRequest(const std::vector<uint32_t>& queues,
                                                   const Targets& targets, uint32_t flags = 0,
                                                   uint64_t event = 0) {
    auto request = SignalRequest(0, targets, flags);
    request.set_event_or_device(event);
    request.set_context_count(static_cast<uint32_t>(queues.size()));
    for (const uint32_t each : queues) request.add_contexts(each);
    return request;
  }
  int32_t GpuSignal(const std::vector<uint32_t>& queues, const Targets& targets, uint32_t flags = 0,
                    uint64_t event = 0) {
    return Ask<host::SignalSyncObject>(caller, GpuSignalRequest(queues, targets, flags, event))
        .reply.status();
  }
  static constexpr uint32_t kAtSubmission = DXG_SIGNAL_AT_SUBMISSION;
  static constexpr uint32_t kCpuEvent = DXG_SIGNAL_ENQUEUE_CPU_EVENT;
  int32_t GpuWait(uint32_t on, const Targets& targets) {
    host::WaitForSyncObjectFromGpu::Request request;
    request.set_context(on);
    request.set_object_count(static_cast<uint32_t>(targets.size()));
    for (const auto& [handle, value] : targets) {
      request.add_objects(handle);
      request.add_fence_values(value);
    }
    return Ask<host::WaitForSyncObjectFromGpu>(caller, request).reply.status();
  }

  // Ids of the markers so far.
  std::vector<uint64_t> Marks() {
    std::vector<uint64_t> ids;
    for (const GpuMark& mark : host().Marks(adapter().address)) ids.push_back(mark.id);
    return ids;
  }
  uint64_t ValueOf(const Sync& fence) { return Peek(fence.page); }
  uint32_t StateOf(uint32_t of) { return std::get<1>(State(caller, of)); }
  uint64_t DataAt(uint64_t offset) { return GpuRead(data + offset).value_or(~0ull); }

  uint32_t context;
  uint64_t data = 0;  // address of a MiB

 private:
  static constexpr uint64_t kArenaBytes = kMiB;
  uint64_t arena_ = 0;
  uint64_t arena_used_ = 0;
};

}  // namespace dxg::hostsim
