#include "cuse-dxg/backend/in_process.h"

#include <atomic>
#include <map>
#include <mutex>
#include <random>

#include "hostsim/host.h"
#include "hostsim/profile.h"

namespace dxg {
namespace {

HostAdapter ToGuest(const hostsim::AdapterInfo& info) {
  HostAdapter adapter;
  adapter.luid = info.guest_luid;
  adapter.host_luid = info.host_luid;
  adapter.address = info.vgpu_luid;
  adapter.host_handle = info.host_handle;
  adapter.interface_version = info.interface_version;
  adapter.compute_only = info.compute_only;
  adapter.async_messages = info.async_messages;
  return adapter;
}

std::optional<HostRegion> ToGuest(const std::optional<hostsim::RegionInfo>& info) {
  if (!info) return std::nullopt;
  HostRegion region;
  region.window_address = info->window_start;
  region.size = info->bytes;
  region.file = info->file->number();
  region.keep = info->file;
  region.cookie = info->cookie;
  return region;
}

// The clients' pages that the host was given, by the number of their list.
class PageLists final : public hostsim::GuestMemory {
 public:
  uint32_t Add(std::shared_ptr<ClientPages> pages) {
    std::lock_guard lock(mutex_);
    while (lists_.contains(++last_) || last_ == 0) {
    }
    lists_[last_] = std::move(pages);
    return last_;
  }
  void Remove(uint32_t list) {
    std::lock_guard lock(mutex_);
    lists_.erase(list);
  }

  // hostsim::GuestMemory
  bool Read(uint32_t list, uint64_t offset, hostsim::Bytes bytes) override {
    const auto pages = Find(list);
    return pages != nullptr && pages->Read(offset, std::as_writable_bytes(bytes));
  }
  bool Write(uint32_t list, uint64_t offset, hostsim::ConstBytes bytes) override {
    const auto pages = Find(list);
    return pages != nullptr && pages->Write(offset, std::as_bytes(bytes));
  }
  uint64_t Size(uint32_t list) override {
    const auto pages = Find(list);
    return pages != nullptr ? pages->size() : 0;
  }

 private:
  std::shared_ptr<ClientPages> Find(uint32_t list) {
    std::lock_guard lock(mutex_);
    const auto found = lists_.find(list);
    return found == lists_.end() ? nullptr : found->second;
  }

  std::mutex mutex_;  // guards all below
  std::map<uint32_t, std::shared_ptr<ClientPages>> lists_;
  uint32_t last_ = 0;
};

class InProcessBackend final : public Backend, public hostsim::Events {
 public:
  explicit InProcessBackend(const std::vector<AdapterProfile>& profiles)
      : host_(hostsim::Host::Create({clock_, hostsim::Rng(std::random_device{}()), nullptr, &pages_, true}, profiles)) {}
  ~InProcessBackend() override { Stop(); }

  void Stop() override {
    if (stopped_.exchange(true)) return;
    host_->SetEvents(nullptr);
    host_->End();  // the host itself stays: a completion on the clock's thread may be about to submit to it
  }

  Status Start(BackendEvents* events) override {
    events_ = events;
    for (const auto& info : host_->Adapters()) {
      known_.push_back({info.vgpu_luid, info.guest_luid});
      events_->AdapterArrived(ToGuest(info));
    }
    host_->SetEvents(this);
    return Status::Ok();
  }

  void Submit(const HostCall& call, Completion completion) override {
    if (stopped_) return completion.run(completion.context, Status::Refuse(ENODEV, "the device is being taken down"));
    host_->Submit({call.process, call.adapter, call.asynchronous}, call.command->id, *call.request, call.reply, [completion, call](bool accepted) {
      if (call.asynchronous) return Forget(call, completion);
      completion.run(completion.context, accepted ? Status::Ok() : Status::Refuse(EOVERFLOW, "the host answered with less than a whole reply, its way to refuse this command"));
    });
  }

  std::optional<HostRegion> FindRegion(uint64_t window_address) override {
    if (stopped_) return std::nullopt;
    return ToGuest(host_->FindRegion(window_address));
  }
  std::optional<HostRegion> HomeRegion(uint32_t process) override {
    if (stopped_) return std::nullopt;
    return ToGuest(host_->HomeRegion(process));
  }
  std::optional<HostRegion> FindShared(uint32_t nt_handle, uint32_t allocation_index) override {
    if (stopped_) return std::nullopt;
    return ToGuest(host_->FindShared(nt_handle, allocation_index));
  }
  Result<uint32_t> AddClientPages(std::shared_ptr<ClientPages> pages) override { return pages_.Add(std::move(pages)); }
  void RemoveClientPages(uint32_t list) override { pages_.Remove(list); }

  // hostsim::Events
  void GuestEvent(uint32_t, uint64_t event) override { events_->GuestEvent(event); }
  void DeviceStateChanged(uint32_t, uint64_t, uint64_t, uint32_t) override { events_->DeviceStateChanged(); }
  void AdapterArrived(const hostsim::AdapterInfo& info) override {
    {
      std::lock_guard lock(mutex_);
      known_.push_back({info.vgpu_luid, info.guest_luid});
    }
    events_->AdapterArrived(ToGuest(info));
  }
  void AdapterRemoved(uint64_t vgpu_luid) override {
    uint64_t luid = 0;
    {
      std::lock_guard lock(mutex_);
      for (const auto& adapter : known_) {
        if (adapter.vgpu_luid == vgpu_luid) luid = adapter.guest_luid;
      }
    }
    events_->AdapterRemoved(luid);
  }

 private:
  static void Forget(const HostCall& call, Completion completion) {
    call.reply->Clear();
    completion.run(completion.context, Status::Ok());
  }

  struct Known {
    uint64_t vgpu_luid, guest_luid;
  };

  hostsim::RealClock clock_;
  PageLists pages_;
  std::unique_ptr<hostsim::Host> host_;
  BackendEvents* events_ = nullptr;
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;  // guards known_
  std::vector<Known> known_;
};

}  // namespace

Result<std::unique_ptr<Backend>> CreateInProcessBackend(const std::vector<std::string>& profiles) {
  std::vector<AdapterProfile> adapters;
  for (const auto& name : profiles.empty() ? std::vector<std::string>{"discrete"} : profiles) {
    std::string error;
    adapters.emplace_back();
    if (!hostsim::LoadProfile(name, &adapters.back(), &error)) return Status::Refuse(EINVAL, "--profile {}: {}", name, error);
  }
  return std::unique_ptr<Backend>(std::make_unique<InProcessBackend>(adapters));
}

}  // namespace dxg
