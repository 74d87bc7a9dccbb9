#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/conformance/tool/results.h"

// Which tests run: GoogleTest's filter, what is left out of it, and shards.

namespace dxg::conformance {

// "Suite.Test" of every test of the program, in its order.
std::vector<std::string> AllTests();

// Whether GoogleTest runs a test of that name under that filter ("positive:patterns-negative:patterns").
bool FitsFilter(const std::string& filter, const std::string& test);

// Those of AllTests() that GoogleTest would run now, shards aside.
std::vector<std::string> SelectedTests();

// Adds negative patterns to GoogleTest's filter.
void LeaveOutOfFilter(const std::vector<std::string>& patterns);

// Reads the shard from the variables of a batch system and hands it to GoogleTest by its own variables.
// `total_given` is --shards, or 0. Returns what is wrong, or nothing.
[[nodiscard]] std::optional<std::string> TakeShardFromEnvironment(int total_given, Shard* shard);

// The shard that GoogleTest's variables name, if they name one.
std::optional<Shard> ShardOfGoogleTest();

}  // namespace dxg::conformance
