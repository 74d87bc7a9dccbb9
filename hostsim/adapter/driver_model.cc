#include "hostsim/adapter/driver_model.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>

#include "hostsim/adapter/adapter.h"

namespace dxg::hostsim {
namespace {

bool HasRoom(ConstBytes data, uint64_t at, uint64_t bytes) {
  return at <= data.size() && bytes <= data.size() - at;
}

// Safety: the hosts that this runs on are little-endian, as all of the simulator's numbers (bytes.h).
uint64_t ReadLittleEndian(ConstBytes data, size_t at, size_t width) {
  uint64_t value = 0;
  std::memcpy(&value, data.data() + at, width);
  return value;
}

uint64_t ValueOf(AdapterProfile::Fact fact, const Adapter& adapter, uint64_t allocated) {
  switch (fact) {
    case AdapterProfile::ALLOCATED_BYTES:
      return allocated;
    case AdapterProfile::LOCAL_BYTES:
      return adapter.memory().size(kLocal);
    case AdapterProfile::NON_LOCAL_BYTES:
      return adapter.memory().size(kNonLocal);
    case AdapterProfile::PCI_VENDOR:
      return adapter.profile().pci().vendor();
    case AdapterProfile::PCI_DEVICE:
      return adapter.profile().pci().device();
    case AdapterProfile::PCI_REVISION:
      return adapter.profile().pci().revision();
    case AdapterProfile::NODES:
      return adapter.nodes();
    case AdapterProfile::TIMESTAMP:
      return adapter.engines().Timestamp(0);
    case AdapterProfile::TIMESTAMP_HZ:
      return adapter.profile().nodes(0).clock_hz();
    default:
      return 0;
  }
}

// A length in units, as the bytes that a buffer has; nothing: it has more than a buffer can.
std::optional<uint32_t> LengthOf(uint64_t units, bool has_unit, uint32_t unit) {
  constexpr uint64_t kMax = std::numeric_limits<uint32_t>::max();
  const uint64_t factor = has_unit ? unit : 1;
  if (units > kMax / factor) return std::nullopt;
  return static_cast<uint32_t>(units * factor);
}

bool ReadCommands(const DriverModel::Submission::Commands& where, ConstBytes data, GpuCommand* command) {
  const auto address = Read(where.address(), data);
  if (!address) return false;
  command->buffer.address = GpuAddress(*address);
  if (!where.has_length()) return true;
  const auto units = Read(where.length(), data);
  const auto bytes = units ? LengthOf(*units, where.has_unit(), where.unit()) : std::nullopt;
  if (bytes) command->buffer.bytes = *bytes;
  return bytes.has_value();
}

bool ReadBuffers(const DriverModel::Submission::Buffers& where, ConstBytes data, GpuCommand* command) {
  const auto count = Read(where.count(), data);
  if (!count || *count > kBuffersPerSubmissionMax ||
      !HasRoom(data, where.first(), *count * where.entry_bytes()))
    return false;
  std::vector<GpuBuffer> buffers;
  for (uint64_t i = 0; i < *count; ++i) {
    const ConstBytes entry = data.subspan(where.first() + i * where.entry_bytes()).first(where.entry_bytes());
    const auto address = Read(where.address(), entry), units = Read(where.length(), entry);
    const auto bytes = units ? LengthOf(*units, where.has_unit(), where.unit()) : std::nullopt;
    if (!address || !bytes) return false;
    if (*bytes != 0) buffers.push_back({GpuAddress(*address), *bytes});
  }
  command->buffer.bytes = 0;  // of an empty list
  if (buffers.empty()) return true;
  command->buffer = buffers.front();
  if (buffers.size() > 1)
    command->more = std::make_shared<const std::vector<GpuBuffer>>(buffers.begin() + 1, buffers.end());
  return true;
}

bool ReadFence(const DriverModel::Submission::Fence& where, ConstBytes data, GpuCommand* command) {
  const auto address = Read(where.address(), data), value = Read(where.value(), data);
  if (!address || !value) return false;
  if (*address != 0) command->fence = GpuFenceWrite{GpuAddress(*address), *value};
  return true;
}

}  // namespace

std::optional<uint64_t> Read(const AdapterProfile::Number& number, ConstBytes data) {
  if (!HasRoom(data, number.at(), WidthOf(number))) return std::nullopt;
  return ReadLittleEndian(data, number.at(), WidthOf(number));
}

bool Matches(const AdapterProfile::Match& match, ConstBytes data) {
  if (match.has_bytes() && match.bytes() != data.size()) return false;
  for (const AdapterProfile::Match::Magic& magic : match.magic()) {
    if (!HasRoom(data, magic.at(), WidthOf(magic))) return false;
    if ((ReadLittleEndian(data, magic.at(), WidthOf(magic)) & MaskOf(magic)) != magic.value()) return false;
  }
  return true;
}

bool ApplyWrites(const google::protobuf::RepeatedPtrField<AdapterProfile::Write>& writes,
                 const Adapter& adapter, uint64_t allocated, Bytes data) {
  for (const AdapterProfile::Write& write : writes) {
    if (!HasRoom(data, write.at(), write.has_data() ? write.data().size() : WidthOf(write))) return false;
  }
  for (const AdapterProfile::Write& write : writes) {
    uint8_t* const at = data.data() + write.at();
    if (write.has_data()) {
      std::copy(write.data().begin(), write.data().end(), at);
      continue;
    }
    const uint64_t value = write.has_fact() ? ValueOf(write.fact(), adapter, allocated) : write.value();
    std::memcpy(at, &value, WidthOf(write));
  }
  return true;
}

bool ApplyCreation(const google::protobuf::RepeatedPtrField<DriverModel::Creation>& rules,
                   const Adapter& adapter, Bytes data) {
  if (rules.empty()) return true;
  const DriverModel::Creation* rule = FindRule(rules, data);
  return rule && ApplyWrites(rule->writes(), adapter, 0, data);
}

bool ReadSubmission(const DriverModel& model, ConstBytes data, GpuCommand* command) {
  const DriverModel::Submission* rule = FindRule(model.submissions(), data);
  if (!rule) return true;
  if (rule->has_commands() && !ReadCommands(rule->commands(), data, command)) return false;
  if (rule->has_buffers() && !ReadBuffers(rule->buffers(), data, command)) return false;
  return !rule->has_fence() || ReadFence(rule->fence(), data, command);
}

}  // namespace dxg::hostsim
