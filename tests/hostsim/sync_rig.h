#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hostsim/sync/sync_object.h"
#include "proto/abi/flags.h"
#include "tests/hostsim/memory_rig.h"

// Synchronization objects as a guest asks for them: the MemoryRig with their commands.

namespace dxg::hostsim {

inline constexpr uint32_t kAnySharing = kSyncShared | kSyncNtSecuritySharing;

class SyncRig : public MemoryRig {
 public:
  using MemoryRig::MemoryRig;

  // What CreateSyncObject or OpenSyncObject gave.
  struct Sync {
    uint32_t handle = 0;
    uint32_t global = 0;
    uint64_t gpu_address = 0;
    uint64_t page = 0;
    int32_t status = 0;  // of an opening
  };
  using Targets = std::vector<std::pair<uint32_t, uint64_t>>;  // handles and values

  // -- Creation. `first` and `second` are the beginning of the info.
  Sync TryFor(const Caller& who, uint32_t on, uint32_t type, uint32_t flags, uint64_t first = 0,
              uint64_t second = 0) {
    host::CreateSyncObject::Request request;
    request.set_device(on);
    request.set_type(type);
    request.set_flags(flags);
    request.set_client_hint(1);
    std::string info(64, '\0');
    Put<uint64_t>(BytesOf(info), 0, first);
    Put<uint64_t>(BytesOf(info), 8, second);
    request.set_info(info);
    const auto reply = Ask<host::CreateSyncObject>(who, request).reply;
    return {reply.sync_object(), reply.global_sync_object(), reply.fence_gpu_va(),
            reply.fence_storage_address(), 0};
  }
  Sync Try(uint32_t type, uint32_t flags, uint64_t first = 0) {
    return TryFor(caller, device, type, flags, first);
  }
  Sync NewFence(uint64_t value = 0, uint32_t flags = 0) {
    const Sync fence = Try(5, flags, value);
    EXPECT_NE(fence.handle, 0u);
    return fence;
  }
  Sync OpenFor(const Caller& who, uint32_t on, uint32_t global, uint32_t flags = kAnySharing) {
    host::OpenSyncObject::Request request;
    request.set_device(on);
    request.set_global_sync_object(global);
    request.set_flags(flags);
    const auto reply = Ask<host::OpenSyncObject>({who.process, 0}, request).reply;
    return {reply.sync_object(), 0, reply.gpu_virtual_address(), reply.guest_cpu_physical_address(),
            reply.status()};
  }
  int32_t DestroySync(const Caller& who, uint32_t handle) {
    host::DestroySyncObject::Request request;
    request.set_sync_object(handle);
    return Ask<host::DestroySyncObject>({who.process, 0}, request).reply.status();
  }
  int32_t DestroySync(uint32_t handle) { return DestroySync(caller, handle); }
  uint32_t NtShare(const Caller& who, uint32_t object) {
    host::CreateNtSharedObject::Request request;
    request.set_object(object);
    return Ask<host::CreateNtSharedObject>({who.process, 0}, request).reply.shared_handle();
  }
  int32_t NtUnshare(uint32_t shared) {
    host::DestroyNtSharedObject::Request request;
    request.set_shared_handle(shared);
    return Ask<host::DestroyNtSharedObject>({}, request).reply.status();
  }

  // -- CPU.
  static host::SignalSyncObject::Request SignalRequest(uint32_t on, const Targets& targets,
                                                       uint32_t flags = 0) {
    host::SignalSyncObject::Request request;
    request.set_event_or_device(on);
    request.set_flags(flags);
    request.set_object_count(static_cast<uint32_t>(targets.size()));
    for (const auto& [handle, value] : targets) {
      request.add_objects(handle);
      request.add_fence_values(value);
    }
    return request;
  }
  int32_t SignalFor(const Caller& who, uint32_t on, const Targets& targets, uint32_t flags = 0) {
    return Ask<host::SignalSyncObject>(who, SignalRequest(on, targets, flags)).reply.status();
  }
  int32_t Signal(const Targets& targets, uint32_t flags = 0) {
    return SignalFor(caller, device, targets, flags);
  }
  int32_t Signal(uint32_t handle, uint64_t value, uint32_t flags = 0) {
    return Signal({{handle, value}}, flags);
  }
  static constexpr uint32_t kRewind = DXG_SIGNAL_ALLOW_FENCE_REWIND;

  static host::WaitForSyncObjectFromCpu::Request WaitRequest(uint32_t on, const Targets& targets,
                                                             uint64_t event, bool any = false) {
    host::WaitForSyncObjectFromCpu::Request request;
    request.set_device(on);
    request.set_flags(any ? 1 : 0);
    request.set_guest_event(event);
    request.set_object_count(static_cast<uint32_t>(targets.size()));
    for (const auto& [handle, value] : targets) {
      request.add_objects(handle);
      request.add_fence_values(value);
    }
    return request;
  }
  int32_t WaitFor(const Caller& who, uint32_t on, const Targets& targets, uint64_t event, bool any = false) {
    return Ask<host::WaitForSyncObjectFromCpu>(who, WaitRequest(on, targets, event, any)).reply.status();
  }
  int32_t Wait(const Targets& targets, uint64_t event, bool any = false) {
    return WaitFor(caller, device, targets, event, any);
  }
  int32_t Wait(uint32_t handle, uint64_t value, uint64_t event) { return Wait({{handle, value}}, event); }

  // The numbers of the events that have happened since the last time, in their order.
  std::vector<uint64_t> Happened() {
    std::vector<uint64_t> numbers;
    for (const auto& [process, number] : recorded.events) numbers.push_back(number);
    recorded.events.clear();
    return numbers;
  }
  using Numbers = std::vector<uint64_t>;

  uint64_t waits() { return host().Account().waits; }
};

}  // namespace dxg::hostsim
