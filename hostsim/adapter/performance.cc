#include "hostsim/adapter/performance.h"

#include <algorithm>

#include "hostsim/machine/recent_amount.h"
#include "hostsim/machine/utf16.h"
#include "hostsim/work/engine.h"

namespace dxg::hostsim {
namespace {

constexpr uint64_t kWhole = 1000;  // of a load
constexpr size_t kVersionFieldUnits = 32;

// Of an idle GPU, in percent of the end.
constexpr uint64_t kIdleClock = 40;
constexpr uint64_t kIdleVoltage = 70;
constexpr uint64_t kIdleMemoryClock = 50;
constexpr uint64_t kIdleFan = 30;
constexpr uint64_t kIdlePower = 10;
constexpr uint64_t kIdleTemperature = 50;

// From `idle_percent` of `high` without load up to `high` at full load, in a straight line.
uint64_t Between(uint64_t idle_percent, uint64_t high, uint32_t load) {
  constexpr uint64_t kPercent = 100;
  constexpr uint64_t kParts = kPercent * kWhole;
  const uint64_t parts = idle_percent * kWhole + (kPercent - idle_percent) * load;
  return high / kParts * parts + high % kParts * parts / kParts;
}

}  // namespace

void PutNodePerfData(const Adapter& adapter, uint32_t node, Bytes data) {
  const AdapterProfile& profile = adapter.profile();
  const uint64_t frequency_hz = profile.nodes(static_cast<int>(node)).frequency_hz();
  const uint32_t voltage_mv = profile.performance().voltage_mv();
  const uint32_t load = adapter.engines().Load(node, RecentAmount::kShort);
  constexpr uint64_t kTransitionLatency100Ns = 1000;
  Put<uint32_t>(data, 0, node);
  Put<uint32_t>(data, 4, 0);
  Put<uint64_t>(data, 8, Between(kIdleClock, frequency_hz, load));
  Put<uint64_t>(data, 16, frequency_hz);
  Put<uint64_t>(data, 24, frequency_hz);
  Put<uint32_t>(data, 32, static_cast<uint32_t>(Between(kIdleVoltage, voltage_mv, load)));
  Put<uint32_t>(data, 36, voltage_mv);
  Put<uint32_t>(data, 40, voltage_mv);
  Put<uint32_t>(data, 44, 0);
  Put<uint64_t>(data, 48, kTransitionLatency100Ns);
}

// Clocks and power follow at once, temperature and fan slowly.
void PutAdapterPerfData(const Adapter& adapter, Bytes data) {
  const AdapterProfile::Performance& performance = adapter.profile().performance();
  const uint32_t load = adapter.engines().Load(RecentAmount::kShort);
  const uint32_t warm = adapter.engines().Load(RecentAmount::kLong);
  constexpr uint64_t kFullPower = 1000;  // tenths of a percent
  Put<uint64_t>(data, 0, 0);
  Put<uint64_t>(data, 8, Between(kIdleMemoryClock, performance.memory_frequency_hz(), load));
  Put<uint64_t>(data, 16, performance.memory_frequency_hz());
  Put<uint64_t>(data, 24, performance.memory_frequency_hz());
  Put<uint64_t>(data, 32,
                std::min(adapter.engines().BytesPerSecond(), performance.memory_bytes_per_second()));
  Put<uint64_t>(data, 40, std::min(adapter.paging().BytesPerSecond(), performance.pcie_bytes_per_second()));
  Put<uint32_t>(data, 48, static_cast<uint32_t>(Between(kIdleFan, performance.fan_rpm(), warm)));
  Put<uint32_t>(data, 52, static_cast<uint32_t>(Between(kIdlePower, kFullPower, load)));
  Put<uint32_t>(
      data, 56,
      static_cast<uint32_t>(Between(kIdleTemperature, performance.temperature_warning_decicelsius(), warm)));
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
