// What an adapter's object tells of it without asking, and the names of its engines.
#include <wchar.h>

#include "cuse-dxg/dxcore/adapter.h"
#include "proto/abi/qaitype.h"

namespace dxg::dxcore {
namespace {

// What an engine of each type is called where it has no name of its own.
constexpr const wchar_t* kEngineNames[] = {
    L"Other",          L"3D",   L"Video Decode", L"Video Encode", L"Video Processing",
    L"Scene Assembly", L"Copy", L"Overlay",      L"Crypto"};

}  // namespace

Adapter::Value Adapter::ValueOf(Property property) const {
  const auto value = [](const auto& member, bool is_known = true) {
    return is_known ? Value{&member, sizeof(member), kOk} : Value{nullptr, 0, kUnsupported};
  };
  switch (property) {
    case Property::kInstanceLuid:
      return value(luid_);
    case Property::kDriverVersion:
      return value(driver_version_, has_version_);
    case Property::kDriverDescription:
      return {description_, strlen(description_) + 1, kOk};
    case Property::kHardwareId:
      return value(id_, has_id_);
    case Property::kHardwareIdParts:
      return value(parts_, has_id_);
    case Property::kKmdModelVersion:
      return value(model_version_, has_model_);
    case Property::kComputePreemption:
      return value(compute_preemption_, has_preemption_);
    case Property::kGraphicsPreemption:
      return value(graphics_preemption_, has_preemption_);
    case Property::kDedicatedAdapterMemory:
      return value(segments_[0], has_memory_);
    case Property::kDedicatedSystemMemory:
      return value(segments_[1], has_memory_);
    case Property::kSharedSystemMemory:
      return value(segments_[2], has_memory_);
    case Property::kAcgCompatible:
      return value(flags_[0]);
    case Property::kIsHardware:
      return value(flags_[1]);
    case Property::kIsIntegrated:
      return value(flags_[2]);
    case Property::kIsDetachable:
      return value(flags_[3]);
    case Property::kPhysicalAdapterCount:
      return value(physical_adapters_);
    case Property::kEngineCount:
    case Property::kEngineName:
      return {nullptr, 0, kUnsupported};  // of GetPropertyWithInput
  }
  return {nullptr, 0, kInvalidCall};
}

bool Adapter::IsPropertySupported(Property property) {
  return property == Property::kEngineCount || property == Property::kEngineName ||
         ValueOf(property).status == kOk;
}

HResult Adapter::GetProperty(Property property, size_t bytes, void* out) {
  const Value value = ValueOf(property);
  if (value.status != kOk) return value.status;
  if (!out) return kNullPointer;
  if (bytes < value.bytes) return kInvalidArgument;
  memset(out, 0, bytes);
  memcpy(out, value.data, value.bytes);
  return kOk;
}

HResult Adapter::GetPropertySize(Property property, size_t* bytes) {
  const Value value = ValueOf(property);
  if (value.status != kOk) return value.status;
  if (!bytes) return kNullPointer;
  *bytes = value.bytes;
  return kOk;
}

// The input is the physical adapter, of which there is one, and for a name also the engine and where it goes.
HResult Adapter::GetPropertyWithInput(Property property, size_t in_bytes, const void* in, size_t bytes,
                                      void* out) {
  if (property == Property::kEngineName) return GetEngineName(in, in_bytes, bytes, out);
  if (property != Property::kEngineCount) return GetProperty(property, bytes, out);
  if (!in || !out) return kNullPointer;
  uint32_t physical_adapter;
  if (in_bytes < sizeof(physical_adapter) || bytes < sizeof(engines_)) return kInvalidArgument;
  memcpy(&physical_adapter, in, sizeof(physical_adapter));
  if (physical_adapter >= physical_adapters_) return kInvalidArgument;
  memset(out, 0, bytes);
  memcpy(out, &engines_, sizeof(engines_));
  return kOk;
}

HResult Adapter::GetEngineName(const void* in, size_t in_bytes, size_t bytes, void* out) const {
  struct Input {
    uint32_t physical_adapter, engine;
    uint32_t length;  // characters that `name` has room for
    wchar_t* name;    // null: only the length is asked for
  } input;
  if (!in || !out) return kNullPointer;
  if (in_bytes < sizeof(input) || bytes < sizeof(uint32_t)) return kInvalidArgument;
  memcpy(&input, in, sizeof(input));
  const OpenAdapter open(luid_);
  if (!open.is_open()) return kDeviceRemoved;
  NodeMetadata node = {};
  node.node = input.physical_adapter << 16 | (input.engine & 0xFFFF);
  if (input.engine > 0xFFFF || !open.Ask(KMTQAITYPE_NODEMETADATA, &node, sizeof(node)))
    return kInvalidArgument;
  wchar_t name[33] = {};
  for (size_t i = 0; i < 32; ++i) name[i] = node.name[i];
  if (!name[0] && node.engine < sizeof(kEngineNames) / sizeof(*kEngineNames))
    wcsncpy(name, kEngineNames[node.engine], 32);
  const uint32_t needed = static_cast<uint32_t>(wcslen(name) + 1);
  memset(out, 0, bytes);
  memcpy(out, &needed, sizeof(needed));
  if (!input.name) return kOk;
  if (input.length < needed) return kInvalidArgument;
  memcpy(input.name, name, needed * sizeof(wchar_t));
  return kOk;
}

}  // namespace dxg::dxcore
