#pragma once

#include "base/status.h"
#include "hostsim/machine/host.h"
#include "link/host_control.h"

namespace dxg::hostsim {

// What a control socket can do to the simulated host.
class InProcessControl final : public HostControl {
 public:
  explicit InProcessControl(Host& host) : host_(host) {}
  void Serve(const ControlRequest& request, ControlReply* reply) override;

 private:
  void SetFault(const FaultRule& rule, ControlReply* reply);
  void ListFaults(ControlReply* reply);
  void ClearFaults(const std::string& point, ControlReply* reply);
  void ListAdapters(ControlReply* reply);
  void AddAdapter(const ControlRequest::AddAdapter& request, ControlReply* reply);
  void RemoveAdapter(uint64_t luid, ControlReply* reply);
  void Account(ControlReply* reply);

  Host& host_;
};

}  // namespace dxg::hostsim
