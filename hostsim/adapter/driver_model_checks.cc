#include "hostsim/adapter/driver_model_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/page.h"
#include "hostsim/adapter/driver_model.h"
#include "hostsim/memory/private_data.h"
#include "proto/abi/interface.h"

namespace dxg::hostsim {
namespace {

constexpr int kRulesMax = 64;   // of a list
constexpr int kWritesMax = 64;  // of a rule
constexpr int kMagicMax = 8;    // of a rule
constexpr uint64_t kPrivateBytesMax = kMessageBytesMax - 1;
constexpr uint32_t kUnitMax = 4096;

// A number of `width` bytes at `at`, in `bytes_max` bytes.
void CheckExtent(uint64_t at, bool has_width, uint32_t width, uint64_t bytes_max, const Place& place) {
  if (has_width && !(std::has_single_bit(width) && width <= 8)) {
    place.Complain("width", fmt::format("{} is no width of a number; give 1, 2, 4 or 8", width));
  } else if (at + width > bytes_max) {
    place.Complain(
        "at", fmt::format("{} and {} more are beyond the {} bytes that there are", at, width, bytes_max));
  }
}

void CheckNumber(const AdapterProfile::Number& number, uint64_t bytes_max, const Place& place) {
  CheckExtent(number.at(), number.has_width(), WidthOf(number), bytes_max, place);
}

// What data that a rule matches can have at most.
uint64_t DataBytesMax(const AdapterProfile::Match& match) {
  return match.has_bytes() ? std::min<uint64_t>(match.bytes(), kPrivateBytesMax) : kPrivateBytesMax;
}

void CheckMatch(const AdapterProfile::Match& match, const Place& place) {
  place.Range("bytes", match.bytes(), 0, kPrivateBytesMax);
  if (match.magic_size() > kMagicMax) {
    place.Complain("magic", fmt::format("{} are too many; give at most {}", match.magic_size(), kMagicMax));
  }
  for (int i = 0; i < match.magic_size(); ++i) {
    const AdapterProfile::Match::Magic& magic = match.magic(i);
    const Place at = place.Nested("magic", i);
    CheckExtent(magic.at(), magic.has_width(), WidthOf(magic), DataBytesMax(match), at);
    if (WidthOf(magic) < 8 && magic.value() >> (8 * WidthOf(magic)) != 0) {
      at.Complain("value", fmt::format("{:#x} has no room in {} bytes; give a larger width", magic.value(),
                                       WidthOf(magic)));
    }
    if ((magic.value() & ~MaskOf(magic)) != 0) {
      at.Complain("value",
                  fmt::format("{:#x} has bits that are not in the mask {:#x}, so that nothing matches",
                              magic.value(), MaskOf(magic)));
    }
  }
}

template <class Rules>
void CheckCount(const Rules& rules, const char* field, const Place& place) {
  if (rules.size() > kRulesMax) {
    place.Complain(field, fmt::format("{} rules are too many; give at most {}", rules.size(), kRulesMax));
  }
}

void CheckAllocation(const DriverModel::Allocation& rule, uint32_t segments, const Place& place) {
  CheckMatch(rule.match(), place.Nested("match"));
  if (rule.has_size() == (rule.bytes() != 0)) {
    place.Complain("size", "exactly one of size (where it is) and bytes (how many) is needed; give one");
  }
  if (rule.has_size()) CheckNumber(rule.size(), DataBytesMax(rule.match()), place.Nested("size"));
  place.Range("bytes", rule.bytes(), 0, kAllocationBytesMax);
  if (rule.has_alignment() && (!std::has_single_bit(rule.alignment()) || rule.alignment() < kPageBytes ||
                               rule.alignment() > kAllocationBytesMax)) {
    place.Complain("alignment", fmt::format("{} is no power of two from {} up; give 4096, 65536 and such",
                                            rule.alignment(), kPageBytes));
  }
  place.Range("segment", rule.segment(), 0, segments);
  CheckWrites(rule.writes(), DataBytesMax(rule.match()), true, place);
}

void CheckCreations(const google::protobuf::RepeatedPtrField<DriverModel::Creation>& rules, const char* field,
                    const Place& model_place) {
  CheckCount(rules, field, model_place);
  for (int i = 0; i < rules.size(); ++i) {
    const Place place = model_place.Nested(field, i);
    CheckMatch(rules[i].match(), place.Nested("match"));
    CheckWrites(rules[i].writes(), DataBytesMax(rules[i].match()), false, place);
  }
}

// A field that has to be given: of a message, which is there or not.
void CheckGiven(bool given, const char* field, const Place& place) {
  if (!given) place.Complain(field, "is missing; say where it is");
}

void CheckCommands(const DriverModel::Submission::Commands& commands, uint64_t bytes, const Place& place) {
  CheckGiven(commands.has_address(), "address", place);
  CheckNumber(commands.address(), bytes, place.Nested("address"));
  CheckNumber(commands.length(), bytes, place.Nested("length"));
  if (commands.has_unit()) place.Range("unit", commands.unit(), 1, kUnitMax);
}

void CheckBuffers(const DriverModel::Submission::Buffers& buffers, uint64_t bytes, const Place& place) {
  CheckGiven(buffers.has_count(), "count", place);
  CheckGiven(buffers.has_address(), "address", place);
  CheckGiven(buffers.has_length(), "length", place);
  CheckNumber(buffers.count(), bytes, place.Nested("count"));
  place.Range("first", buffers.first(), 0, bytes);
  place.Range("entry_bytes", buffers.entry_bytes(), 1, bytes);
  CheckNumber(buffers.address(), buffers.entry_bytes(), place.Nested("address"));
  CheckNumber(buffers.length(), buffers.entry_bytes(), place.Nested("length"));
  if (buffers.has_unit()) place.Range("unit", buffers.unit(), 1, kUnitMax);
}

void CheckSubmission(const DriverModel::Submission& rule, const Place& place) {
  const uint64_t bytes = DataBytesMax(rule.match());
  CheckMatch(rule.match(), place.Nested("match"));
  if (rule.has_commands() && rule.has_buffers()) {
    place.Complain("buffers", "does not go with commands; leave one of them out");
  }
  if (rule.has_commands()) CheckCommands(rule.commands(), bytes, place.Nested("commands"));
  if (rule.has_buffers()) CheckBuffers(rule.buffers(), bytes, place.Nested("buffers"));
  if (!rule.has_fence()) return;
  const Place fence = place.Nested("fence");
  CheckGiven(rule.fence().has_address(), "address", fence);
  CheckGiven(rule.fence().has_value(), "value", fence);
  CheckNumber(rule.fence().address(), bytes, fence.Nested("address"));
  CheckNumber(rule.fence().value(), bytes, fence.Nested("value"));
}

}  // namespace

void CheckWrites(const google::protobuf::RepeatedPtrField<AdapterProfile::Write>& writes, uint64_t bytes_max,
                 bool made, const Place& rule_place) {
  if (writes.size() > kWritesMax) {
    rule_place.Complain("writes", fmt::format("{} are too many; give at most {}", writes.size(), kWritesMax));
  }
  for (int i = 0; i < writes.size(); ++i) {
    const AdapterProfile::Write& write = writes[i];
    const Place place = rule_place.Nested("writes", i);
    switch (write.what_case()) {
      case AdapterProfile::Write::kData:
        if (write.has_width()) place.Complain("width", "data has a width of its own; leave it out");
        if (uint64_t{write.at()} + write.data().size() > bytes_max) {
          place.Complain("data", fmt::format("{} bytes at {} are beyond the {} that there are",
                                             write.data().size(), write.at(), bytes_max));
        }
        break;
      case AdapterProfile::Write::kValue:
      case AdapterProfile::Write::kFact:
        CheckExtent(write.at(), write.has_width(), WidthOf(write), bytes_max, place);
        if (WidthOf(write) < 8 && write.value() >> (8 * WidthOf(write)) != 0) {
          place.Complain("value", fmt::format("{:#x} has no room in {} bytes; give a larger width",
                                              write.value(), WidthOf(write)));
        }
        if (write.has_fact() && (write.fact() == AdapterProfile::NOTHING ||
                                 (write.fact() == AdapterProfile::ALLOCATED_BYTES && !made))) {
          place.Complain("fact", "there is no such fact here; give another one, or a value");
        }
        break;
      case AdapterProfile::Write::WHAT_NOT_SET:
        place.Complain("at", "nothing is written there; give a value, data or a fact");
        break;
    }
  }
}

void CheckDriverModel(const AdapterProfile& profile, const Place& place) {
  const DriverModel& model = profile.driver_model();
  const AdapterProfile::Memory& memory = profile.memory();
  const uint32_t segments = memory.dedicated_video_bytes() != 0 && memory.shared_system_bytes() != 0 ? 2 : 1;
  CheckCount(model.allocations(), "allocations", place);
  for (int i = 0; i < model.allocations_size(); ++i)
    CheckAllocation(model.allocations(i), segments, place.Nested("allocations", i));
  CheckCreations(model.contexts(), "contexts", place);
  CheckCreations(model.hw_queues(), "hw_queues", place);
  CheckCount(model.submissions(), "submissions", place);
  for (int i = 0; i < model.submissions_size(); ++i)
    CheckSubmission(model.submissions(i), place.Nested("submissions", i));
  CheckCount(model.escapes(), "escapes", place);
  for (int i = 0; i < model.escapes_size(); ++i) {
    const DriverModel::Escape& rule = model.escapes(i);
    const Place escape = place.Nested("escapes", i);
    CheckMatch(rule.match(), escape.Nested("match"));
    CheckWrites(rule.writes(), DataBytesMax(rule.match()), false, escape);
    if (rule.refuse() && rule.writes_size() != 0)
      escape.Complain("writes", "what is refused gets no data back; leave one of them out");
  }
}

}  // namespace dxg::hostsim
