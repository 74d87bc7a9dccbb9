#include "cuse-dxg/replay/command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "cuse-dxg/replay/player.h"

namespace dxg::replay {
namespace {

constexpr int kSame = 0, kDifferent = 1, kNotPlayed = 125;

int Refused(const std::string& why) {
  fmt::print(stderr, "cuse-dxg replay: {}\n", why);
  return kNotPlayed;
}

}  // namespace

Command::Command(CLI::App& app) {
  replay_ = app.add_subcommand(
      "replay", "Play the client's side of a recording against a node, and compare the answers");
  replay_->add_option("FILE", file_, "The recording (of `cuse-dxg record`, or --record of run and serve)")
      ->type_name("FILE")
      ->required();
  CLI::Option* const device =
      replay_->add_option("--device", device_, "The node; default: a private one, as `cuse-dxg run` makes it")
          ->type_name("PATH");
  replay_
      ->add_option("--profile", profiles_, "Adapter profile of the private node; repeat it for more adapters")
      ->type_name("NAME|FILE")
      ->take_all()
      ->allow_extra_args(false)
      ->excludes(device);
  replay_->add_option("--scenario", scenario_, "Scenario of the private node (docs/scenarios.md)")
      ->type_name("NAME")
      ->excludes(device);
  replay_->add_option("--backend", backend_, "Host of the private node, as of `cuse-dxg run`")
      ->type_name("BACKEND")
      ->excludes(device);
  replay_
      ->add_option("--timing", timing_,
                   "When calls begin: when they began (recorded), or as soon as those are over that had "
                   "ended before (fast)")
      ->check(CLI::IsMember({"recorded", "fast"}))
      ->capture_default_str();
  replay_->footer(
      "Each process is a process and each thread a thread. Handles, LUIDs, addresses, descriptors, eventfds "
      "and process\n"
      "numbers are compared by what they stand for; times and measured values may differ.\n"
      "Exit status: 0 if all answers are the same; 1 if one is not, which is printed with what it depends "
      "on; 2 if the\n"
      "command line is wrong; 125 if the recording cannot be read, or no node be opened.");
}

int Command::Run() const { return device_.empty() ? PlayInRun() : Play(); }

int Command::Play() const {
  auto recording = Recording::Open(file_);
  if (!recording.ok()) return Refused(recording.status().why());
  if ((*recording)->calls().empty()) return Refused(file_ + ": there is no call in it that could be played");
  fmt::print(stderr, "{}", (*recording)->end_text());
  auto played = replay::Play(**recording, {.device = device_, .recorded_times = timing_ == "recorded"});
  if (!played.ok()) return Refused(played.status().why());
  if (!played->first.empty()) fmt::print("The first answer that differs:\n{}", played->first);
  fmt::print("{}", played->counts.Text());
  if ((*recording)->left_out() != 0)
    fmt::print(
        "{} records are not played: ioctls that are no call, calls of inherited descriptors, calls that a "
        "signal ended\n",
        (*recording)->left_out());
  if (played->missing != 0) fmt::print("{} calls have no answer: {}\n", played->missing, played->why_missing);
  return played->counts.different() == 0 && played->missing == 0 ? kSame : kDifferent;
}

// With a node of its own: by this program, which runs itself in it.
int Command::PlayInRun() const {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  std::vector<std::string> words{self, "run", "--no-wsl-libs"};
  for (const std::string& profile : profiles_) words.insert(words.end(), {"--profile", profile});
  if (!scenario_.empty()) words.insert(words.end(), {"--scenario", scenario_});
  if (!backend_.empty()) words.insert(words.end(), {"--backend", backend_});
  words.insert(words.end(), {"--", self, "replay", "--device", "/dev/dxg", "--timing", timing_, file_});
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  // What the user has in the environment for runs of his own would be in this one.
  for (const char* name : {"DXG_RECORD", "DXG_TRACE", "DXG_TRACE_JSON", "DXG_REPORT", "DXG_CONFIG",
                           "DXG_PROFILE", "DXG_SCENARIO", "DXG_BACKEND", "DXG_ATTACH"})
    unsetenv(name);
  execv(self.c_str(), arguments.data());
  return Refused(fmt::format("{} cannot be run: {}", self, std::strerror(errno)));
}

}  // namespace dxg::replay
