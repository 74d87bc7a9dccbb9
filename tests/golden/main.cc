// dxg-golden: replays records of the real driver through our guest and counts how they compare.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <array>
#include <cstdint>

#include "base/command_line/parse.h"
#include "base/command_line/progress.h"
#include "tests/golden/replay.h"

int main(int argc, char** argv) {
  using dxg::golden::Outcome;
  CLI::App app{
      "Replays recorded sequences of the real driver (.jsonl or .jsonl.zst) through the guest half, with a "
      "scripted host, and\n"
      "compares results, output bytes and the packets to the host, call by call.",
      "dxg-golden"};
  app.set_version_flag("--version", "dxg-golden " DXG_VERSION);
  app.footer(
      "Exit status: 0; 1 where a record differs without a decision; 2 where a file cannot be read, or the\n"
      "command line is wrong.");
  std::vector<std::string> files;
  bool verbose = false, explain = false;
  size_t most = 20;
  app.add_option("FILE", files, "Files of records; installed ones are in share/cuse-dxg/golden")->required();
  app.add_flag("-v,--verbose", verbose, "Print every record's outcome");
  app.add_flag("--explain", explain, "Print why records are not served or cannot be rebuilt, counted");
  app.add_option("--most", most, "How many differences to print for each file")->capture_default_str();
  if (const auto status = dxg::command_line::Parse(app, argc, argv)) return *status;
  spdlog::set_level(spdlog::level::off);

  static constexpr const char* kNames[] = {"match", "differ by decision", "differ otherwise",
                                           "not served yet", "cannot be rebuilt"};
  std::array<size_t, 5> total{};
  dxg::command_line::Progress progress("records", 0);
  uint64_t replayed = 0;
  for (const auto& file : files) {
    std::array<size_t, 5> count{};
    std::map<std::string, size_t> reasons;
    dxg::golden::Replay replay;
    const auto each = [&](const dxg::golden::Json& record) {
      const auto verdict = replay.Run(record);
      progress.At(++replayed);
      const size_t outcome = static_cast<size_t>(verdict.outcome);
      ++count[outcome];
      if (verdict.outcome == Outcome::kNotServed || verdict.outcome == Outcome::kNotRebuilt)
        ++reasons[fmt::format("{}: {}", kNames[outcome], verdict.why)];
      if (verbose || (verdict.outcome == Outcome::kDiffers && count[outcome] <= most)) {
        progress.Clear();
        fmt::print("{} {}/{} \"{}\": {}{}{}\n", file, record.value("suite", ""), record.value("id", -1),
                   record.value("label", ""), kNames[outcome], verdict.why.empty() ? "" : ": ", verdict.why);
      }
    };
    const dxg::Status status = dxg::golden::ForEachRecord(file, each);
    progress.Clear();
    if (!status.ok()) {
      fmt::print(stderr, "dxg-golden: {}\n", status.why());
      return 2;
    }
    fmt::print("{}:", file);
    for (size_t i = 0; i < count.size(); ++i) {
      fmt::print("{} {} {}", i == 0 ? "" : ",", count[i], kNames[i]);
      total[i] += count[i];
    }
    fmt::print("\n");
    if (explain) {
      for (const auto& [reason, times] : reasons) fmt::print("  {:6} {}\n", times, reason);
    }
  }
  fmt::print("all:");
  for (size_t i = 0; i < total.size(); ++i) fmt::print("{} {} {}", i == 0 ? "" : ",", total[i], kNames[i]);
  fmt::print("\n");
  return total[static_cast<size_t>(Outcome::kDiffers)] == 0 ? 0 : 1;
}
