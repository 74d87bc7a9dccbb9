#include "hostsim/adapter/performance.h"

#include "hostsim/machine/utf16.h"

namespace dxg::hostsim {
namespace {

constexpr uint64_t kPeriodNs = 8'000'000'000;
constexpr uint64_t kPhaseNs = 1'300'000'000;  // between one number and the next
constexpr uint64_t kPercent = 100;
constexpr size_t kVersionFieldUnits = 32;

// Goes from `low_percent` of `high` up to `high` and back, in a straight line, once a period.
uint64_t Wave(uint64_t now_ns, uint64_t phase, uint64_t high, uint64_t low_percent) {
  const uint64_t at = (now_ns + phase * kPhaseNs) % kPeriodNs;
  const uint64_t half = kPeriodNs / 2;
  const uint64_t rise = at < half ? at : kPeriodNs - at;
  const uint64_t percent = low_percent + (kPercent - low_percent) * rise / half;
  return high / kPercent * percent;
}

}  // namespace

void PutNodePerfData(const Adapter& adapter, uint32_t node, uint64_t now_ns, Bytes data) {
  const AdapterProfile& profile = adapter.profile();
  const uint64_t frequency_hz = profile.nodes(static_cast<int>(node)).frequency_hz();
  const uint32_t voltage_mv = profile.performance().voltage_mv();
  constexpr uint64_t kTransitionLatency100Ns = 1000;
  Put<uint32_t>(data, 0, node);
  Put<uint32_t>(data, 4, 0);
  Put<uint64_t>(data, 8, Wave(now_ns, node, frequency_hz, 40));
  Put<uint64_t>(data, 16, frequency_hz);
  Put<uint64_t>(data, 24, frequency_hz);
  Put<uint32_t>(data, 32, static_cast<uint32_t>(Wave(now_ns, node, voltage_mv, 70)));
  Put<uint32_t>(data, 36, voltage_mv);
  Put<uint32_t>(data, 40, voltage_mv);
  Put<uint32_t>(data, 44, 0);
  Put<uint64_t>(data, 48, kTransitionLatency100Ns);
}

void PutAdapterPerfData(const Adapter& adapter, uint64_t now_ns, Bytes data) {
  const AdapterProfile::Performance& performance = adapter.profile().performance();
  constexpr uint64_t kFullPower = 1000;  // tenths of a percent
  Put<uint64_t>(data, 0, 0);
  Put<uint64_t>(data, 8, Wave(now_ns, 1, performance.memory_frequency_hz(), 50));
  Put<uint64_t>(data, 16, performance.memory_frequency_hz());
  Put<uint64_t>(data, 24, performance.memory_frequency_hz());
  Put<uint64_t>(data, 32, Wave(now_ns, 2, performance.memory_bytes_per_second(), 0));
  Put<uint64_t>(data, 40, Wave(now_ns, 3, performance.pcie_bytes_per_second(), 0));
  Put<uint32_t>(data, 48, static_cast<uint32_t>(Wave(now_ns, 4, performance.fan_rpm(), 30)));
  Put<uint32_t>(data, 52, static_cast<uint32_t>(Wave(now_ns, 5, kFullPower, 10)));
  Put<uint32_t>(data, 56,
                static_cast<uint32_t>(Wave(now_ns, 6, performance.temperature_warning_decicelsius(), 50)));
  Put<uint32_t>(data, 60, 0);  // PowerStateOverride and padding
}

void PutAdapterPerfCaps(const Adapter& adapter, Bytes data) {
  const AdapterProfile::Performance& performance = adapter.profile().performance();
  Put<uint64_t>(data, 0, 0);
  Put<uint64_t>(data, 8, performance.memory_bytes_per_second());
  Put<uint64_t>(data, 16, performance.pcie_bytes_per_second());
  Put<uint32_t>(data, 24, performance.fan_rpm());
  Put<uint32_t>(data, 28, performance.temperature_max_decicelsius());
  Put<uint32_t>(data, 32, performance.temperature_warning_decicelsius());
  Put<uint32_t>(data, 36, 0);
}

void PutGpuVersion(const Adapter& adapter, Bytes data) {
  const AdapterProfile::Strings& strings = adapter.profile().strings();
  Put<uint32_t>(data, 0, 0);
  PutUtf16(data, 4, kVersionFieldUnits, strings.bios());
  PutUtf16(data, 68, kVersionFieldUnits, strings.architecture());
}

}  // namespace dxg::hostsim
