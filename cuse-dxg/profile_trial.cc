#include "cuse-dxg/profile_trial.h"

#include <cerrno>
#include <utility>
#include <vector>

#include "cuse-dxg/guest/nt_status.h"
#include "hostsim/backend/in_process.h"
#include "link/backend.h"
#include "proto/contract/host_commands.gen.h"
#include "proto/dxg/host.pb.h"

namespace dxg {
namespace {

class HostTrial final : public profile::Trial, public BackendEvents {
 public:
  explicit HostTrial(std::unique_ptr<Backend> host) : host_(std::move(host)) {}
  ~HostTrial() override { host_->Stop(); }

  Status Start() { return host_->Start(this); }

  // Each question is one of a process of its own: turns are counted for each.
  Answer Ask(size_t adapter, uint32_t type, const std::string& question) override {
    if (adapter >= adapters_.size()) return {-ENODEV, {}};
    host::CreateProcess::Request create;
    host::CreateProcess::Reply created;
    if (const Status sent = Send(0, 0, create, &created); !sent.ok()) return {sent.value(), {}};
    host::QueryAdapterInfo::Request query;
    host::QueryAdapterInfo::Reply reply;
    query.set_query_type(type);
    query.set_private_data_size(static_cast<uint32_t>(question.size()));
    query.set_private_data(question);
    Status sent = Send(created.process(), adapters_[adapter].address, query, &reply);
    host::DestroyProcess::Request destroy;
    host::DestroyProcess::Reply destroyed;
    (void)Send(created.process(), 0, destroy, &destroyed);
    if (!sent.ok()) return {sent.value(), {}};
    return {guest::FromNtStatus(reply.status(), "QueryAdapterInfo").value(), reply.private_data()};
  }

  // BackendEvents
  void AdapterArrived(const HostAdapter& adapter) override { adapters_.push_back(adapter); }
  void AdapterStopped(uint64_t) override {}
  void AdapterRemoved(uint64_t) override {}
  void DeviceStateChanged(uint64_t) override {}
  void GuestEvent(uint64_t) override {}
  void HostLost() override {}

 private:
  // A host in this process answers these before it returns.
  template <class Request, class Reply>
  Status Send(uint32_t process, uint64_t adapter, const Request& request, Reply* reply) {
    Status transport;
    const HostCall call{contract::FindHostCommand(contract::kHostCommandId<Request>), process, adapter,
                        &request, reply};
    host_->Submit(call,
                  {[](void* context, Status status) { *static_cast<Status*>(context) = std::move(status); },
                   &transport});
    return transport;
  }

  const std::unique_ptr<Backend> host_;
  std::vector<HostAdapter> adapters_;  // all arrive in Start
};

}  // namespace

Result<std::unique_ptr<profile::Trial>> TryProfile(const ControlRequest::AddAdapter& wanted) {
  DXG_ASSIGN(auto host, hostsim::CreateInProcessBackendOf({wanted}));
  auto trial = std::make_unique<HostTrial>(std::move(host));
  DXG_TRY(trial->Start());
  return std::unique_ptr<profile::Trial>(std::move(trial));
}

}  // namespace dxg
