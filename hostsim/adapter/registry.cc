#include "hostsim/adapter/registry.h"

#include <optional>
#include <string>

#include "hostsim/machine/utf16.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {
namespace {

// D3DDDI_QUERYREGISTRY_INFO
constexpr size_t kQueryType = 0;
constexpr size_t kQueryFlags = 4;
constexpr size_t kValueName = 8;
constexpr size_t kValueNameUnits = 260;
constexpr size_t kValueType = 528;
constexpr size_t kPhysicalAdapterIndex = 532;
constexpr size_t kOutputValueSize = 536;
constexpr size_t kStatus = 540;
constexpr size_t kOutput = 544;

// D3DDDI_QUERYREGISTRY_TYPE
constexpr uint32_t kServiceKey = 0;
constexpr uint32_t kAdapterKey = 1;
constexpr uint32_t kDriverStorePath = 2;
constexpr uint32_t kDriverImagePath = 3;

// D3DDDI_QUERYREGISTRY_FLAGS
constexpr uint32_t kTranslatePath = 1u << 0;
constexpr uint32_t kMutableValue = 1u << 1;

// D3DDDI_QUERYREGISTRY_STATUS
constexpr uint32_t kStatusDone = 0;
constexpr uint32_t kStatusBufferOverflow = 1;

enum RegType : uint32_t {
  kNone = 0,
  kSz = 1,
  kExpandSz = 2,
  kBinary = 3,
  kDword = 4,
  kMultiSz = 7,
  kQword = 11,
};

struct Value {
  RegType type;
  std::string bytes;
};

template <typename T>
std::string Encode(T number) {
  std::string bytes(sizeof(number), '\0');
  std::memcpy(bytes.data(), &number, sizeof(number));
  return bytes;
}

std::string Encode(const std::string& text) {
  const std::u16string utf16 = ToUtf16(text);
  std::string bytes((utf16.size() + 1) * sizeof(char16_t), '\0');  // with the NUL
  std::memcpy(bytes.data(), utf16.data(), utf16.size() * sizeof(char16_t));
  return bytes;
}

Value ValueOf(const AdapterProfile::RegistryValue& value) {
  switch (value.value_case()) {
    case AdapterProfile::RegistryValue::kExpandText:
      return {kExpandSz, Encode(value.expand_text())};
    case AdapterProfile::RegistryValue::kBinary:
      return {kBinary, value.binary()};
    case AdapterProfile::RegistryValue::kNumber:
      return {kDword, Encode(value.number())};
    case AdapterProfile::RegistryValue::kLongNumber:
      return {kQword, Encode(value.long_number())};
    case AdapterProfile::RegistryValue::kTexts: {
      std::string bytes;
      for (const std::string& text : value.texts().text()) bytes += Encode(text);
      return {kMultiSz, bytes + std::string(sizeof(char16_t), '\0')};
    }
    default:
      return {kSz, Encode(value.text())};
  }
}

bool SameName(std::u16string_view a, std::u16string_view b) {
  auto fold = [](char16_t c) { return c >= u'A' && c <= u'Z' ? static_cast<char16_t>(c - u'A' + u'a') : c; };
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (fold(a[i]) != fold(b[i])) return false;
  }
  return true;
}

// What every driver's adapter key holds; a value of the profile comes first.
std::optional<Value> BuiltInValue(const Adapter& adapter, std::u16string_view name) {
  const AdapterProfile& profile = adapter.profile();
  if (SameName(name, u"DriverDesc")) return Value{kSz, Encode(profile.description())};
  if (SameName(name, u"DriverVersion")) return Value{kSz, Encode(profile.driver().version())};
  if (SameName(name, u"HardwareInformation.AdapterString")) {
    return Value{kSz, Encode(profile.strings().adapter())};
  }
  if (SameName(name, u"HardwareInformation.qwMemorySize")) {
    return Value{kQword, Encode(profile.memory().dedicated_video_bytes())};
  }
  return std::nullopt;
}

std::optional<Value> FindValue(const Adapter& adapter, uint32_t query, std::u16string_view name) {
  const auto key =
      query == kServiceKey ? AdapterProfile::RegistryValue::SERVICE : AdapterProfile::RegistryValue::ADAPTER;
  for (const AdapterProfile::RegistryValue& value : adapter.profile().registry()) {
    if (value.key() == key && SameName(ToUtf16(value.name()), name)) return ValueOf(value);
  }
  return query == kAdapterKey ? BuiltInValue(adapter, name) : std::nullopt;
}

}  // namespace

int32_t QueryRegistry(const Adapter& adapter, Bytes data) {
  const auto query = Get<uint32_t>(data, kQueryType);
  const auto type = Get<uint32_t>(data, kValueType);
  if ((Get<uint32_t>(data, kQueryFlags) & ~(kTranslatePath | kMutableValue)) != 0)
    return kStatusInvalidParameter;
  if (Get<uint32_t>(data, kPhysicalAdapterIndex) >= kPhysicalAdapters) return kStatusInvalidParameter;

  std::optional<Value> value;
  switch (query) {
    case kServiceKey:
    case kAdapterKey:
      value = FindValue(adapter, query, GetUtf16(data, kValueName, kValueNameUnits));
      if (!value) return kStatusObjectNameNotFound;
      if (type != value->type) return kStatusInvalidParameter;
      break;
    case kDriverStorePath:
    case kDriverImagePath: {
      if (type != kNone) return kStatusInvalidParameter;
      const std::string file =
          query == kDriverImagePath ? adapter.profile().driver().kernel_file() : std::string();
      value = Value{kSz, Encode(adapter.DriverStorePath(file))};
      break;
    }
    default:
      return kStatusInvalidParameter;
  }

  Put<uint32_t>(data, kOutputValueSize, static_cast<uint32_t>(value->bytes.size()));
  const bool fits = value->bytes.size() <= data.size() - kOutput;
  Put<uint32_t>(data, kStatus, fits ? kStatusDone : kStatusBufferOverflow);
  if (fits) std::memcpy(data.data() + kOutput, value->bytes.data(), value->bytes.size());
  return kStatusSuccess;
}

}  // namespace dxg::hostsim
