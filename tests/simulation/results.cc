#include "tests/simulation/results.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

namespace dxg::simulation {
namespace {

using command_line::Shard;
using Json = nlohmann::ordered_json;

constexpr int kUsage = 2;
constexpr int kShardsMost = 100000;  // as --shards takes

int Wrong(const std::string& what) {
  fmt::print(stderr, "dxg-simulation: {}\n", what);
  return kUsage;
}

Results FromJson(const Json& json) {
  Results results;
  results.version = json.at("version");
  results.kind = json.at("kind");
  results.steps = json.at("steps");
  results.first = json.at("first");
  results.seeds = json.at("seeds");
  for (const Json& each : json.at("shards")) results.shards.push_back({each.at("index"), each.at("total")});
  results.done = json.at("done");
  results.complete = json.at("complete");
  for (const Json& each : json.at("broken"))
    results.broken.push_back({each.at("seed"), each.at("step"), each.at("what")});
  return results;
}

bool AreOfOneRun(const Results& one, const Results& other) {
  return one.version == other.version && one.kind == other.kind && one.steps == other.steps &&
         one.first == other.first && one.seeds == other.seeds &&
         one.shards.front().total == other.shards.front().total;
}

}  // namespace

Seeds SeedsOf(const Results& run, Shard shard) {
  // The first shards have one more where it does not divide.
  const auto total = static_cast<uint64_t>(shard.total), index = static_cast<uint64_t>(shard.index);
  const uint64_t each = run.seeds / total, more = run.seeds % total;
  return {run.first + index * each + std::min(index, more), each + (index < more ? 1 : 0)};
}

std::optional<std::string> WriteResults(const std::string& path, const Results& results) {
  Json shards = Json::array(), broken = Json::array();
  for (const Shard& shard : results.shards)
    shards.push_back({{"index", shard.index}, {"total", shard.total}});
  for (const BrokenSeed& each : results.broken)
    broken.push_back({{"seed", each.seed}, {"step", each.step}, {"what", each.what}});
  const Json all = {{"version", results.version}, {"kind", results.kind},         {"steps", results.steps},
                    {"first", results.first},     {"seeds", results.seeds},       {"shards", shards},
                    {"done", results.done},       {"complete", results.complete}, {"broken", broken}};
  const std::string unfinished = path + ".new";
  std::ofstream file(unfinished, std::ios::trunc);
  file << all.dump(1, ' ', false, Json::error_handler_t::replace) << "\n";
  file.close();
  const int error = file ? 0 : errno;
  if (error == 0 && std::rename(unfinished.c_str(), path.c_str()) == 0) return std::nullopt;
  return fmt::format("{} cannot be written: {}", path, std::strerror(error != 0 ? error : errno));
}

std::optional<std::string> ReadResults(const std::string& path, Results* results) {
  std::ifstream file(path);
  if (!file) return fmt::format("{} cannot be read: {}", path, std::strerror(errno));
  try {
    *results = FromJson(Json::parse(file));
  } catch (const std::exception& error) {
    return fmt::format("{} has no results of dxg-simulation: {}", path, error.what());
  }
  for (const Shard& shard : results->shards) {
    if (shard.total < 1 || shard.total > kShardsMost || shard.index < 0 || shard.index >= shard.total)
      return fmt::format("{}: {} is none of {} shards", path, shard.index, shard.total);
  }
  return std::nullopt;
}

int Conclude(const Results& results) {
  fmt::print("{} seeds of {} {}: {}\n", results.done, results.steps,
             results.kind == "memory" ? "calls" : "steps",
             results.broken.empty() ? "all as the model says"
                                    : fmt::format("{} not as the model says", results.broken.size()));
  if (!results.complete) fmt::print("Not complete: {} seeds are missing.\n", results.seeds - results.done);
  return results.complete && results.broken.empty() ? 0 : 1;
}

int Merge(const std::vector<std::string>& files, const std::string& json) {
  std::map<int, Results> shards;
  for (const std::string& file : files) {
    Results results;
    if (const auto wrong = ReadResults(file, &results)) return Wrong(*wrong);
    if (results.shards.size() != 1)
      return Wrong(
          fmt::format("{} has the results of {} shards; expected those of one", file, results.shards.size()));
    if (!shards.empty() && !AreOfOneRun(shards.begin()->second, results))
      return Wrong(fmt::format("{} is of another run: kind, steps, seeds, shards or version differ from {}",
                               file, files.front()));
    const auto [found, is_first] = shards.emplace(results.shards.front().index, results);
    if (!is_first && !found->second.complete) found->second = std::move(results);
  }
  Results all = shards.begin()->second;
  const int total = all.shards.front().total;
  all.shards.clear();
  all.broken.clear();
  all.done = 0;
  all.complete = true;
  for (int index = 0; index < total; ++index) {
    const auto shard = shards.find(index);
    const bool is_there = shard != shards.end();
    if (!is_there || !shard->second.complete)
      fmt::print("Shard {} of {} {}.\n", index, total, is_there ? "ended early" : "is missing");
    all.complete = all.complete && is_there && shard->second.complete;
    if (!is_there) continue;
    all.shards.push_back({index, total});
    all.done += shard->second.done;
    all.broken.insert(all.broken.end(), shard->second.broken.begin(), shard->second.broken.end());
  }
  for (const BrokenSeed& each : all.broken)
    fmt::print("{} seed {}, step {}: {}\nAgain: dxg-simulation --kind {} --seed {} --steps {} --verbose\n",
               all.kind, each.seed, each.step, each.what, all.kind, each.seed, all.steps);
  if (!json.empty()) {
    if (const auto wrong = WriteResults(json, all)) return Wrong(*wrong);
  }
  return Conclude(all);
}

}  // namespace dxg::simulation
