#include "base/command_line/shard.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <iterator>
#include <string_view>
#include <system_error>

namespace dxg::command_line {
namespace {

// A batch system: its variables for the task's number, how many there are, the first number, the step.
struct BatchSystem {
  const char* index;
  const char* total;
  const char* first;  // nullptr: first_number
  const char* step;
  int first_number;
};

constexpr BatchSystem kBatchSystems[] = {
    {"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", 0},
    {"JOB_COMPLETION_INDEX", nullptr, nullptr, nullptr, 0},  // Kubernetes tells no total
    {"CI_NODE_INDEX", "CI_NODE_TOTAL", nullptr, nullptr, 1},
};

// The value, a default where there is no such variable, or nothing if it is no number.
std::optional<int> NumberOr(const char* name, int otherwise) {
  if (name == nullptr) return otherwise;
  const Variable variable = NumberFrom(name);
  return variable.present ? variable.value : otherwise;
}

}  // namespace

Variable NumberFrom(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == 0) return {};
  const std::string_view view(text);
  int value = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (error != std::errc() || end != view.data() + view.size()) return {true, std::nullopt};
  return {true, value};
}

std::optional<std::string> ShardFromEnvironment(int total_given, Shard* shard) {
  const auto* const found =
      std::find_if(std::begin(kBatchSystems), std::end(kBatchSystems),
                   [](const BatchSystem& system) { return NumberFrom(system.index).present; });
  if (found == std::end(kBatchSystems))
    return "--shard-from-env found no shard: expected SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX or "
           "CI_NODE_INDEX in the environment";
  const BatchSystem& system = *found;
  const std::string name = system.index;
  const std::optional<int> number = NumberFrom(system.index).value;
  const std::optional<int> first = NumberOr(system.first, system.first_number);
  const std::optional<int> step = NumberOr(system.step, 1);
  const std::optional<int> total = total_given != 0 ? total_given : NumberOr(system.total, 0);
  if (!number || !first || !step || *step < 1 || !total)
    return "--shard-from-env: " + name + " and the variables beside it have to be numbers";
  if (*total < 1)
    return "--shard-from-env: " + name + " is set, but not how many there are. Give --shards N" +
           (system.total == nullptr ? "" : ", or set " + std::string(system.total));
  *shard = {(*number - *first) / *step, *total};
  if (*number < *first || shard->index >= *total || (*number - *first) % *step != 0)
    return "--shard-from-env: " + name + "=" + std::to_string(*number) + " is none of " +
           std::to_string(*total) + " shards that begin at " + std::to_string(*first);
  return std::nullopt;
}

}  // namespace dxg::command_line
