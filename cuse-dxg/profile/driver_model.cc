#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <set>

#include "base/page.h"
#include "cuse-dxg/profile/differences.h"
#include "cuse-dxg/profile/facts.h"
#include "cuse-dxg/profile/struct_bytes.h"

namespace dxg::profile {
namespace {

// The simulator's own data, which every profile's driver understands: docs/simulated-gpu.md.
constexpr uint32_t kSimulatorsAllocation = 0x434C4153, kSimulatorsEscape = 0x55504753;

constexpr size_t kRulesMax = 64;  // of a list
constexpr size_t kWriteBytesMax = 4096;
constexpr uint64_t kUnknownBytesMin = 64 * 1024;

using Bytes = std::map<size_t, std::vector<const Given*>>;

Bytes BySize(const std::vector<Given>& all, uint32_t leave_out) {
  Bytes sizes;
  for (const Given& given : all) {
    if (leave_out == 0 || Get<uint32_t>(given.before, 0) != leave_out)
      sizes[given.before.size()].push_back(&given);
  }
  return sizes;
}

std::vector<const Given*> PointersTo(const std::vector<Given>& all) {
  std::vector<const Given*> pointers;
  pointers.reserve(all.size());
  for (const Given& given : all) pointers.push_back(&given);
  return pointers;
}

std::vector<Pair> PairsOf(const std::vector<const Given*>& group) {
  std::vector<Pair> pairs;
  for (const Given* given : group) {
    if (given->result >= 0) pairs.push_back({&given->before, &given->after});
  }
  return pairs;
}

// What comes back, where it is always the same; otherwise nothing, and a note.
void AddBack(const char* what, const std::vector<const Given*>& group,
             google::protobuf::RepeatedPtrField<AdapterProfile::Write>* writes, Notes* notes) {
  Runs runs;
  const size_t bytes = group.front()->before.size();
  if (Explain(PairsOf(group), &runs) && runs.bytes() <= kWriteBytesMax) {
    AddWrites(runs, writes);
  } else {
    notes->push_back(
        fmt::format("Private data of {} with {} bytes came back changed, each time in another way: "
                    "what is written back is not here.",
                    what, bytes));
  }
}

uint64_t RoundUp(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

// Where the data says how large the allocation is: the only place whose number is what was mapped, rounded up
// to pages, of as many as possible and nowhere less.
std::optional<AdapterProfile::Number> FindSize(const std::vector<const Given*>& group) {
  constexpr uint64_t kSizeMax = 1ull << 46;
  const size_t bytes = group.front()->before.size();
  for (const uint32_t width : {8u, 4u}) {
    std::optional<AdapterProfile::Number> found;
    size_t best = 0, places = 0;
    for (size_t at = 0; at + width <= bytes; at += 4) {
      size_t equal = 0;
      bool fits = true;
      for (const Given* given : group) {
        const uint64_t value =
            width == 8 ? Get<uint64_t>(given->before, at) : Get<uint32_t>(given->before, at);
        const uint64_t whole = value <= kSizeMax ? RoundUp(value, kPageBytes) : 0;
        if (whole == 0 || whole < given->mapped_bytes) fits = false;
        if (whole == given->mapped_bytes) ++equal;
      }
      if (!fits || equal == 0 || equal < best) continue;
      places = equal > best ? 1 : places + 1;
      best = equal;
      found.emplace();
      found->set_at(static_cast<uint32_t>(at));
      found->set_width(width);
    }
    if (places == 1) return found;
    if (places > 1) return std::nullopt;
  }
  return std::nullopt;
}

// A place where each gets its size back, which programs read; its bytes are then as they were before.
std::optional<size_t> FindSizeBack(std::vector<Given>* group, const AdapterProfile::Number& size) {
  const size_t bytes = group->front().before.size();
  const auto size_of = [&](const Given& given) {
    const uint64_t value =
        size.width() == 8 ? Get<uint64_t>(given.before, size.at()) : Get<uint32_t>(given.before, size.at());
    return RoundUp(value, kPageBytes);
  };
  for (size_t at = 0; at + sizeof(uint64_t) <= bytes; at += 4) {
    bool changed = false;
    const bool all = std::all_of(group->begin(), group->end(), [&](const Given& given) {
      changed |= Get<uint64_t>(given.before, at) != Get<uint64_t>(given.after, at);
      return Get<uint64_t>(given.after, at) == size_of(given);
    });
    if (!all || !changed) continue;
    for (Given& given : *group) Put(&given.after, at, Get<uint64_t>(given.before, at));
    return at;
  }
  return std::nullopt;
}

void LearnAllocations(const AdapterSeen& seen, AdapterProfile* profile, Notes* notes) {
  for (const auto& [bytes, group] : BySize(seen.allocations, kSimulatorsAllocation)) {
    auto* const rules = profile->mutable_driver_model()->mutable_allocations();
    if (static_cast<size_t>(rules->size()) == kRulesMax) break;
    AdapterProfile::DriverModel::Allocation* const rule = rules->Add();
    rule->mutable_match()->set_bytes(static_cast<uint32_t>(bytes));
    if (const auto size = FindSize(group)) {
      *rule->mutable_size() = *size;
      notes->push_back(
          fmt::format("Allocations with {} bytes of private data: the number at {} is taken for their "
                      "size, because it is what was mapped of them.",
                      bytes, size->at()));
    } else {
      uint64_t most = kUnknownBytesMin;
      for (const Given* given : group) most = std::max(most, given->mapped_bytes);
      rule->set_bytes(RoundUp(most, kUnknownBytesMin));
      notes->push_back(
          fmt::format("Allocations with {} bytes of private data: where their size is, is not known. "
                      "All have {} bytes, the most that was mapped of one; give `size` where you know it.",
                      bytes, rule->bytes()));
    }
    std::vector<Given> back;
    for (const Given* given : group) back.push_back(*given);
    if (rule->has_size()) {
      if (const auto at = FindSizeBack(&back, rule->size())) {
        AdapterProfile::Write* const write = rule->add_writes();
        write->set_at(static_cast<uint32_t>(*at));
        write->set_fact(AdapterProfile::ALLOCATED_BYTES);
      }
    }
    AddBack("an allocation", PointersTo(back), rule->mutable_writes(), notes);
  }
}

// Rules are there only where something comes back: with one, data that none fits is refused.
void LearnCreations(const char* what, const std::vector<Given>& all,
                    google::protobuf::RepeatedPtrField<AdapterProfile::DriverModel::Creation>* rules,
                    Notes* notes) {
  for (const auto& [bytes, group] : BySize(all, 0)) {
    if (bytes == 0 || static_cast<size_t>(rules->size()) == kRulesMax) continue;
    AdapterProfile::DriverModel::Creation rule;
    rule.mutable_match()->set_bytes(static_cast<uint32_t>(bytes));
    AddBack(what, group, rule.mutable_writes(), notes);
    if (rule.writes_size() != 0) *rules->Add() = std::move(rule);
  }
  if (!rules->empty()) rules->Add();  // any other data is taken
}

void LearnEscapes(const AdapterSeen& seen, AdapterProfile* profile, Notes* notes) {
  for (const auto& [bytes, all] : BySize(seen.escapes, kSimulatorsEscape)) {
    // By their first number, which is where drivers tell escapes apart.
    std::map<uint32_t, std::vector<const Given*>> codes;
    for (const Given* given : all) codes[Get<uint32_t>(given->before, 0)].push_back(given);
    for (const auto& [code, group] : codes) {
      auto* const rules = profile->mutable_driver_model()->mutable_escapes();
      if (static_cast<size_t>(rules->size()) == kRulesMax) return;
      const bool refused = std::all_of(group.begin(), group.end(),
                                       [](const Given* given) { return given->result == -EOVERFLOW; });
      const bool answered =
          std::all_of(group.begin(), group.end(), [](const Given* given) { return given->result >= 0; });
      if (!refused && !answered) {
        notes->push_back(
            fmt::format("Escapes of {} bytes that begin with {:#x} were refused at times: they are "
                        "not here.",
                        bytes, code));
        continue;
      }
      AdapterProfile::DriverModel::Escape rule;
      rule.mutable_match()->set_bytes(static_cast<uint32_t>(bytes));
      if (bytes >= sizeof(code)) {
        AdapterProfile::Match::Magic* const magic = rule.mutable_match()->add_magic();
        magic->set_at(0);
        magic->set_value(code);
      }
      rule.set_refuse(refused);
      if (answered) AddBack("an escape", group, rule.mutable_writes(), notes);
      *rules->Add() = std::move(rule);
    }
  }
}

// Which command format a node has shows nowhere; whose card it is does.
void GuessCommands(AdapterProfile* profile, Notes* notes) {
  constexpr uint32_t kIntel = 0x8086, kAmd = 0x1002, kQualcomm = 0x4D4F4351;
  const uint32_t vendor = profile->pci().vendor();
  if (vendor != kIntel && vendor != kAmd && vendor != kQualcomm) return;
  for (AdapterProfile::Node& node : *profile->mutable_nodes()) {
    const bool copies = node.engine() == AdapterProfile::COPY;
    const bool runs = node.engine() == AdapterProfile::ENGINE_3D || node.engine() == AdapterProfile::OTHER;
    if (!copies && !runs) continue;
    if (vendor == kIntel) node.set_commands(AdapterProfile::INTEL_GEN12);
    if (vendor == kAmd) node.set_commands(copies ? AdapterProfile::AMD_SDMA : AdapterProfile::AMD_PM4);
    if (vendor == kQualcomm) node.set_commands(AdapterProfile::ADRENO);
  }
  notes->push_back(
      "What commands the engines take is guessed by the PCI vendor (docs/command-streamers.md).");
}

}  // namespace

void LearnDriverModel(const AdapterSeen& seen, bool has_base, AdapterProfile* profile, Notes* notes) {
  if (has_base) {
    notes->push_back(
        "How the driver reads private data, and what commands the engines take, are the base's.");
    return;
  }
  GuessCommands(profile, notes);
  LearnAllocations(seen, profile, notes);
  AdapterProfile::DriverModel model;
  LearnCreations("a context", seen.contexts, model.mutable_contexts(), notes);
  LearnCreations("a hardware queue", seen.hw_queues, model.mutable_hw_queues(), notes);
  if (model.contexts_size() != 0 || model.hw_queues_size() != 0)
    profile->mutable_driver_model()->MergeFrom(model);
  LearnEscapes(seen, profile, notes);
  std::string sizes;
  for (const size_t bytes : seen.submission_bytes) {
    if (bytes != 0) sizes += fmt::format("{}{}", sizes.empty() ? "" : ", ", bytes);
  }
  if (!sizes.empty())
    notes->push_back(
        fmt::format("Submissions had private data of {} bytes. What the driver reads there (where "
                    "commands are, which fence ends them) is not known.",
                    sizes));
}

}  // namespace dxg::profile
