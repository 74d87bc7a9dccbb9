#pragma once

#include <fmt/format.h>

#include <random>
#include <utility>
#include <vector>

#include "tests/simulation/machine.h"
#include "tests/simulation/run.h"

namespace dxg::simulation {

// Common parts of all kinds of runs: they draw from their seed, print what they do, and stop when the machine
// differs from the model. One client at a time acts.
class SeededRun {
 public:
  int step() const { return step_; }
  uint64_t hash() const { return hash_; }

 protected:
  SeededRun(uint64_t random_seed, bool verbose) : random_(random_seed), verbose_(verbose) {}
  ~SeededRun() = default;
  virtual Machine& machine() = 0;

  uint64_t Below(uint64_t limit) { return limit == 0 ? 0 : random_() % limit; }
  bool Chance(int percent) { return Below(100) < static_cast<uint64_t>(percent); }
  template <typename T>
  T* Pick(std::vector<T>& list) {
    return list.empty() ? nullptr : &list[Below(list.size())];
  }
  template <typename... Args>
  void Say(fmt::format_string<Args...> format, Args&&... args) {
    const std::string line = fmt::format("{:4} {} @{}: {}", step_, Pid(), machine().clock().NowNs(),
                                         fmt::format(format, std::forward<Args>(args)...));
    for (const char letter : line) hash_ = (hash_ ^ static_cast<unsigned char>(letter)) * 0x100000001B3;
    if (verbose_) fmt::print("{}\n", line);
  }
  template <typename A, typename B>
  void Equal(const A& got, const B& wanted, const char* what) {
    if (got != wanted)
      throw Broken{fmt::format("process {}: {}: got {}, the model says {}", Pid(), what, got, wanted)};
  }
  void True(bool condition, const char* what) {
    if (!condition) throw Broken{fmt::format("process {}: {}", Pid(), what)};
  }
  pid_t Pid() const { return 100 + current_; }
  template <typename Args>
  int32_t Call(uint32_t code, Args* args) {
    return machine().Call(Pid(), code, args);
  }
  static uint64_t AddressOf(const void* data) { return reinterpret_cast<uint64_t>(data); }

  // One of a table of acts, each as often as its weight says.
  template <typename Run, size_t kCount>
  void ActOnce(Run& run, const std::pair<int, void (Run::*)()> (&acts)[kCount]) {
    int sum = 0;
    for (const auto& [weight, act] : acts) sum += weight;
    int chosen = static_cast<int>(Below(static_cast<uint64_t>(sum)));
    for (const auto& [weight, act] : acts) {
      if ((chosen -= weight) < 0) return (run.*act)();
    }
  }

  std::mt19937_64 random_;
  const bool verbose_;
  int current_ = 0;  // who acts
  int step_ = 0;

 private:
  uint64_t hash_ = 0xCBF29CE484222325;
};

// The whole of one.
template <typename Run>
Outcome Play(const Options& options, uint64_t seed) {
  auto run = std::make_unique<Run>(seed, options.verbose);
  try {
    run->Steps(options.steps);
  } catch (const Broken& broken) {
    return {run->step(), broken.what, run->hash()};
  }
  return {0, {}, run->hash()};
}

}  // namespace dxg::simulation
