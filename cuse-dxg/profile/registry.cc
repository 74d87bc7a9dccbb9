#include "cuse-dxg/profile/registry.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "cuse-dxg/profile/struct_bytes.h"
#include "proto/abi/qaitype.h"

namespace dxg::profile {
namespace {

constexpr size_t kNameAt = 8, kNameUnits = 260, kTypeAt = 528, kSizeAt = 536, kStatusAt = 540, kValueAt = 544;
constexpr size_t kValueBytesMax = 60 * 1024;

// The value of an answer, where it is all there; empty: none is.
std::string ValueOf(const Asked& asked) {
  if (asked.result != 0 || asked.answer.size() < kValueAt) return {};
  const size_t bytes = Get<uint32_t>(asked.answer, kSizeAt);
  if (Get<uint32_t>(asked.answer, kStatusAt) != 0 || bytes > asked.answer.size() - kValueAt) return {};
  return asked.answer.substr(kValueAt, bytes);
}

std::string Text(const std::string& value) { return GetText(value, 0, value.size() / 2); }

bool Fill(uint32_t type, const std::string& value, AdapterProfile::RegistryValue* out) {
  switch (type) {
    case kSz:
      out->set_text(Text(value));
      return true;
    case kExpandSz:
      out->set_expand_text(Text(value));
      return true;
    case kBinary:
      out->set_binary(value);
      return true;
    case kDword:
      out->set_number(Get<uint32_t>(value, 0));
      return value.size() == sizeof(uint32_t);
    case kQword:
      out->set_long_number(Get<uint64_t>(value, 0));
      return value.size() == sizeof(uint64_t);
    case kMultiSz: {
      out->mutable_texts();
      for (size_t at = 0; at + 1 < value.size();) {
        size_t end = at;
        while (end + 1 < value.size() && Get<uint16_t>(value, end) != 0) end += 2;
        if (end == at) break;
        out->mutable_texts()->add_text(GetText(value, at, (end - at) / 2));
        at = end + 2;
      }
      return true;
    }
    default:
      return false;
  }
}

}  // namespace

std::string RegistryQuestion(uint32_t key, const std::string& name, uint32_t type, size_t room) {
  std::string question(kValueAt + room, '\0');
  Put<uint32_t>(&question, 0, key);
  PutText(&question, kNameAt, name.substr(0, kNameUnits - 1));
  Put<uint32_t>(&question, kTypeAt, type);
  return question;
}

void ReadRegistry(const AdapterSeen& seen, AdapterProfile* profile) {
  std::set<std::pair<uint32_t, std::string>> known;
  for (const auto& [key, all] : seen.queries) {
    if (key.first != KMTQAITYPE_QUERYREGISTRY) continue;
    for (const Asked& asked : all) {
      const auto which = Get<uint32_t>(asked.question, 0);
      const std::string value = ValueOf(asked);
      const std::string name = GetText(asked.question, kNameAt, kNameUnits, kNameUnits - 1);
      if (which > kAdapterKey || value.empty() || value.size() > kValueBytesMax || name.empty()) continue;
      std::string folded = name;
      std::transform(folded.begin(), folded.end(), folded.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      AdapterProfile::RegistryValue read;
      if (!Fill(Get<uint32_t>(asked.question, kTypeAt), value, &read)) continue;
      if (!known.emplace(which, folded).second) continue;
      read.set_key(which == kAdapterKey ? AdapterProfile::RegistryValue::ADAPTER
                                        : AdapterProfile::RegistryValue::SERVICE);
      read.set_name(name);
      *profile->add_registry() = std::move(read);
    }
  }
}

std::string RegistryPath(const AdapterSeen& seen, uint32_t which) {
  for (const auto& [key, all] : seen.queries) {
    if (key.first != KMTQAITYPE_QUERYREGISTRY) continue;
    for (const Asked& asked : all) {
      if (Get<uint32_t>(asked.question, 0) != which) continue;
      std::string path = Text(ValueOf(asked));
      if (!path.empty()) return path;
    }
  }
  return {};
}

}  // namespace dxg::profile
