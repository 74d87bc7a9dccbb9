#include "cuse-dxg/profile/answers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>

#include "cuse-dxg/profile/differences.h"
#include "cuse-dxg/profile/struct_bytes.h"
#include "proto/abi/qaitype.h"
#include "proto/contract/answers.h"
#include "proto/contract/calls.gen.h"
#include "proto/contract/text.h"

namespace dxg::profile {
namespace {

using Answer = AdapterProfile::Answer;
using Group = std::vector<const Asked*>;

constexpr size_t kInputMax = 64;
constexpr size_t kInputsMax = 64;  // of one type and size
constexpr size_t kTurnsMax = 16;
constexpr int kAnswersMax = 256;  // of a profile
constexpr size_t kTypes = 256;

// With how many bytes a question of that type says what it asks, where that is published.
size_t QuestionBytes(uint32_t type) {
  switch (type) {
    case KMTQAITYPE_UMDRIVERNAME:
    case KMTQAITYPE_NODEMETADATA:
    case KMTQAITYPE_PHYSICALADAPTERDEVICEIDS:
    case KMTQAITYPE_QUERY_GPUMMU_CAPS:
    case KMTQAITYPE_GETSEGMENTGROUPSIZE:
    case KMTQAITYPE_ADAPTERPERFDATA:
    case KMTQAITYPE_ADAPTERPERFDATA_CAPS:
    case KMTQUITYPE_GPUVERSION:
      return 4;
    case KMTQAITYPE_NODEPERFDATA:
    case KMTQAITYPE_TRACKEDWORKLOAD_SUPPORT:
      return 8;
    default:
      return 0;
  }
}

std::string NameOf(uint32_t type) {
  const char* const name = contract::ValueName("QueryAdapterInfo", "type", type);
  return name != nullptr ? fmt::format("{} ({})", type, name) : fmt::format("{}", type);
}

std::optional<AdapterProfile::Refusal> RefusalOf(int32_t result) {
  switch (result) {
    case -EINVAL:
      return AdapterProfile::INVALID_PARAMETER;
    case -ENOENT:
      return AdapterProfile::OBJECT_NAME_NOT_FOUND;
    case -EPERM:
      return AdapterProfile::NOT_SUPPORTED;
    default:
      return std::nullopt;
  }
}

// One answer for all of them; none: they differ.
std::optional<Answer> One(const Group& group) {
  constexpr size_t kDense = 64;  // buffers up to that size are given whole
  constexpr size_t kRunsMax = 32;
  Answer answer;
  const int32_t result = group.front()->result;
  std::vector<Pair> pairs;
  for (const Asked* asked : group) {
    if ((asked->result < 0 || result < 0) && asked->result != result) return std::nullopt;
    if (asked->result >= 0) pairs.push_back({&asked->question, &asked->answer});
  }
  if (result < 0) {
    const auto refusal = RefusalOf(result);
    answer.set_refusal(refusal.value_or(AdapterProfile::INVALID_PARAMETER));
    return answer;
  }
  Runs runs;
  if (!Explain(pairs, &runs)) return std::nullopt;
  const std::string& data = *pairs.front().after;
  const size_t end = runs.runs.empty() ? 1 : runs.runs.back().at + runs.runs.back().bytes.size();
  const std::string whole = data.substr(0, end);
  const bool same = std::all_of(pairs.begin(), pairs.end(),
                                [&](const Pair& pair) { return pair.after->starts_with(whole); });
  const bool sparse = data.size() > kDense && runs.runs.size() <= kRunsMax && runs.bytes() < end / 2;
  if (same && (!sparse || runs.runs.empty())) {
    answer.set_data(whole);
  } else if (runs.runs.empty()) {
    return std::nullopt;  // nothing was written, which a profile cannot say of questions that differ
  } else {
    AddWrites(runs, answer.mutable_writes());
  }
  return answer;
}

// What a process was answered one after another; empty: a profile cannot have it.
std::vector<Answer> Turns(const Group& group) {
  std::map<uint32_t, Group> by_process;
  for (const Asked* asked : group) by_process[asked->process].push_back(asked);
  const Group* longest = &by_process.begin()->second;
  for (const auto& [process, asked] : by_process) {
    if (asked.size() > longest->size()) longest = &asked;
  }
  std::vector<Answer> turns;
  for (const Asked* asked : *longest) {
    const auto answer = One({asked});
    if (!answer) return {};
    const size_t times = asked == longest->back() ? 1 : asked->times;
    for (size_t i = 0; i < times && turns.size() < kTurnsMax; ++i) turns.push_back(*answer);
  }
  return turns;
}

std::map<std::string, Group> ByInput(const std::vector<Asked>& all, size_t bytes) {
  std::map<std::string, Group> groups;
  for (const Asked& asked : all) groups[asked.question.substr(0, bytes)].push_back(&asked);
  return groups;
}

// The answers to the questions of one type and size: told apart by as few of their first bytes as will do; if
// none do, as turns.
std::vector<Answer> AnswersOf(uint32_t type, uint32_t size, const std::vector<Asked>& all, bool* exact) {
  const size_t least = std::min<size_t>(QuestionBytes(type), size);
  std::vector<size_t> lengths = {least};
  for (const size_t bytes :
       {size_t{4}, size_t{8}, size_t{12}, size_t{16}, size_t{24}, size_t{32}, size_t{48}, kInputMax}) {
    if (bytes > least && bytes <= size) lengths.push_back(bytes);
  }
  std::vector<Answer> answers;
  *exact = true;
  for (const size_t bytes : lengths) {
    const auto groups = ByInput(all, bytes);
    if (groups.size() > kInputsMax) break;
    answers.clear();
    bool told_apart = true;
    for (const auto& [input, group] : groups) {
      auto answer = One(group);
      told_apart &= answer.has_value();
      if (!answer) break;
      answer->set_input(input);
      answers.push_back(std::move(*answer));
    }
    if (told_apart) return answers;
  }
  *exact = false;
  answers.clear();
  for (const auto& [input, group] : ByInput(all, least)) {
    for (Answer& answer : Turns(group)) {
      answer.set_input(input);
      answers.push_back(std::move(answer));
    }
  }
  return answers;
}

// What the guest puts over the host's answer, whatever that is.
std::string WithoutGuestsOwn(uint32_t type, std::string data) {
  constexpr uint32_t kGuests = 1u << 1 | 1u << 3 | 1u << 6 | 1u << 7 | 1u << 8 | 1u << 9 | 1u << 11;
  if (type != KMTQAITYPE_ADAPTERTYPE && type != KMTQAITYPE_ADAPTERTYPE_RENDER) return data;
  Put<uint32_t>(&data, 0, Get<uint32_t>(data, 0) & ~kGuests);
  return data;
}

bool Agrees(const Asked& asked, uint32_t type, Trial& trial, size_t number) {
  const Trial::Answer answer = trial.Ask(number, type, asked.question);
  if (asked.result < 0 || answer.result < 0) return asked.result == answer.result;
  if (contract::IsMeasured(calls::QueryAdapterInfo::Row().name, type)) return true;
  return WithoutGuestsOwn(type, asked.answer) == WithoutGuestsOwn(type, answer.data);
}

// Only the first answer of a process to a question can be compared with what a new program is told.
std::vector<const Asked*> FirstOnes(const std::vector<Asked>& all) {
  std::map<std::pair<uint32_t, std::string_view>, const Asked*> first;
  std::vector<const Asked*> out;
  for (const Asked& asked : all) {
    if (first.try_emplace({asked.process, asked.question}, &asked).second) out.push_back(&asked);
  }
  return out;
}

}  // namespace

size_t AddAnswers(const AdapterSeen& seen, Trial& trial, size_t number, AdapterProfile* profile,
                  Notes* notes) {
  const int before = profile->answers_size();
  for (const auto& [key, all] : seen.queries) {
    const uint32_t type = key.first, size = key.second;
    const bool there =
        std::any_of(profile->answers().begin(), profile->answers().end(),
                    [&](const Answer& answer) { return answer.type() == type && answer.bytes() == size; });
    if (there) continue;
    const bool agrees = std::all_of(all.begin(), all.end(),
                                    [&](const Asked& asked) { return Agrees(asked, type, trial, number); });
    if (agrees) continue;
    if (type >= kTypes) {
      notes->push_back(
          fmt::format("Type {} was answered; a profile has answers up to {}.", type, kTypes - 1));
      continue;
    }
    bool exact = false;
    std::vector<Answer> answers = AnswersOf(type, size, all, &exact);
    if (!exact)
      notes->push_back(
          fmt::format("Type {} with {} bytes was not always answered alike; the answers of one process are "
                      "there, as turns.",
                      NameOf(type), size));
    if (profile->answers_size() + answers.size() > kAnswersMax) {
      notes->push_back(fmt::format("Type {} with {} bytes: left out, a profile has {} answers.", NameOf(type),
                                   size, kAnswersMax));
      continue;
    }
    for (const Asked& asked : all) {
      if (asked.result >= 0 || RefusalOf(asked.result)) continue;
      notes->push_back(
          fmt::format("Type {} with {} bytes was refused with {}, which is no refusal of a profile; it "
                      "is INVALID_PARAMETER.",
                      NameOf(type), size, contract::ErrnoName(-asked.result)));
      break;
    }
    for (Answer& answer : answers) {
      answer.set_type(type);
      answer.set_bytes(size);
      *profile->add_answers() = std::move(answer);
    }
  }
  return static_cast<size_t>(profile->answers_size() - before);
}

Compared Compare(const AdapterSeen& seen, Trial& trial, size_t number) {
  Compared compared;
  for (const auto& [key, all] : seen.queries) {
    size_t different = 0;
    const auto first = FirstOnes(all);
    for (const Asked* asked : first) {
      if (!Agrees(*asked, key.first, trial, number)) ++different;
    }
    compared.same += first.size() - different;
    compared.different += different;
    if (different != 0)
      compared.what.push_back(fmt::format("type {} with {} bytes: {} of {} answers differ", NameOf(key.first),
                                          key.second, different, first.size()));
  }
  return compared;
}

}  // namespace dxg::profile
