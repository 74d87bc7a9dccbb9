#pragma once

#include <optional>
#include <string>

namespace dxg::command_line {

// A part of a work that several tasks share.
struct Shard {
  int index = 0;  // from 0
  int total = 1;
};

// The shard of this task by the variables of a batch system: Slurm's array, Kubernetes' Indexed Job, GitLab's
// `parallel`. `total_given` is how many there are, or 0: the environment says it. Returns what is wrong, or
// nothing.
[[nodiscard]] std::optional<std::string> ShardFromEnvironment(int total_given, Shard* shard);

// A whole number in a variable of the environment. `present` is whether there is the variable, and not empty.
struct Variable {
  bool present = false;
  std::optional<int> value;
};
Variable NumberFrom(const char* name);

}  // namespace dxg::command_line
