// Questions to an adapter that the host answers: QueryAdapterInfo, QueryClockCalibration, IsFeatureEnabled.
#include <algorithm>
#include <cstring>

#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "proto/contract/forward.gen.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

constexpr uint32_t kQueryAdapterType = 15;
constexpr uint32_t kQueryAdapterTypeRender = 57;

// The guest has its own view of what kind of adapter a virtual GPU is, and puts it over the host's answer.
void EditAdapterType(const Adapter& adapter, std::string* data) {
  constexpr uint32_t kDisplay = 1u << 1, kPost = 1u << 3, kIndirectDisplay = 1u << 6,
                     kParavirtualized = 1u << 7;
  constexpr uint32_t kAcg = 1u << 8, kTimingsFromVidpn = 1u << 9, kComputeOnly = 1u << 11;
  uint32_t type = 0;
  const size_t bytes = std::min(data->size(), sizeof(type));
  std::memcpy(&type, data->data(), bytes);
  type &= ~(kDisplay | kPost | kIndirectDisplay | kAcg | kTimingsFromVidpn | kComputeOnly);
  type |= kParavirtualized;
  if (adapter.info.compute_only) type |= kComputeOnly;
  std::memcpy(data->data(), &type, bytes);
}

}  // namespace

Task QueryAdapterInfo(CallOf<calls::QueryAdapterInfo>& call) {
  const uint32_t size = call.request.private_data_size();
  if (size == 0 || size > kMessageBytesMax) {
    co_return Status::Refuse(EINVAL, "private_data_size is {}; expected 1 to {}", size, kMessageBytesMax);
  }
  DXG_CO_ASSIGN(auto held, call.process->FindAdapter(call.request.adapter()));
  DXG_CO_TRY(CheckActive(*held->adapter));
  DXG_CO_TRY(call.CopyIn(calls::QueryAdapterInfo::In::private_data()));

  host::QueryAdapterInfo::Request request;
  host::QueryAdapterInfo::Reply reply;
  request.set_query_type(call.request.type());
  request.set_private_data_size(size);
  request.mutable_private_data()->swap(*call.request.mutable_private_data());
  Status transport =
      co_await call.driver.host().Ask(*held->adapter, call.process->host_handle, request, &reply);
  request.mutable_private_data()->swap(*call.request.mutable_private_data());
  DXG_CO_TRY(std::move(transport));
  DXG_CO_TRY(FromNtStatus(reply.status(), "QueryAdapterInfo"));

  auto* data = call.reply.mutable_private_data();
  data->swap(*reply.mutable_private_data());
  data->resize(
      size);  // a host that answers with more or less than was asked for does not change what is copied
  if (call.request.type() == kQueryAdapterType || call.request.type() == kQueryAdapterTypeRender) {
    EditAdapterType(*held->adapter, data);
  }
  DXG_CO_TRY(call.CopyOut(calls::QueryAdapterInfo::Out::private_data()));
  co_return Status::Ok();
}

Task QueryClockCalibration(CallOf<calls::QueryClockCalibration>& call) {
  DXG_CO_ASSIGN(auto held, call.process->FindAdapter(call.request.adapter()));
  DXG_CO_TRY(CheckActive(*held->adapter));

  calls::QueryClockCalibration::Reply before;  // what the caller had in the output fields travels along
  call.row.read_reply(call.args(), &before);
  host::QueryClockCalibration::Request request;
  host::QueryClockCalibration::Reply reply;
  calls::ToHost(call.request, &request);
  request.set_adapter(held->adapter->info.host_handle);
  request.set_gpu_frequency(before.gpu_frequency());
  request.set_gpu_clock_counter(before.gpu_clock_counter());
  request.set_cpu_clock_counter(before.cpu_clock_counter());
  request.set_flags(before.flags());
  DXG_CO_TRY(co_await call.driver.host().Ask(*held->adapter, call.process->host_handle, request, &reply));

  calls::FromHost(reply, &call.reply);
  // Written before the status is looked at: a caller gets clock data also with an error.
  constexpr contract::Member kClockData{offsetof(d3dkmt_queryclockcalibration, clock_data),
                                        sizeof(dxgk_gpuclockdata)};
  DXG_CO_TRY(call.OutLate(kClockData));
  co_return FromNtStatus(reply.status(), "QueryClockCalibration");
}

Task IsFeatureEnabled(CallOf<calls::IsFeatureEnabled>& call) {
  DXG_CO_ASSIGN(auto held, call.process->FindAdapter(call.request.adapter()));
  DXG_CO_TRY(CheckActive(*held->adapter));

  host::IsFeatureEnabled::Request request;
  host::IsFeatureEnabled::Reply reply;
  calls::ToHost(call.request, &request);
  DXG_CO_TRY(co_await call.driver.host().Ask(*held->adapter, call.process->host_handle, request, &reply));
  if (reply.status() != 0) co_return FromNtStatus(reply.status(), "IsFeatureEnabled");
  calls::FromHost(reply, &call.reply);
  constexpr contract::Member kResult{offsetof(d3dkmt_isfeatureenabled, result),
                                     sizeof(dxgk_isfeatureenabled_result)};
  // The driver returns the number of bytes it could not write instead of EFAULT.
  if (!call.OutNow(kResult).ok()) co_return Status(kResult.size);
  co_return Status::Ok();
}

}  // namespace dxg::guest::handlers
