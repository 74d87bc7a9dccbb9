#include "hostsim/serve/recorded_host.h"

#include <algorithm>
#include <map>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/monotonic.h"
#include "base/mutex.h"
#include "hostsim/backend/in_process.h"
#include "link/vmbus/message.h"
#include "proto/dxg/host.pb.h"

namespace dxg::hostsim::serve {
namespace {

void Assign(std::span<const std::byte> bytes, std::string* to) {
  to->assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());  // Safety: bytes
}

class RecordedHost final : public Backend, public BackendEvents {
 public:
  RecordedHost(std::unique_ptr<Backend> inner, std::shared_ptr<trace::Recording> recording, uint32_t guest)
      : recording_(std::move(recording)), guest_(guest), inner_(std::move(inner)) {}
  ~RecordedHost() override { Stop(); }

  // Backend
  Status Start(BackendEvents* events) override {
    events_ = events;
    return inner_->Start(this);
  }
  void Stop() override { inner_->Stop(); }
  HostControl* control() override { return inner_->control(); }
  void Submit(const HostCall& call, Completion completion) override;
  std::optional<HostRegion> FindRegion(WindowAddress address) override { return inner_->FindRegion(address); }
  std::optional<HostRegion> HomeRegion(uint32_t process) override { return inner_->HomeRegion(process); }
  std::optional<HostRegion> FindShared(uint32_t nt_handle, uint32_t allocation_index) override {
    return inner_->FindShared(nt_handle, allocation_index);
  }
  Result<uint32_t> AddClientPages(std::shared_ptr<ClientPages> pages) override {
    return inner_->AddClientPages(std::move(pages));
  }
  void RemoveClientPages(uint32_t list) override { inner_->RemoveClientPages(list); }
  bool ClientFrames(uint32_t list, uint64_t page, std::span<uint64_t> frames) override {
    return inner_->ClientFrames(list, page, frames);
  }

  // BackendEvents
  void AdapterArrived(const HostAdapter& adapter) override;
  void AdapterStopped(uint64_t luid) override {
    Change(luid, TraceAdapter::STOPPED);
    events_->AdapterStopped(luid);
  }
  void AdapterRemoved(uint64_t luid) override {
    Change(luid, TraceAdapter::REMOVED);
    events_->AdapterRemoved(luid);
  }
  void DeviceStateChanged(uint64_t cookie) override {
    host::SetGuestData message;
    message.set_guest_pointer(cookie);
    message.set_data(1);
    Tell(message);
    events_->DeviceStateChanged(cookie);
  }
  void GuestEvent(uint64_t event) override {
    host::SignalGuestEvent message;
    message.set_event(event);
    Tell(message);
    events_->GuestEvent(event);
  }
  void HostLost() override { events_->HostLost(); }

 private:
  // A command on its way; it owns itself from Submit on.
  struct OnItsWay {
    RecordedHost& host;
    HostCall call;
    Completion completion;
    TraceItem item;
  };

  static void Complete(void* context, Status transport);
  TraceRecord& Begin(TraceItem* item) const;
  void Change(uint64_t luid, TraceAdapter::Change change);
  void Tell(const google::protobuf::Message& message);
  uint32_t VersionOf(uint64_t address) DXG_EXCLUDES(mutex_);

  const std::shared_ptr<trace::Recording> recording_;
  const uint32_t guest_;
  BackendEvents* events_ = nullptr;
  Mutex mutex_;
  std::map<uint64_t, uint32_t> versions_ DXG_GUARDED_BY(mutex_);  // of interfaces, by HostAdapter::address
  const std::unique_ptr<Backend> inner_;                          // last: it may complete calls while it ends
};

TraceRecord& RecordedHost::Begin(TraceItem* item) const {
  TraceRecord& record = *item->mutable_record();
  record.set_begin_ns(MonotonicNs());
  record.set_end_ns(record.begin_ns());
  return record;
}

uint32_t RecordedHost::VersionOf(uint64_t address) {
  MutexLock lock(mutex_);
  const auto found = versions_.find(address);
  return found != versions_.end() ? found->second : kInterfaceVersionNewest;
}

void RecordedHost::Submit(const HostCall& call, Completion completion) {
  OnItsWay* mine = nullptr;
  try {
    auto made = std::make_unique<OnItsWay>(OnItsWay{*this, call, completion, {}});
    TraceRecord& record = Begin(&made->item);
    TraceHostCommand& command = *record.mutable_host_command();
    command.set_process(call.process);
    command.set_command(call.command->id);
    command.set_channel(call.adapter);
    command.set_guest(guest_);
    // Of the oldest version: without the header that names the adapter, which is the channel here.
    const vmbus::MessageAddress address{call.process, call.adapter, kInterfaceVersionOldest,
                                        call.asynchronous};
    Assign(vmbus::EncodeRequest(*call.command, address, *call.request), command.mutable_packet());
    mine = made.release();
  } catch (const std::bad_alloc&) {
    recording_->AddLost();
    return inner_->Submit(call, completion);
  }
  inner_->Submit(call, {&RecordedHost::Complete, mine});
}

void RecordedHost::Complete(void* context, Status transport) {
  const std::unique_ptr<OnItsWay> mine(static_cast<OnItsWay*>(context));
  const HostCall& call = mine->call;
  RecordedHost& host = mine->host;
  try {
    TraceRecord& record = *mine->item.mutable_record();
    record.set_end_ns(MonotonicNs());
    record.set_result(transport.value());
    record.set_reason(transport.why());
    if (transport.ok() && !call.asynchronous) {
      const uint32_t version = host.VersionOf(call.adapter);
      std::vector<std::byte> answer(call.command->reply_size(*call.request, version));
      call.command->encode_reply(*call.request, *call.reply, version, answer.data());
      Assign(answer, record.mutable_host_command()->mutable_answer());
    }
    host.recording_->Add(mine->item);
  } catch (const std::bad_alloc&) {
    host.recording_->AddLost();
  }
  mine->completion.run(mine->completion.context, std::move(transport));
}

// Where there is no memory for what is recorded of it, it happens all the same.
void RecordedHost::Tell(const google::protobuf::Message& message) {
  try {
    for (const contract::GuestMessage& row : contract::GuestMessages()) {
      if (row.message->GetDescriptor() != message.GetDescriptor()) continue;
      TraceItem item;
      TraceHostCommand& command = *Begin(&item).mutable_host_command();
      command.set_command(row.id);
      command.set_to_guest(true);
      command.set_guest(guest_);
      Assign(vmbus::EncodeGuestMessage(row, 0, message), command.mutable_packet());
      recording_->Add(item);
    }
  } catch (const std::bad_alloc&) {
    recording_->AddLost();
  }
}

void RecordedHost::AdapterArrived(const HostAdapter& adapter) {
  try {
    {
      MutexLock lock(mutex_);
      versions_[adapter.address] = adapter.interface_version;
    }
    TraceItem item;
    TraceAdapter& arrived = *Begin(&item).mutable_adapter();
    arrived.set_luid(adapter.luid);
    arrived.set_change(TraceAdapter::ARRIVED);
    arrived.set_compute_only(adapter.compute_only);
    arrived.set_interface_version(adapter.interface_version);
    recording_->Add(item);
  } catch (const std::bad_alloc&) {
    recording_->AddLost();
  }
  events_->AdapterArrived(adapter);
}

void RecordedHost::Change(uint64_t luid, TraceAdapter::Change change) {
  try {
    TraceItem item;
    TraceAdapter& adapter = *Begin(&item).mutable_adapter();
    adapter.set_luid(luid);
    adapter.set_change(change);
    recording_->Add(item);
  } catch (const std::bad_alloc&) {
    recording_->AddLost();
  }
}

class RecordedWork final : public WorkObserver {
 public:
  explicit RecordedWork(std::shared_ptr<trace::Recording> recording) : recording_(std::move(recording)) {}
  void OnWork(const WorkEvent& event) override {
    try {
      TraceItem item;
      *item.mutable_record() = RecordOf(event);
      recording_->Add(item);
    } catch (const std::bad_alloc&) {
      recording_->AddLost();
    }
  }

 private:
  const std::shared_ptr<trace::Recording> recording_;
};

}  // namespace

std::unique_ptr<WorkObserver> WorkRecorder(std::shared_ptr<trace::Recording> recording) {
  if (recording == nullptr) return nullptr;
  return std::make_unique<RecordedWork>(std::move(recording));
}

std::unique_ptr<Backend> Recorded(std::unique_ptr<Backend> host, std::shared_ptr<trace::Recording> recording,
                                  uint32_t guest) {
  if (recording == nullptr) return host;
  return std::make_unique<RecordedHost>(std::move(host), std::move(recording), guest);
}

}  // namespace dxg::hostsim::serve
