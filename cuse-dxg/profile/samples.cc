#include "cuse-dxg/profile/samples.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/page.h"
#include "proto/contract/calls.gen.h"

namespace dxg::profile {

const std::string* AdapterSeen::Find(uint32_t type, size_t bytes, const std::string& input) const {
  const std::string* found = nullptr;
  for (const auto& [key, all] : queries) {
    if (key.first != type || key.second < bytes) continue;
    for (const Asked& asked : all) {
      if (asked.result >= 0 && asked.question.starts_with(input)) found = &asked.answer;
    }
  }
  return found;
}

AdapterSeen* Samples::Adapter(uint64_t luid) {
  for (AdapterSeen& adapter : adapters_) {
    if (adapter.luid == luid) return &adapter;
  }
  if (adapters_.size() == kAdaptersMax) return nullptr;
  adapters_.emplace_back().luid = luid;
  return &adapters_.back();
}

bool Samples::Fits(size_t bytes) {
  if (bytes > kBytesMax - bytes_) {
    ++left_out_;
    return false;
  }
  bytes_ += bytes;
  return true;
}

void Samples::AddQuery(uint64_t luid, uint32_t type, Asked asked) {
  if (asked.result >= 0) asked.answer.resize(asked.question.size());
  AdapterSeen* const adapter = Adapter(luid);
  if (adapter == nullptr) return;
  std::vector<Asked>& all = adapter->queries[{type, static_cast<uint32_t>(asked.question.size())}];
  const auto last = std::find_if(all.rbegin(), all.rend(), [&](const Asked& before) {
    return before.process == asked.process && before.question == asked.question;
  });
  if (last != all.rend() && last->result == asked.result && last->answer == asked.answer) {
    ++last->times;
    return;
  }
  if (all.size() >= kAskedMax) {
    ++left_out_;
  } else if (Fits(asked.question.size() + asked.answer.size())) {
    all.push_back(std::move(asked));
  }
}

void Samples::Enter(std::map<Handle, uint64_t>* table, const TraceRecord& record, uint32_t handle,
                    uint64_t luid) {
  constexpr size_t kEntryBytes = 64;
  if (Adapter(luid) != nullptr && Fits(kEntryBytes)) (*table)[{record.pid(), handle}] = luid;
}

AdapterSeen* Samples::Of(const std::map<Handle, uint64_t>& table, const TraceRecord& record,
                         uint32_t handle) {
  const auto found = table.find({record.pid(), handle});
  return found == table.end() ? nullptr : Adapter(found->second);
}

void Samples::Keep(std::vector<Given>* list, const TraceRecord& record, const std::string& before,
                   const std::string& after) {
  const bool known = std::any_of(list->begin(), list->end(), [&](const Given& given) {
    return given.before == before && given.after == after && given.result == record.result();
  });
  if (known) return;
  if (list->size() >= kGivenMax) {
    ++left_out_;
  } else if (Fits(before.size() + after.size())) {
    list->push_back({before, after, record.result()});
  }
}

// -- Each call that says something of an adapter.

template <>
void Samples::Take<calls::OpenAdapterFromLuid>(const TraceRecord& record,
                                               const OpenAdapterFromLuid::Request& request,
                                               const OpenAdapterFromLuid::Reply& reply) {
  if (record.result() < 0) return;
  Enter(&opened_, record, reply.adapter_handle(), request.adapter_luid());
}

template <>
void Samples::Take<calls::EnumAdapters2>(const TraceRecord& record, const EnumAdapters2::Request&,
                                         const EnumAdapters2::Reply& reply) {
  if (record.result() < 0) return;
  for (const AdapterInfo& info : reply.adapters())
    Enter(&opened_, record, info.adapter_handle(), info.adapter_luid());
}

template <>
void Samples::Take<calls::EnumAdapters3>(const TraceRecord& record, const EnumAdapters3::Request&,
                                         const EnumAdapters3::Reply& reply) {
  if (record.result() < 0) return;
  for (const AdapterInfo& info : reply.adapters())
    Enter(&opened_, record, info.adapter_handle(), info.adapter_luid());
}

template <>
void Samples::Take<calls::CloseAdapter>(const TraceRecord& record, const CloseAdapter::Request& request,
                                        const CloseAdapter::Reply&) {
  if (record.result() >= 0) opened_.erase({record.pid(), request.adapter_handle()});
}

// A refusal without the question's bytes is the guest's: it was refused before the host heard of it.
template <>
void Samples::Take<calls::QueryAdapterInfo>(const TraceRecord& record,
                                            const QueryAdapterInfo::Request& request,
                                            const QueryAdapterInfo::Reply& reply) {
  const AdapterSeen* const adapter = Of(opened_, record, request.adapter());
  const size_t bytes = request.private_data().size();
  if (adapter == nullptr || bytes == 0 || bytes != request.private_data_size()) return;
  if (record.result() >= 0 && reply.private_data().size() != bytes) return;
  AddQuery(adapter->luid, request.type(),
           {record.pid(), record.result(), request.private_data(), reply.private_data()});
}

template <>
void Samples::Take<calls::QueryVideoMemoryInfo>(const TraceRecord& record,
                                                const QueryVideoMemoryInfo::Request& request,
                                                const QueryVideoMemoryInfo::Reply& reply) {
  AdapterSeen* const adapter = Of(opened_, record, request.adapter());
  const uint32_t group = request.memory_segment_group();
  if (adapter == nullptr || record.result() < 0 || group >= std::size(adapter->budget_bytes)) return;
  std::optional<uint64_t>& budget = adapter->budget_bytes[group];
  budget = std::max(budget.value_or(0), reply.budget());
}

template <>
void Samples::Take<calls::QueryClockCalibration>(const TraceRecord& record,
                                                 const QueryClockCalibration::Request& request,
                                                 const QueryClockCalibration::Reply& reply) {
  AdapterSeen* const adapter = Of(opened_, record, request.adapter());
  if (adapter == nullptr || record.result() < 0 || request.node_ordinal() >= AdapterSeen::kNodesMax) return;
  adapter->clock_hz[request.node_ordinal()] = reply.gpu_frequency();
  adapter->nodes_used = std::max(adapter->nodes_used, request.node_ordinal() + 1);
}

template <>
void Samples::Take<calls::IsFeatureEnabled>(const TraceRecord& record,
                                            const IsFeatureEnabled::Request& request,
                                            const IsFeatureEnabled::Reply& reply) {
  AdapterSeen* const adapter = Of(opened_, record, request.adapter());
  if (adapter == nullptr) return;
  if (record.result() == 0) {
    adapter->features[request.feature_id()] = {reply.version(), reply.value()};
  } else {
    adapter->features_refused = true;
  }
}

template <>
void Samples::Take<calls::Escape>(const TraceRecord& record, const Escape::Request& request,
                                  const Escape::Reply& reply) {
  AdapterSeen* const adapter = Of(opened_, record, request.adapter());
  if (adapter != nullptr && request.type() == 0 && !request.priv_drv_data().empty())  // of the driver's own
    Keep(&adapter->escapes, record, request.priv_drv_data(), reply.priv_drv_data());
}

template <>
void Samples::Take<calls::CreateDevice>(const TraceRecord& record, const CreateDevice::Request& request,
                                        const CreateDevice::Reply& reply) {
  const AdapterSeen* const adapter = Of(opened_, record, request.adapter());
  if (adapter != nullptr && record.result() >= 0) Enter(&devices_, record, reply.device(), adapter->luid);
}

template <>
void Samples::Take<calls::CreateContextVirtual>(const TraceRecord& record,
                                                const CreateContextVirtual::Request& request,
                                                const CreateContextVirtual::Reply& reply) {
  AdapterSeen* const adapter = Of(devices_, record, request.device());
  if (adapter == nullptr || record.result() < 0) return;
  Enter(&contexts_, record, reply.context(), adapter->luid);
  if (request.node_ordinal() < AdapterSeen::kNodesMax)
    adapter->nodes_used = std::max(adapter->nodes_used, request.node_ordinal() + 1);
  Keep(&adapter->contexts, record, request.priv_drv_data(), reply.priv_drv_data());
}

template <>
void Samples::Take<calls::CreateHwQueue>(const TraceRecord& record, const CreateHwQueue::Request& request,
                                         const CreateHwQueue::Reply& reply) {
  AdapterSeen* const adapter = Of(contexts_, record, request.context());
  if (adapter == nullptr || record.result() < 0) return;
  Enter(&hw_queues_, record, reply.queue(), adapter->luid);
  adapter->has_hw_queues = true;
  Keep(&adapter->hw_queues, record, request.priv_drv_data(), reply.priv_drv_data());
}

template <>
void Samples::Take<calls::CreateAllocation>(const TraceRecord& record,
                                            const CreateAllocation::Request& request,
                                            const CreateAllocation::Reply& reply) {
  AdapterSeen* const adapter = Of(devices_, record, request.device());
  if (adapter == nullptr || record.result() != 0) return;
  for (int i = 0; i < request.allocation_info_size() && i < reply.allocation_info_size(); ++i) {
    const AllocationInfo2& asked = request.allocation_info(i);
    const AllocationInfo2& made = reply.allocation_info(i);
    // A driver may give back less than it was given.
    std::string after = made.priv_drv_data();
    if (after.size() < asked.priv_drv_data().size()) after += asked.priv_drv_data().substr(after.size());
    const size_t bytes = 2 * after.size();
    if (asked.priv_drv_data().empty() || asked.has_sysmem()) continue;
    if (adapter->allocations.size() >= kGivenMax) {
      ++left_out_;
    } else if (Fits(bytes)) {
      allocations_[{record.pid(), made.allocation()}] = {adapter->luid, adapter->allocations.size()};
      adapter->allocations.push_back({asked.priv_drv_data(), std::move(after), record.result()});
    }
  }
}

template <>
void Samples::Take<calls::MapGpuVirtualAddress>(const TraceRecord& record,
                                                const MapGpuVirtualAddress::Request& request,
                                                const MapGpuVirtualAddress::Reply&) {
  const auto found = allocations_.find({record.pid(), request.allocation()});
  if (found == allocations_.end() || record.result() < 0) return;
  constexpr uint64_t kPagesMax = UINT64_MAX / kPageBytes / 2;
  if (request.offset_in_pages() > kPagesMax || request.size_in_pages() > kPagesMax) return;
  const uint64_t end = (request.offset_in_pages() + request.size_in_pages()) * kPageBytes;
  Given& given = Adapter(found->second.first)->allocations[found->second.second];
  given.mapped_bytes = std::max(given.mapped_bytes, end);
}

template <>
void Samples::Take<calls::SubmitCommand>(const TraceRecord& record, const SubmitCommand::Request& request,
                                         const SubmitCommand::Reply&) {
  const uint32_t context = request.broadcast_context_size() != 0 ? request.broadcast_context(0) : 0;
  AdapterSeen* const adapter = Of(contexts_, record, context);
  if (adapter != nullptr && adapter->submission_bytes.size() < kGivenMax)
    adapter->submission_bytes.insert(request.priv_drv_data().size());
}

template <>
void Samples::Take<calls::SubmitCommandToHwQueue>(const TraceRecord& record,
                                                  const SubmitCommandToHwQueue::Request& request,
                                                  const SubmitCommandToHwQueue::Reply&) {
  AdapterSeen* const adapter = Of(hw_queues_, record, request.hwqueue());
  if (adapter != nullptr && adapter->submission_bytes.size() < kGivenMax)
    adapter->submission_bytes.insert(request.priv_drv_data().size());
}

template <class Call>
Status Samples::Read(const TraceRecord& record) {
  typename Call::Request request;
  typename Call::Reply reply;
  if (!request.ParseFromString(record.call().request()) || !reply.ParseFromString(record.call().reply()))
    return Status::Refuse(EINVAL, "{}: what was recorded of it is damaged", Call::Row().name);
  Take<Call>(record, request, reply);
  return Status::Ok();
}

Status Samples::Add(const TraceRecord& record) {
  if (record.has_adapter()) {
    const TraceAdapter& change = record.adapter();
    if (change.change() != TraceAdapter::ARRIVED) return Status::Ok();
    if (AdapterSeen* const adapter = Adapter(change.luid())) {
      adapter->compute_only = change.compute_only();
      adapter->interface_version = change.interface_version();
    }
    return Status::Ok();
  }
  if (!record.has_call() || record.call().inherited()) return Status::Ok();
  switch (record.call().code()) {
#define DXG_READ(name)     \
  case calls::name::kCode: \
    return Read<calls::name>(record);
    DXG_READ(OpenAdapterFromLuid)
    DXG_READ(EnumAdapters2)
    DXG_READ(EnumAdapters3)
    DXG_READ(CloseAdapter)
    DXG_READ(QueryAdapterInfo)
    DXG_READ(QueryVideoMemoryInfo)
    DXG_READ(QueryClockCalibration)
    DXG_READ(IsFeatureEnabled)
    DXG_READ(Escape)
    DXG_READ(CreateDevice)
    DXG_READ(CreateContextVirtual)
    DXG_READ(CreateHwQueue)
    DXG_READ(CreateAllocation)
    DXG_READ(MapGpuVirtualAddress)
    DXG_READ(SubmitCommand)
    DXG_READ(SubmitCommandToHwQueue)
#undef DXG_READ
    default:
      return Status::Ok();
  }
}

}  // namespace dxg::profile
