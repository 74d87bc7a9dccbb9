#include <algorithm>
#include <array>
#include <memory_resource>

#include "hostsim/adapter/driver_model.h"
#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/sync/signal.h"
#include "hostsim/work/engine.h"
#include "hostsim/work/hw_queue.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/dxg_commands.h"
#include "proto/abi/flags.h"
#include "proto/abi/ntstatus.h"

// What goes into queues: commands, and the waits and signals between them.

namespace dxg::hostsim {
namespace {

constexpr uint32_t kBroadcastMax = D3DDDI_MAX_BROADCAST_CONTEXT;
constexpr uint32_t kPrimariesMax = D3DDDI_MAX_WRITTEN_PRIMARIES;

// D3DKMT_SUBMITCOMMANDFLAGS
constexpr uint32_t kNullRendering = DXG_SUBMIT_NULL_RENDERING;
constexpr uint32_t kPresentRedirected = DXG_SUBMIT_PRESENT_REDIRECTED;

bool IsOwn(ConstBytes data) {
  return data.size() >= sizeof(uint32_t) && Get<uint32_t>(data, 0) == DXG_SUBMISSION_MAGIC;
}

// The simulated kernel-mode driver reads what its own user-mode driver sends. All other data is for the rules
// of the profile, or passes.
bool ValidPrivateData(const std::string& data, uint32_t size) {
  if (data.size() != size || data.size() >= kMessageBytesMax) return false;
  const ConstBytes bytes = BytesOf(std::string_view(data));
  if (!IsOwn(bytes)) return true;
  return bytes.size() >= sizeof(dxg_submission) &&
         Get<uint32_t>(bytes, offsetof(dxg_submission, version)) == DXG_SUBMISSION_VERSION &&
         Get<uint32_t>(bytes, offsetof(dxg_submission, bytes)) == bytes.size() &&
         Get<uint32_t>(bytes, offsetof(dxg_submission, reserved)) == 0;
}

// Queues of one device. The device is that of the first one that there is, so that somebody hears of a
// refusal. Nearly always it is one queue, which costs no allocation.
struct Target {
  Device* device = nullptr;
  bool valid = true;

 private:
  std::array<std::byte, 128> few_;
  std::pmr::monotonic_buffer_resource memory_{few_.data(), few_.size()};

 public:
  std::pmr::vector<QueueOf> found{&memory_};
  std::pmr::vector<GpuQueue*> queues{&memory_};
};

template <class Handles>
void FindTarget(const CommandContext& call, Process& process, const Handles& handles, Target* to)
    DXG_REQUIRES(process.mutex()) {
  Target& target = *to;
  for (const uint32_t handle : handles) {
    const QueueOf found = FindQueue(call, process, handle);
    if (!found.context) {
      target.valid = false;
      continue;
    }
    if (!target.device) target.device = &found.context->device;
    if (target.device != &found.context->device) target.valid = false;
    target.found.push_back(found);
    target.queues.push_back(&found.queue());
  }
}

int32_t Queue(CommandContext& call, const Target& target, std::span<GpuPacket> packets) {
  Engines& engines = call.adapter->engines();
  const bool room = engines.Submit(*target.device->work, target.queues, packets, &call.aftermath);
  return room ? kStatusSuccess : kStatusNoMemory;
}

// What the submission is, without the flags of the queue that it goes to; nothing: its private data names
// what cannot be.
template <class Request>
std::optional<GpuCommand> ReadCommand(const CommandContext& call, const Request& request) {
  GpuCommand command;
  command.buffer = {GpuAddress(request.command_buffer()), request.command_length()};
  const DriverModel& model = call.adapter->profile().driver_model();
  const ConstBytes data = BytesOf(std::string_view(request.priv_drv_data()));
  if (IsOwn(data)) return command;
  if (!FindRule(model.submissions(), data)) {
    call.NoteUnread(data.size());
    return command;
  }
  return ReadSubmission(model, data, &command) ? std::optional(std::move(command)) : std::nullopt;
}

GpuCommand CommandFor(const QueueOf& queue, GpuCommand command, bool null_rendering) {
  const Device& device = queue.context->device;
  command.null_rendering = null_rendering || (queue.context->flags & Context::kNullRendering) != 0;
  command.no_timeout = (device.flags & Device::kDisableGpuTimeout) != 0 ||
                       (queue.context->flags & Context::kDisableGpuTimeout) != 0 ||
                       (queue.hw_queue && (queue.hw_queue->flags & HwQueue::kDisableGpuTimeout) != 0);
  command.epoch = device.work->epoch();
  return command;
}

bool AnyHardware(const Target& target) {
  return std::any_of(target.found.begin(), target.found.end(),
                     [](const QueueOf& queue) { return queue.hw_queue != nullptr; });
}

bool SynchronizationOnly(const Target& target) {
  return std::any_of(target.found.begin(), target.found.end(), [](const QueueOf& queue) {
    return (queue.context->flags & Context::kSynchronizationOnly) != 0;
  });
}

int32_t Queue(CommandContext& call, const Target& target, GpuPacket packet) {
  return Queue(call, target, std::span(&packet, 1));
}

int32_t Submit(CommandContext& call, const host::SubmitCommand::Request& request, const Target& target) {
  const uint32_t known = kNullRendering | kPresentRedirected;
  if (request.command_length() == 0 || (request.flags() & ~known) != 0 ||
      request.num_primaries() > kPrimariesMax ||
      !ValidPrivateData(request.priv_drv_data(), request.priv_drv_data_size()) || !target.valid ||
      !target.device) {
    return kStatusInvalidParameter;
  }
  if (AnyHardware(target)) return kStatusInvalidParameter;
  const std::optional<GpuCommand> command = ReadCommand(call, request);
  if (!command) return kStatusInvalidParameter;
  if (call.adapter->removed() || !target.device->active()) return kStatusDeviceRemoved;
  if (SynchronizationOnly(target)) return kStatusInvalidParameter;
  // Each context has its own flags, so each has its own command; together they fit or none does.
  std::array<std::byte, 128> few;
  std::pmr::monotonic_buffer_resource memory(few.data(), few.size());
  std::pmr::vector<GpuPacket> packets(&memory);
  for (const QueueOf& queue : target.found) {
    packets.push_back(CommandFor(queue, *command, (request.flags() & kNullRendering) != 0));
  }
  call.adapter->engines().NotePrivateData(request.priv_drv_data());
  return Queue(call, target, std::span(packets));
}

}  // namespace

int32_t Commands::Handle(CommandContext& call, const host::SubmitCommand::Request& request,
                         host::SubmitCommand::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  const uint32_t count = request.broadcast_context_count();
  const bool countable =
      count != 0 && count <= kBroadcastMax && static_cast<int>(count) <= request.broadcast_context_size();
  const auto& all = request.broadcast_context();
  Target target;
  FindTarget(call, process, std::span(all.data(), countable ? count : 0u), &target);
  return HeardOfWork(call, process, target.device, Submit(call, request, target));
}

namespace {

int32_t SubmitToHwQueue(CommandContext& call, const host::SubmitCommandToHwQueue::Request& request,
                        const Target& target) {
  if (!target.valid || !target.found.front().hw_queue || request.command_length() == 0 ||
      request.num_primaries() > kPrimariesMax ||
      !ValidPrivateData(request.priv_drv_data(), request.priv_drv_data_size())) {
    return kStatusInvalidParameter;
  }
  std::optional<GpuCommand> read = ReadCommand(call, request);
  if (!read) return kStatusInvalidParameter;
  HwQueue& queue = *target.found.front().hw_queue;
  if (call.adapter->removed() || !target.device->active()) return kStatusDeviceRemoved;
  if (request.progress_fence_id() <= queue.last_id || SynchronizationOnly(target))
    return kStatusInvalidParameter;
  GpuCommand command = CommandFor(target.found.front(), *std::move(read), false);
  command.progress = queue.progress;
  command.progress_value = request.progress_fence_id();
  call.adapter->engines().NotePrivateData(request.priv_drv_data());
  const int32_t status = Queue(call, target, std::move(command));
  if (status == kStatusSuccess) queue.last_id = request.progress_fence_id();
  return status;
}

}  // namespace

int32_t Commands::Handle(CommandContext& call, const host::SubmitCommandToHwQueue::Request& request,
                         host::SubmitCommandToHwQueue::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  Target target;
  FindTarget(call, process, std::array{request.hwqueue()}, &target);
  return HeardOfWork(call, process, target.device, SubmitToHwQueue(call, request, target));
}

namespace {

// What a signal or wait is about, checked but for the rights, which are in `access`.
struct Points {
  std::vector<SyncPoint> now;  // for the moment when the command before has begun
  std::vector<SyncPoint> points;
  int32_t access = kStatusSuccess;
};

bool FindSignalled(const CommandContext& call, Process& process,
                   const host::SignalSyncObject::Request& request, const Target& target, Points* points)
    DXG_REQUIRES(process.mutex()) {
  const bool values = request.fence_values_size() != 0;
  if (values && request.fence_values_size() != request.objects_size()) return false;
  for (int i = 0; i < request.objects_size(); ++i) {
    const SyncHandle* handle = FindSync(call, process, request.objects(i));
    if (!handle) return false;
    const SyncTraits& traits = handle->object->traits;
    if ((!traits.monitored() && AnyHardware(target)) || (traits.flags & kSyncSignalByKmd) != 0) return false;
    if (traits.type == SyncType::kFence && request.objects_size() != 1) return false;
    if (points->access == kStatusSuccess) points->access = handle->CheckSignal();
    const bool early =
        (request.flags() & kSignalAtSubmission) != 0 || (traits.flags & kSyncTopOfPipeline) != 0;
    (early ? points->now : points->points)
        .push_back({handle->object, values ? request.fence_values(i) : request.fence_value()});
  }
  return true;
}

int32_t QueueSignal(CommandContext& call, const host::SignalSyncObject::Request& request,
                    const Target& target, std::vector<SyncPoint> points, bool at_submission,
                    std::optional<GuestEvent> event) {
  auto signal = std::make_shared<GpuSignal>();
  signal->points = std::move(points);
  signal->rewind = (request.flags() & kAllowFenceRewind) != 0;
  signal->at_submission = at_submission;
  signal->event = event;
  signal->expected = target.queues.size();
  return Queue(call, target, std::move(signal));
}

int32_t Signal(CommandContext& call, const host::SignalSyncObject::Request& request, Process& process,
               const Target& target) DXG_REQUIRES(process.mutex()) {
  const uint32_t known = kSignalAtSubmission | kEnqueueCpuEvent | kAllowFenceRewind;
  const bool event = (request.flags() & kEnqueueCpuEvent) != 0;
  const uint32_t count = request.object_count();
  if ((request.flags() & ~known) != 0 || static_cast<int>(count) != request.objects_size() ||
      count > kSyncObjectsPerListMax || event != (count == 0) || (event && request.event_or_device() == 0) ||
      !target.valid || !target.device) {
    return kStatusInvalidParameter;
  }
  Points points;
  if (!FindSignalled(call, process, request, target, &points)) return kStatusInvalidParameter;
  if (call.adapter->removed() || !target.device->active()) return kStatusDeviceRemoved;
  if (points.access != kStatusSuccess) return points.access;
  if (event) {
    const bool at_submission = (request.flags() & kSignalAtSubmission) != 0;
    return QueueSignal(call, request, target, {}, at_submission,
                       GuestEvent{call.caller.process, request.event_or_device()});
  }
  if (!points.now.empty()) {
    const int32_t status = QueueSignal(call, request, target, std::move(points.now), true, {});
    if (status != kStatusSuccess || points.points.empty()) return status;
  }
  return QueueSignal(call, request, target, std::move(points.points), false, {});
}

bool FindAwaited(const CommandContext& call, Process& process,
                 const host::WaitForSyncObjectFromGpu::Request& request, const Target& target, Points* points)
    DXG_REQUIRES(process.mutex()) {
  for (int i = 0; i < request.objects_size(); ++i) {
    const SyncHandle* handle = FindSync(call, process, request.objects(i));
    if (!handle) return false;
    const SyncTraits& traits = handle->object->traits;
    if ((!traits.monitored() && AnyHardware(target)) || traits.type == SyncType::kCpuNotification)
      return false;
    if (points->access == kStatusSuccess) points->access = handle->CheckWait();
    points->points.push_back({handle->object, request.fence_values(i)});
  }
  return true;
}

int32_t Wait(CommandContext& call, const host::WaitForSyncObjectFromGpu::Request& request, Process& process,
             const Target& target) DXG_REQUIRES(process.mutex()) {
  const uint32_t count = request.object_count();
  if (count == 0 || count > kSyncObjectsPerListMax || static_cast<int>(count) != request.objects_size() ||
      static_cast<int>(count) != request.fence_values_size() || !target.valid) {
    return kStatusInvalidParameter;
  }
  Points points;
  if (!FindAwaited(call, process, request, target, &points)) return kStatusInvalidParameter;
  if (call.adapter->removed() || !target.device->active()) return kStatusDeviceRemoved;
  if (points.access != kStatusSuccess) return points.access;
  return Queue(call, target, GpuWait{std::move(points.points)});
}

}  // namespace

int32_t SignalFromQueues(CommandContext& call, const host::SignalSyncObject::Request& request) {
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  const uint32_t count = request.context_count();
  const bool countable =
      count != 0 && count <= kBroadcastMax && static_cast<int>(count) == request.contexts_size();
  const auto& all = request.contexts();
  Target target;
  FindTarget(call, process, std::span(all.data(), countable ? count : 0u), &target);
  return Heard(call, Signal(call, request, process, target));
}

int32_t WaitInQueue(CommandContext& call, const host::WaitForSyncObjectFromGpu::Request& request) {
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  Target target;
  FindTarget(call, process, std::array{request.context()}, &target);
  return Heard(call, Wait(call, request, process, target));
}

}  // namespace dxg::hostsim
