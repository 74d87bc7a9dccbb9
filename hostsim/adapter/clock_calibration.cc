#include "hostsim/adapter/clock_calibration.h"

#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {
namespace {

constexpr uint64_t kCpuCounterHz = 10'000'000;  // as QueryPerformanceCounter on today's Windows

}  // namespace

// Both counters come from one look at the clock, so they are as close together as can be.
int32_t Commands::Handle(CommandContext& call, const host::QueryClockCalibration::Request& request,
                         host::QueryClockCalibration::Reply* reply) {
  if (const int32_t status = call.CheckLiveAdapter(); status != kStatusSuccess) return status;
  Adapter& adapter = *call.adapter;
  if (request.adapter() != adapter.info().host_handle || request.node_ordinal() >= adapter.nodes() ||
      request.physical_adapter_index() >= kPhysicalAdapters) {
    return kStatusInvalidParameter;
  }
  const uint64_t frequency_hz = adapter.profile().nodes(static_cast<int>(request.node_ordinal())).clock_hz();
  constexpr uint64_t kPercent = 100;
  const auto changed = call.Strike(FaultPoint::kGpuFrequencyChange, request.node_ordinal());
  if (const auto jump = call.Strike(FaultPoint::kClockJump, request.node_ordinal()))
    adapter.clock_ahead_ns += jump->delay_ns;
  const uint64_t now_ns = call.machine.NowNs() + adapter.clock_ahead_ns;
  reply->set_gpu_frequency(changed ? frequency_hz / kPercent * changed->value : frequency_hz);
  reply->set_gpu_clock_counter(ToTicks(now_ns, frequency_hz));
  reply->set_cpu_clock_counter(ToTicks(now_ns, kCpuCounterHz));
  return kStatusSuccess;
}

}  // namespace dxg::hostsim
