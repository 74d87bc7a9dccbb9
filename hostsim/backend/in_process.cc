#include "hostsim/backend/in_process.h"

#include <atomic>
#include <map>
#include <random>

#include "base/mutex.h"
#include "hostsim/adapter/profile.h"
#include "hostsim/backend/control.h"
#include "hostsim/backend/faulty_backend.h"
#include "hostsim/machine/host.h"

namespace dxg::hostsim {
namespace {

constexpr char kDefaultProfile[] = "discrete";

std::optional<HostRegion> ToGuest(const std::optional<RegionInfo>& info) {
  if (!info) return std::nullopt;
  HostRegion region;
  region.window_address = WindowAddress(info->window_start);
  region.size = info->bytes;
  region.file = info->file->number();
  region.keep = info->file;
  region.cookie = info->cookie;
  return region;
}

// The clients' pages that the host was given, by the number of their list.
class PageLists final : public GuestMemory {
 public:
  explicit PageLists(GuestMemory* frames) : frames_(frames) {}
  uint32_t Add(std::shared_ptr<ClientPages> pages) {
    MutexLock lock(mutex_);
    while (lists_.contains(++last_) || last_ == 0) {
    }
    lists_[last_] = std::move(pages);
    return last_;
  }
  void Remove(uint32_t list) {
    MutexLock lock(mutex_);
    lists_.erase(list);
  }

  // GuestMemory
  bool Read(uint32_t list, uint64_t offset, Bytes bytes) override {
    const auto pages = Find(list);
    return pages != nullptr && pages->Read(offset, std::as_writable_bytes(bytes));
  }
  bool Write(uint32_t list, uint64_t offset, ConstBytes bytes) override {
    const auto pages = Find(list);
    return pages != nullptr && pages->Write(offset, std::as_bytes(bytes));
  }
  uint64_t Size(uint32_t list) override {
    const auto pages = Find(list);
    return pages != nullptr ? pages->size() : 0;
  }
  bool knows_frames() const override { return frames_ != nullptr; }
  bool ReadFrame(uint64_t frame, uint64_t offset, Bytes bytes) override {
    return frames_->ReadFrame(frame, offset, bytes);
  }
  bool WriteFrame(uint64_t frame, uint64_t offset, ConstBytes bytes) override {
    return frames_->WriteFrame(frame, offset, bytes);
  }

 private:
  std::shared_ptr<ClientPages> Find(uint32_t list) {
    MutexLock lock(mutex_);
    const auto found = lists_.find(list);
    return found == lists_.end() ? nullptr : found->second;
  }

  GuestMemory* const frames_;
  Mutex mutex_;
  std::map<uint32_t, std::shared_ptr<ClientPages>> lists_ DXG_GUARDED_BY(mutex_);
  uint32_t last_ DXG_GUARDED_BY(mutex_) = 0;
};

class InProcessBackend final : public Backend, public HostEvents, public MessageFaults {
 public:
  InProcessBackend(const std::vector<AdapterProfile>& profiles, const GuestMachine& guest)
      : pages_(guest.memory),
        host_(Host::Create({.clock = clock_,
                            .rng = Rng(std::random_device{}()),
                            .guest_memory = &pages_,
                            .work = guest.work,
                            .window = guest.window,
                            .engine_threads = true},
                           profiles)) {}
  ~InProcessBackend() override { Stop(); }

  void Stop() override {
    if (stopped_.exchange(true)) return;
    host_->SetEvents(nullptr);
    host_->End();  // the host itself stays: a completion on the clock's thread may be about to submit to it
  }

  Status Start(BackendEvents* events) override {
    events_ = events;
    for (const auto& info : host_->Adapters()) {
      {
        MutexLock lock(mutex_);
        known_.push_back({info.address, info.luid});
      }
      events_->AdapterArrived(info);
    }
    host_->SetEvents(this);
    return Status::Ok();
  }

  void Submit(const HostCall& call, Completion completion) override {
    if (stopped_)
      return completion.run(completion.context, Status::Refuse(ENODEV, "the device is being taken down"));
    const Caller caller{call.process, call.adapter, call.asynchronous};
    if (call.asynchronous)
      return host_->Submit(caller, call.command->id, *call.request, call.reply,
                           [completion, reply = call.reply](bool) { Forget(reply, completion); });
    // No more than fits into a std::function without an allocation.
    host_->Submit(caller, call.command->id, *call.request, call.reply, [completion](bool accepted) {
      completion.run(
          completion.context,
          accepted ? Status::Ok()
                   : Status::Refuse(
                         EOVERFLOW,
                         "the host answered with less than a whole reply, its way to refuse this command"));
    });
  }

  std::optional<HostRegion> FindRegion(WindowAddress address) override {
    if (stopped_) return std::nullopt;
    return ToGuest(host_->FindRegion(address.value));
  }
  std::optional<HostRegion> HomeRegion(uint32_t process) override {
    if (stopped_) return std::nullopt;
    return ToGuest(host_->HomeRegion(process));
  }
  std::optional<HostRegion> FindShared(uint32_t nt_handle, uint32_t allocation_index) override {
    if (stopped_) return std::nullopt;
    return ToGuest(host_->FindShared(nt_handle, allocation_index));
  }
  Result<uint32_t> AddClientPages(std::shared_ptr<ClientPages> pages) override {
    return pages_.Add(std::move(pages));
  }
  void RemoveClientPages(uint32_t list) override { pages_.Remove(list); }

  HostControl* control() override { return &control_; }

  // MessageFaults
  bool any_armed() override { return host_->faults().any_armed(); }
  std::optional<Fault> Strike(Point point, const HostCall* call) override;
  void CallAfter(uint64_t ns, std::function<void()> later) override {
    host_->CallAfter(ns, std::move(later));
  }
  void LoseAdapter(uint64_t address) override { host_->RemoveAdapter(address); }

  // HostEvents
  void GuestEvent(uint32_t, uint64_t event) override { events_->GuestEvent(event); }
  void DeviceStateChanged(uint32_t, uint64_t, uint64_t cookie, uint32_t) override {
    events_->DeviceStateChanged(cookie);
  }
  void AdapterArrived(const AdapterInfo& info) override {
    {
      MutexLock lock(mutex_);
      known_.push_back({info.address, info.luid});
    }
    events_->AdapterArrived(info);
  }
  void AdapterRemoved(uint64_t vgpu_luid) override {
    uint64_t luid = 0;
    {
      MutexLock lock(mutex_);
      for (const auto& adapter : known_) {
        if (adapter.vgpu_luid == vgpu_luid) luid = adapter.guest_luid;
      }
    }
    events_->AdapterRemoved(luid);
  }

 private:
  static void Forget(google::protobuf::Message* reply, Completion completion) {
    reply->Clear();
    completion.run(completion.context, Status::Ok());
  }

  struct Known {
    uint64_t vgpu_luid, guest_luid;
  };

  RealClock clock_;
  PageLists pages_;
  std::unique_ptr<Host> host_;
  InProcessControl control_{*host_};
  BackendEvents* events_ = nullptr;
  std::atomic<bool> stopped_{false};
  Mutex mutex_;
  std::vector<Known> known_ DXG_GUARDED_BY(mutex_);
};

// Messages of the VM are struck only by name: what ends processes would otherwise leave them behind.
std::optional<MessageFaults::Fault> InProcessBackend::Strike(Point point, const HostCall* call) {
  Passage passage{.point = point};
  if (!host_->faults().armed(passage.point)) return std::nullopt;
  if (call) {
    passage.command = call->command->name;
    passage.by_command_only = call->adapter == 0;
    if (call->process != 0) passage.process = host_->ProcessId(call->process);
    MutexLock lock(mutex_);
    for (const Known& adapter : known_) {
      if (adapter.vgpu_luid == call->adapter) passage.adapter = adapter.guest_luid;
    }
  }
  return host_->faults().Strike(passage, host_->NowNs());
}

std::unique_ptr<Backend> Make(const std::vector<AdapterProfile>& profiles, const GuestMachine& guest) {
  auto host = std::make_unique<InProcessBackend>(profiles, guest);
  MessageFaults& faults = *host;
  return WithFaults(std::move(host), faults);
}

Status AddAll(Result<std::vector<AdapterProfile>> read, const std::string& name,
              std::vector<AdapterProfile>* adapters) {
  if (!read.ok()) return Status::Refuse(EINVAL, "--profile {}: {}", name, read.status().why());
  for (AdapterProfile& profile : *read) adapters->push_back(std::move(profile));
  if (adapters->size() <= kAdaptersMax) return Status::Ok();
  return Status::Refuse(EINVAL, "--profile {}: {} adapters are more than {}, which is the most", name,
                        adapters->size(), kAdaptersMax);
}

Result<std::vector<AdapterProfile>> LoadAll(const std::vector<std::string>& profiles,
                                            const std::string& scenario) {
  std::vector<AdapterProfile> adapters;
  for (const auto& name : profiles.empty() ? std::vector<std::string>{kDefaultProfile} : profiles)
    DXG_TRY(AddAll(LoadProfiles(name, scenario), name, &adapters));
  return adapters;
}

}  // namespace

Result<std::unique_ptr<Backend>> CreateInProcessBackend(const std::vector<std::string>& profiles,
                                                        const std::string& scenario, WorkObserver* work) {
  DXG_ASSIGN(const auto adapters, LoadAll(profiles, scenario));
  return Make(adapters, {.work = work});
}

Result<std::vector<DriverFolder>> DriversOf(const std::vector<std::string>& profiles) {
  constexpr uint32_t kMicrosoft = 0x1414;
  DXG_ASSIGN(const auto adapters, LoadAll(profiles, {}));
  std::vector<DriverFolder> drivers;
  drivers.reserve(adapters.size());
  for (const AdapterProfile& adapter : adapters)
    drivers.push_back({adapter.driver().store_directory(), adapter.pci().vendor() != kMicrosoft});
  return drivers;
}

Result<std::unique_ptr<Backend>> CreateInProcessBackendOf(std::vector<ControlRequest::AddAdapter> profiles,
                                                          const std::string& scenario,
                                                          const GuestMachine& guest) {
  if (profiles.empty()) profiles.emplace_back().set_name(kDefaultProfile);
  std::vector<AdapterProfile> adapters;
  for (ControlRequest::AddAdapter& wanted : profiles) {
    if (wanted.scenario().empty()) wanted.set_scenario(scenario);
    DXG_TRY(AddAll(ReadProfiles(wanted), wanted.name(), &adapters));
  }
  return Make(adapters, guest);
}

}  // namespace dxg::hostsim
