// Work: SubmitCommand, SubmitCommandToHwQueue.
#include "cuse-dxg/guest/calls/limits.h"
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

constexpr uint32_t kHistoryBuffersMax = 1024;
constexpr uint32_t kPrimariesMax = 131072;

Status CheckMost(const char* name, uint32_t count, uint32_t max) {
  if (count <= max) return Status::Ok();
  return Status::Refuse(EINVAL, "{} is {}; at most {} are allowed", name, count, max);
}

}  // namespace

Task SubmitCommand(CallOf<calls::SubmitCommand>& call) {
  using In = calls::SubmitCommand::In;
  auto& args = call.request;
  if (args.broadcast_context_count() == 0 || args.broadcast_context_count() > kBroadcastContextsMax) {
    co_return Status::Refuse(EINVAL, "broadcast_context_count is {}; expected 1 to {}",
                             args.broadcast_context_count(), kBroadcastContextsMax);
  }
  DXG_CO_TRY(CheckMost("priv_drv_data_size", args.priv_drv_data_size(), kMessageBytesMax));
  DXG_CO_TRY(CheckMost("num_history_buffers", args.num_history_buffers(), kHistoryBuffersMax));
  DXG_CO_TRY(CheckMost("num_primaries", args.num_primaries(), kPrimariesMax));
  DXG_CO_ASSIGN(auto found, FindContextAndDevice(*call.process, args.broadcast_context(0)));
  DXG_CO_TRY(CheckActive(*found.device->adapter()));
  DXG_CO_TRY(call.CopyIn({&In::history_buffers(), &In::priv_drv_data()}));
  host::SubmitCommand::Request request;
  host::SubmitCommand::Reply reply;
  request.set_command_buffer(args.command_buffer());
  request.set_command_length(args.command_length());
  request.set_flags(args.flags());
  request.set_present_history_token(args.present_history_token());
  request.set_broadcast_context_count(args.broadcast_context_count());
  request.mutable_broadcast_context()->CopyFrom(args.broadcast_context());
  request.set_priv_drv_data_size(args.priv_drv_data_size());
  request.set_num_primaries(args.num_primaries());
  request.mutable_written_primaries()->CopyFrom(args.written_primaries());
  request.set_num_history_buffers(args.num_history_buffers());
  request.mutable_history_buffers()->CopyFrom(args.history_buffers());
  request.set_priv_drv_data(args.priv_drv_data());
  DXG_CO_TRY(
      co_await call.driver.host().Ask(*found.device->adapter(), call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "SubmitCommand");
}

Task SubmitCommandToHwQueue(CallOf<calls::SubmitCommandToHwQueue>& call) {
  using In = calls::SubmitCommandToHwQueue::In;
  auto& args = call.request;
  DXG_CO_TRY(CheckMost("priv_drv_data_size", args.priv_drv_data_size(), kMessageBytesMax));
  DXG_CO_TRY(CheckMost("num_primaries", args.num_primaries(), kPrimariesMax));
  DXG_CO_ASSIGN(auto found, FindHwQueueAndDevice(*call.process, args.hwqueue()));
  DXG_CO_TRY(CheckActive(*found.device->adapter()));
  DXG_CO_TRY(call.CopyIn({&In::written_primaries(), &In::priv_drv_data()}));
  host::SubmitCommandToHwQueue::Request request;
  host::SubmitCommandToHwQueue::Reply reply;
  request.set_hwqueue(args.hwqueue());
  request.set_progress_fence_id(args.hwqueue_progress_fence_id());
  request.set_command_buffer(args.command_buffer());
  request.set_command_length(args.command_length());
  request.set_priv_drv_data_size(args.priv_drv_data_size());
  request.set_num_primaries(args.num_primaries());
  request.mutable_written_primaries()->CopyFrom(args.written_primaries());
  request.set_priv_drv_data(args.priv_drv_data());
  DXG_CO_TRY(
      co_await call.driver.host().Ask(*found.device->adapter(), call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "SubmitCommandToHwQueue");
}

}  // namespace dxg::guest::handlers
