#include "hostsim/backend/control.h"

#include <fmt/format.h>

#include "hostsim/adapter/profile.h"
#include "hostsim/machine/faults.h"

namespace dxg::hostsim {
namespace {

const FaultPointInfo* FindPoint(const std::string& name) {
  for (const FaultPointInfo& info : FaultPoints()) {
    if (name == info.name) return &info;
  }
  return nullptr;
}

void AddOptions(uint32_t takes, ControlReply::Point* point) {
  const struct {
    uint32_t bit;
    const char* field;
  } fields[] = {
      {kTakesProcess, "process"}, {kTakesAdapter, "adapter"}, {kTakesNode, "node"},
      {kTakesCommand, "command"}, {kTakesType, "type"},       {kTakesDelay, "delay_ns"},
      {kTakesValue, "value"},
  };
  for (const auto& field : fields) {
    if ((takes & field.bit) != 0) point->add_options(field.field);
  }
}

void Describe(const AdapterInfo& info, ControlReply* reply) {
  ControlReply::Adapter* adapter = reply->add_adapters();
  adapter->set_luid(info.luid);
  adapter->set_profile(info.name);
  adapter->set_description(info.description);
}

}  // namespace

void InProcessControl::Serve(const ControlRequest& request, ControlReply* reply) {
  switch (request.request_case()) {
    case ControlRequest::kSetFault:
      return SetFault(request.set_fault(), reply);
    case ControlRequest::kListFaults:
      return ListFaults(reply);
    case ControlRequest::kClearFaults:
      return ClearFaults(request.clear_faults().point(), reply);
    case ControlRequest::kListAdapters:
      return ListAdapters(reply);
    case ControlRequest::kAddAdapter:
      return AddAdapter(request.add_adapter(), reply);
    case ControlRequest::kRemoveAdapter:
      return RemoveAdapter(request.remove_adapter().luid(), reply);
    case ControlRequest::kStatus:
      return Account(reply);
    case ControlRequest::kReport:
      return host_.fidelity().AddTo(reply);
    case ControlRequest::kLive:
      return host_.AddTo(request.live(), reply->mutable_live());
    case ControlRequest::REQUEST_NOT_SET:
      break;
  }
  reply->set_error(
      "the request asks for nothing that this daemon knows; use the cuse-dxg that it was built with");
}

void InProcessControl::SetFault(const FaultRule& rule, ControlReply* reply) {
  if (const auto complaint = host_.ArmFault(rule))
    reply->set_error(fmt::format("{}: {}", complaint->field, complaint->what));
}

void InProcessControl::ListFaults(ControlReply* reply) {
  for (const FaultPointInfo& info : FaultPoints()) {
    ControlReply::Point* point = reply->add_points();
    point->set_number(info.number);
    point->set_name(info.name);
    point->set_passage(info.passage);
    point->set_effect(info.effect);
    AddOptions(info.takes, point);
    const FaultCount count = host_.faults().Count(info.point);
    point->set_passed(count.passed);
    point->set_struck(count.struck);
  }
  for (const ArmedFault& armed : host_.faults().Armed()) {
    const FaultPointInfo* info = FindPoint(armed.rule.point());
    if (!info) continue;
    ControlReply::Rule* rule = reply->mutable_points(static_cast<int>(info->point))->add_rules();
    *rule->mutable_rule() = armed.rule;
    rule->set_passed(armed.passed);
    rule->set_struck(armed.struck);
    rule->set_spent(armed.spent);
  }
}

void InProcessControl::ClearFaults(const std::string& point, ControlReply* reply) {
  if (point.empty()) return reply->set_cleared(host_.faults().ClearAll());
  const FaultPointInfo* info = FindPoint(point);
  if (!info)
    return reply->set_error(
        fmt::format("point: '{}' is no fault point; `cuse-dxg ctl fault list` names them", point));
  reply->set_cleared(host_.faults().Clear(info->point));
}

void InProcessControl::ListAdapters(ControlReply* reply) {
  for (const AdapterInfo& info : host_.Adapters()) Describe(info, reply);
}

void InProcessControl::AddAdapter(const ControlRequest::AddAdapter& request, ControlReply* reply) {
  // Only profiles that are built in go by name: a file's text comes from who asks, with that one's rights.
  auto profiles = ReadProfiles(request);
  if (!profiles.ok()) return reply->set_error(profiles.status().why());
  for (const AdapterProfile& profile : *profiles) {
    AdapterInfo info;
    if (!host_.AddAdapter(profile, &info))
      return reply->set_error(
          fmt::format("there are {} adapters, which is the most; remove one", kAdaptersMax));
    Describe(info, reply);
  }
}

void InProcessControl::RemoveAdapter(uint64_t luid, ControlReply* reply) {
  for (const AdapterInfo& info : host_.Adapters()) {
    if (info.luid == luid && host_.RemoveAdapter(info.address)) return;
  }
  reply->set_error(fmt::format("no adapter has the LUID {:08x}-{:08x}; `cuse-dxg ctl adapters` names them",
                               luid >> 32, luid & 0xFFFFFFFF));
}

void InProcessControl::Account(ControlReply* reply) {
  const Accounting all = host_.Account();
  // A metric in bytes ends in "_bytes".
  auto add = [reply](const char* name, const char* metric, uint64_t value) {
    ControlReply::Count* count = reply->add_counts();
    count->set_name(name);
    count->set_metric(metric);
    count->set_value(value);
    return count;
  };
  add("adapters", "adapters", all.adapters);
  add("processes", "processes", all.processes);
  add("devices", "devices", all.devices);
  add("contexts", "contexts", all.contexts);
  add("resources", "resources", all.resources);
  add("allocations", "allocations", all.allocations);
  add("memory of allocations", "storages", all.storages);
  add("ranges of GPU addresses", "gpu_ranges", all.mappings);
  add("paging queues", "paging_queues", all.paging_queues);
  add("synchronization objects", "sync_objects", all.sync_objects);
  add("waits", "waits", all.waits);
  add("shared handles", "shared_handles", all.shared);
  add("regions of the window", "window_regions", all.regions);
  add("bytes of the window", "window_bytes", all.window_bytes);
  add("bytes of this machine", "machine_bytes", all.machine_bytes);
  add("lost accesses to client pages", "lost_accesses", all.lost_accesses)->set_only_grows(true);
  add("armed faults", "armed_faults", host_.faults().armed_count());
}

}  // namespace dxg::hostsim
