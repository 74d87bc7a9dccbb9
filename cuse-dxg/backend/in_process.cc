#include "cuse-dxg/backend/in_process.h"

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
  return adapter;
}

class InProcessBackend final : public Backend, public hostsim::Events {
 public:
  explicit InProcessBackend(const std::vector<AdapterProfile>& profiles)
      : host_(hostsim::Host::Create({clock_, hostsim::Rng(std::random_device{}())}, profiles)) {}
  ~InProcessBackend() override { host_->SetEvents(nullptr); }

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
    host_->Submit({call.process, call.adapter}, call.command->id, *call.request, call.reply, [completion](bool accepted) {
      completion.run(completion.context, accepted ? Status::Ok() : Status::Refuse(EOVERFLOW, "the host answered with less than a whole reply, its way to refuse this command"));
    });
  }

  // hostsim::Events
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
  struct Known {
    uint64_t vgpu_luid, guest_luid;
  };

  hostsim::RealClock clock_;
  std::unique_ptr<hostsim::Host> host_;
  BackendEvents* events_ = nullptr;
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
