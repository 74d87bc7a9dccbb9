#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <string>
#include <tuple>
#include <vector>

#include "base/mutex.h"
#include "hostsim/adapter/profile.h"
#include "hostsim/machine/bytes.h"
#include "hostsim/machine/faults.h"
#include "hostsim/machine/host.h"
#include "proto/abi/ntstatus.h"
#include "proto/dxg/host.pb.h"
#include "proto/dxg/options.pb.h"

// A host with a virtual clock, and commands as a guest sends them.

namespace dxg::hostsim {

// What the host told its guest, in order. Threads add to it under the lock; tests read it when the host is at
// rest.
class RecordedEvents : public HostEvents {
 public:
  struct Change {
    uint32_t process;
    uint64_t vgpu_luid;
    uint64_t cookie;
    uint32_t state;
    bool operator==(const Change&) const = default;
  };

  void DeviceStateChanged(uint32_t process, uint64_t vgpu_luid, uint64_t cookie, uint32_t state) override {
    MutexLock lock(mutex_);
    changes.push_back({process, vgpu_luid, cookie, state});
  }
  void GuestEvent(uint32_t process, uint64_t event) override {
    MutexLock lock(mutex_);
    events.emplace_back(process, event);
  }
  void AdapterRemoved(uint64_t vgpu_luid) override {
    MutexLock lock(mutex_);
    removed.push_back(vgpu_luid);
  }
  void AdapterArrived(const AdapterInfo& adapter) override {
    MutexLock lock(mutex_);
    arrived.push_back(adapter.address);
  }

  std::vector<Change> changes;
  std::vector<std::pair<uint32_t, uint64_t>> events;  // process and number
  std::vector<uint64_t> removed;
  std::vector<uint64_t> arrived;

 private:
  Mutex mutex_;
};

inline AdapterProfile Shipped(const std::string& name) {
  auto profile = LoadProfile(name);
  EXPECT_TRUE(profile.ok()) << profile.status().why();
  return profile.ok() ? *std::move(profile) : AdapterProfile();
}

template <class Command>
struct Answer {
  bool accepted = false;
  int completions = 0;
  typename Command::Reply reply;
};

class Rig {
 public:
  explicit Rig(std::vector<AdapterProfile> profiles = {Shipped("discrete")}, FaultPlan* faults = nullptr,
               GuestMemory* guest_memory = nullptr, bool engine_threads = false,
               uint32_t objects_max = kObjectsPerProcessMax, UserLimits user_limits = {},
               WorkObserver* work = nullptr)
      : threads_(engine_threads),
        host_(Host::Create(World{.clock = clock,
                                 .faults = faults,
                                 .guest_memory = guest_memory,
                                 .work = work,
                                 .objects_per_process_max = objects_max,
                                 .user_limits = user_limits,
                                 .engine_threads = engine_threads},
                           profiles)) {
    host_->SetEvents(&recorded);
  }
  ~Rig() { host_->SetEvents(nullptr); }

  // What carries out a submission, where a test does something just before and after each.
  std::function<void(const std::function<void()>& submit)> around;

  Host& host() { return *host_; }
  AdapterInfo adapter(size_t index = 0) { return host_->Adapters().at(index); }

  template <class Command>
  Answer<Command> Ask(const Caller& caller, const typename Command::Request& request) {
    Answer<Command> answer;
    const uint32_t id = Command::descriptor()->options().GetExtension(dxg::command).id();
    const auto done = std::make_shared<std::promise<void>>();
    const Host::Completion complete = [&answer, done](bool accepted) {
      answer.accepted = accepted;
      ++answer.completions;
      done->set_value();
    };
    const std::function<void()> submit = [&] { host_->Submit(caller, id, request, &answer.reply, complete); };
    around ? around(submit) : submit();
    if (threads_) done->get_future().wait();  // an engine's thread may have to let go first
    EXPECT_EQ(answer.completions, 1);
    return answer;
  }

  // -- The usual beginnings; each asserts that it works.

  uint32_t NewProcess(uint64_t pid = 100) {
    host::CreateProcess::Request request;
    request.set_process_id(pid);
    request.set_process_bits(8);
    const uint32_t process = Ask<host::CreateProcess>({}, request).reply.process();
    EXPECT_NE(process, 0u);
    return process;
  }

  // A new process on an adapter.
  Caller NewCaller(size_t adapter_index = 0) { return {NewProcess(), adapter(adapter_index).address}; }
  // As above, of that user.
  Caller NewCallerOf(uint32_t user) {
    host::CreateProcess::Request request;
    request.set_process_bits(8);
    request.set_user(user);
    return {Ask<host::CreateProcess>({}, request).reply.process(), adapter(0).address};
  }

  uint32_t TryDevice(const Caller& caller, uint32_t flags = 0, uint64_t cookie = 0) {
    host::CreateDevice::Request request;
    request.set_flags(flags);
    request.set_state_cookie(cookie);
    return Ask<host::CreateDevice>(caller, request).reply.device();
  }
  uint32_t NewDevice(const Caller& caller, uint64_t cookie = 0) {
    const uint32_t device = TryDevice(caller, 0, cookie);
    EXPECT_NE(device, 0u);
    return device;
  }
  int32_t DestroyDevice(const Caller& caller, uint32_t device) {
    host::DestroyDevice::Request request;
    request.set_device(device);
    return Ask<host::DestroyDevice>(caller, request).reply.status();
  }

  uint32_t TryContext(const Caller& caller, uint32_t device, uint32_t node = 0, uint32_t affinity = 0,
                      uint32_t flags = 0) {
    host::CreateContextVirtual::Request request;
    request.set_device(device);
    request.set_node_ordinal(node);
    request.set_engine_affinity(affinity);
    request.set_flags(flags);
    return Ask<host::CreateContextVirtual>(caller, request).reply.context();
  }
  uint32_t NewContext(const Caller& caller, uint32_t device) {
    const uint32_t context = TryContext(caller, device);
    EXPECT_NE(context, 0u);
    return context;
  }
  int32_t DestroyContext(const Caller& caller, uint32_t context) {
    host::DestroyContext::Request request;
    request.set_context(context);
    return Ask<host::DestroyContext>(caller, request).reply.status();
  }

  int32_t MarkAsError(const Caller& caller, uint32_t device, uint32_t reason = 0x80000000) {
    host::MarkDeviceAsError::Request request;
    request.set_device(device);
    request.set_reason(reason);
    return Ask<host::MarkDeviceAsError>(caller, request).reply.status();
  }

  // The NTSTATUS, and the state where that is a success.
  std::tuple<int32_t, uint32_t> State(const Caller& caller, uint32_t device) {
    host::GetDeviceState::Request request;
    request.set_device(device);
    request.set_state_type(1);
    request.set_state(std::string(48, '\0'));
    const auto answer = Ask<host::GetDeviceState>(caller, request);
    EXPECT_EQ(answer.reply.state().size(), 48u);
    return {answer.reply.status(), Get<uint32_t>(BytesOf(std::string_view(answer.reply.state())), 0)};
  }

  // Sends `data` and gets what came back.
  int32_t Query(const Caller& caller, uint32_t type, std::string* data) {
    host::QueryAdapterInfo::Request request;
    request.set_query_type(type);
    request.set_private_data_size(static_cast<uint32_t>(data->size()));
    request.set_private_data(*data);
    const auto answer = Ask<host::QueryAdapterInfo>(caller, request);
    EXPECT_EQ(answer.reply.private_data().size(), data->size()) << "type " << type;
    *data = answer.reply.private_data();
    return answer.reply.status();
  }

  // Nothing of any client is alive.
  void ExpectNothingLeft() {
    const Accounting left = host_->Account();
    EXPECT_EQ(left.processes, 0u);
    EXPECT_EQ(
        left.devices + left.contexts + left.hw_queues + left.paging_queues + left.sync_objects + left.waits,
        0u);
    EXPECT_EQ(left.resources + left.allocations + left.storages + left.shared, 0u);
    EXPECT_EQ(left.mappings, 0u);
    EXPECT_EQ(left.regions + left.window_bytes + left.machine_bytes, 0u);
    for (uint32_t group = 0; group < kSegmentGroups; ++group) {
      EXPECT_EQ(left.reserved_bytes[group] + left.placed_bytes[group] + left.listed_bytes[group], 0u);
    }
  }
  void EndProcess(const Caller& caller) {
    EXPECT_EQ(Ask<host::DestroyProcess>({caller.process, 0}, {}).reply.status(), kStatusSuccess);
  }

  VirtualClock clock{5'000'000'000};
  RecordedEvents recorded;

 private:
  const bool threads_;
  std::unique_ptr<Host> host_;
};

}  // namespace dxg::hostsim
