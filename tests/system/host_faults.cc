// The proof that no fault of a host in another process does more than it must. Clients work at random while
// the host or the device is killed, stopped or cut off; after each fault it is checked that no call hangs,
// that what waited has ended, that no byte is wrong, that what is opened anew works, and that nothing is left
// of what is gone. One seed decides everything but the timing.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tests/conformance/options.h"
#include "tests/system/fault_board.h"
#include "tests/system/fault_client.h"
#include "tests/system/fault_rig.h"

namespace dxg::faults {
namespace {

enum class Fault : size_t {
  kHostKilled,
  kHostEnded,
  kHostStopped,
  kCut,
  kSocketReplaced,
  kDeviceKilled,
  kHostPaused,
  kDevicePaused
};

struct Kind {
  const char* name;
  Loss loss;
  unsigned weight;  // those that take seconds come less often
};

constexpr std::array<Kind, 8> kKinds = {{
    {"host killed", Loss::kHost, 6},
    {"host ended", Loss::kHost, 3},
    {"host stopped", Loss::kHost, 2},
    {"connection cut", Loss::kHost, 4},
    {"socket replaced", Loss::kHost, 4},
    {"device killed", Loss::kDevice, 6},
    {"host paused", Loss::kNothing, 3},
    {"device paused", Loss::kNothing, 1},
}};

constexpr int64_t kLimitNs = 2000 * kNsPerMs;      // of a call, from the fault on
constexpr int64_t kOpenLimitNs = 4000 * kNsPerMs;  // until a device works, from its host's return on
constexpr int64_t kGiveBackNs = 5000 * kNsPerMs;   // until everything of something gone is given back
constexpr int64_t kPatienceNs = 1000 * kNsPerMs;   // of a device with its host
constexpr size_t kGrowthKiBMax = 64 * 1024;        // of a process's own memory over all rounds

struct Options {
  uint64_t seed = 1;
  unsigned rounds = 200;
  double scale = 1;
  std::string only;
  std::string backend = "unix";
  bool verbose = false;
};

class Proof {
 public:
  Proof(const Options& options, std::string bin)
      : options_(options), random_(options.seed), board_(*MapBoard()), rig_(std::move(bin), options.backend) {
    board_.limit_ns = Scaled(kLimitNs);
    board_.open_limit_ns = Scaled(kOpenLimitNs);
  }

  void Run() {
    Begin();
    for (unsigned i = 0; i < options_.rounds; ++i) {
      const Fault fault = Choose();
      ++counts_[static_cast<size_t>(fault)];
      said_ =
          fmt::format("round {} of {}: {}", i + 1, options_.rounds, kKinds[static_cast<size_t>(fault)].name);
      if (options_.verbose) fmt::print(stderr, "{}\n", said_);
      WorkFor(Between(5, 100) * kNsPerMs);
      Strike(fault);
    }
    said_ = "the end";
    End();
    Report();
  }

  const std::string& said() const { return said_; }
  std::string Logs() const { return rig_.Logs(); }

 private:
  static Board* MapBoard() {
    void* memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("mmap");
    return new (memory) Board;
  }

  int64_t Scaled(int64_t ns) const { return static_cast<int64_t>(static_cast<double>(ns) * options_.scale); }
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }
  bool Coin() { return random_() % 2 == 0; }

  Fault Choose() {
    for (;;) {
      unsigned total = 0;
      for (const Kind& kind : kKinds) total += kind.weight;
      auto left = static_cast<unsigned>(random_() % total);
      size_t index = 0;
      while (left >= kKinds[index].weight) left -= kKinds[index++].weight;
      if (options_.only.empty() || options_.only == kKinds[index].name) return static_cast<Fault>(index);
    }
  }

  // -- Begin and end --

  void Begin() {
    rig_.StartHost();
    fresh_host_ = Settled(rig_.host());
    fresh_host_kib_ = AnonymousKiB(rig_.host());
    StartClients();
    rig_.StartDevice();
    Back();
    Await("has begun", Scaled(kOpenLimitNs), [](const ClientSlot& slot) { return slot.steps > 0; });
    // What it holds from here on is what it always holds.
    said_ = "a round without a fault";
    Announce(Loss::kNothing);
    BeginRound();
    AwaitClosed();
    idle_device_ = Settled(rig_.device());
    idle_device_kib_ = AnonymousKiB(rig_.device());
    Return();
  }

  // Forked before the device is there, so that none of them has anything of it; they wait for its start.
  void StartClients() {
    conformance::options().device = rig_.node();
    std::array<int[2], kClients> posts;
    for (auto& post : posts) {
      if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, post) != 0)
        throw std::runtime_error("socketpair");
    }
    const pid_t parent = getpid();
    for (size_t i = 0; i < kClients; ++i) {
      const uint64_t seed = random_();
      const pid_t pid = fork();
      if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        Rig::UnblockSignals();
        if (getppid() != parent) _exit(126);
        const Post post{posts[(i + 1) % kClients][0], posts[i][1]};
        board_.news.Await(INT64_MAX, [this] { return board_.back_ns != 0; });
        _exit(RunClient(board_, i, seed, post));
      }
      rig_.Adopt(pid);
      clients_.push_back(pid);
    }
    for (const auto& post : posts) {
      close(post[0]);
      close(post[1]);
    }
  }

  void End() {
    Announce(Loss::kNothing);
    BeginRound();
    AwaitClosed();
    board_.end = true;
    board_.news.Tell();
    for (const pid_t pid : clients_) {
      int status = 0;
      if (!rig_.Until(NowNs() + Scaled(kGiveBackNs), [&] { return rig_.HasEnded(pid, &status); }) ||
          status != 0)
        throw std::runtime_error(fmt::format("client {} does not end well (status {:#x})", pid, status));
    }
    AwaitHoldings("the device", rig_.device(), idle_device_);
    CheckGrowth("the device", rig_.device(), idle_device_kib_);
    if (const int status = rig_.Terminate(rig_.device(), Scaled(kGiveBackNs)); status != 0)
      throw std::runtime_error(fmt::format("the device does not end well (status {:#x})", status));
    if (rig_.Unmount() != 0) throw std::runtime_error("a device that ended well left a mount");
    AwaitHoldings("the host", rig_.host(), fresh_host_);
    CheckGrowth("the host", rig_.host(), fresh_host_kib_);
    if (const int status = rig_.Terminate(rig_.host(), Scaled(kGiveBackNs)); status != 0)
      throw std::runtime_error(fmt::format("the host does not end well (status {:#x})", status));
    if (rig_.HasSocketFile()) throw std::runtime_error("a host that ended well left its socket");
  }

  void Report() const {
    int64_t end_ns = 0, open_ns = 0;
    uint64_t steps = 0;
    for (const ClientSlot& slot : board_.clients) {
      end_ns = std::max(end_ns, slot.worst_end_ns.load());
      open_ns = std::max(open_ns, slot.worst_open_ns.load());
      steps += slot.steps;
    }
    fmt::print(
        "seed {}: {} rounds, {} steps of {} clients; a call's longest end after a fault {} ms, the longest "
        "until a device worked again {} ms\n",
        options_.seed, options_.rounds, steps, kClients, end_ns / kNsPerMs, open_ns / kNsPerMs);
    for (size_t i = 0; i < kKinds.size(); ++i)
      fmt::print("{}{} {}", i == 0 ? "" : ", ", kKinds[i].name, counts_[i]);
    fmt::print("\n");
  }

  // -- Faults --

  void Strike(Fault fault) {
    switch (fault) {
      case Fault::kHostPaused:
        return PauseHost();
      case Fault::kDevicePaused:
        return PauseDevice();
      case Fault::kDeviceKilled:
        return KillDevice();
      default:
        return LoseHost(fault);
    }
  }

  // Shorter than the patience, with room for the pause between two questions: nobody notices.
  void PauseHost() {
    kill(rig_.host(), SIGSTOP);
    WorkFor(Between(10, kPatienceNs / kNsPerMs / 2) * kNsPerMs);
    kill(rig_.host(), SIGCONT);
  }

  // Longer than the patience: it was the device that stood still, not its host.
  void PauseDevice() {
    ++board_.freezes;
    kill(rig_.device(), SIGSTOP);
    WorkFor(kPatienceNs + Between(300, 800) * kNsPerMs);
    kill(rig_.device(), SIGCONT);
    // Whatever began meanwhile gets its time from here on.
    ++board_.freezes;
  }

  void KillDevice() {
    const std::set<pid_t> helpers = ChildrenOf(rig_.device());
    Announce(Loss::kDevice);
    rig_.Kill(rig_.device());
    Struck();
    const bool at_once = Coin();
    if (at_once) StartDevice();
    AwaitClosed();
    if (!at_once) {
      AwaitHoldings("the host, of a device that died,", rig_.host(), fresh_host_);
      if (rig_.Unmount() != 1)
        throw std::runtime_error("a killed device left another number of mounts than one");
      StartDevice();
    }
    if (!rig_.Until(NowNs() + Scaled(kGiveBackNs), [&] {
          return std::all_of(helpers.begin(), helpers.end(), [&](pid_t pid) { return rig_.HasEnded(pid); });
        }))
      throw std::runtime_error("a helper of a killed device goes on");
    Return();
  }

  void StartDevice() {
    rig_.StartDevice();
    Back();
  }

  void LoseHost(Fault fault) {
    Announce(Loss::kHost);
    const pid_t old = rig_.host();
    switch (fault) {
      case Fault::kHostKilled:
        rig_.Kill(old);
        break;
      case Fault::kHostEnded:
        MustEnd(old);
        break;
      case Fault::kHostStopped:
        kill(old, SIGSTOP);
        break;
      case Fault::kSocketReplaced:
        ReplaceSocket(old);
        break;
      default:
        rig_.CutConnection();
    }
    Struck();
    const bool at_once = fault != Fault::kHostStopped && Coin();
    if (at_once) BringHostBack(fault);
    AwaitClosed();
    if (!at_once) BringHostBack(fault);
    AwaitHoldings("the device, of a host that is gone,", rig_.device(), idle_device_);
    Return();
  }

  // The connection goes on without the file. Then the old host goes, and leaves the new one's socket alone.
  void ReplaceSocket(pid_t old) {
    rig_.RemoveSocketFile();
    rig_.StartHost();
    Coin() ? rig_.Kill(old) : MustEnd(old);
    if (!rig_.HasSocketFile()) throw std::runtime_error("a host that ended took another's socket with it");
  }

  void MustEnd(pid_t host) {
    if (const int status = rig_.Terminate(host, Scaled(kGiveBackNs)); status != 0)
      throw std::runtime_error(fmt::format("the host does not end well (status {:#x})", status));
  }

  void BringHostBack(Fault fault) {
    const bool stopped = fault == Fault::kHostStopped;
    if (stopped && Coin()) {
      kill(rig_.host(), SIGCONT);
    } else if (stopped || fault == Fault::kHostKilled || fault == Fault::kHostEnded) {
      if (stopped) rig_.Kill(rig_.host());
      rig_.StartHost();
    }
    Back();
  }

  // -- What the board says --

  void Announce(Loss loss) {
    board_.loss = loss;
    board_.announced = ++round_;
  }
  void Struck() {
    board_.struck_ns = NowNs();
    BeginRound();
  }
  void BeginRound() {
    board_.struck = round_;
    board_.news.Tell();
  }
  // The device, or its host, is there again.
  void Back() {
    board_.back_ns = NowNs();
    board_.news.Tell();
  }
  void Return() {
    if (board_.loss == Loss::kNothing) board_.back_ns = NowNs();
    board_.back = round_;
    board_.news.Tell();
    Await("works again", Scaled(kOpenLimitNs),
          [this](const ClientSlot& slot) { return slot.opened >= round_; });
  }
  void AwaitClosed() {
    Await("has closed everything", 2 * Scaled(kLimitNs),
          [this](const ClientSlot& slot) { return slot.closed >= round_; });
  }

  // -- Checks --

  // Until `condition` is true of what clients do, by then; they are looked after meanwhile.
  bool WhileClientsAreWell(int64_t deadline_ns, const std::function<bool()>& condition) {
    const auto check = [&] {
      CheckClients();
      return condition();
    };
    return rig_.Until(deadline_ns, check, board_.told, HangsFromNs());
  }

  void WorkFor(int64_t ns) {
    WhileClientsAreWell(NowNs() + ns, [] { return false; });
  }

  template <typename Done>
  void Await(const char* what, int64_t patience_ns, Done done) {
    const bool all = WhileClientsAreWell(NowNs() + patience_ns, [&] {
      return std::all_of(std::begin(board_.clients), std::end(board_.clients), done);
    });
    if (all) return;
    std::string who;
    for (size_t i = 0; i < kClients; ++i) {
      if (!done(board_.clients[i]))
        who += fmt::format("\n  client {} ({}){}{}", i, clients_[i], InCall(board_.clients[i].calls),
                           InCall(board_.clients[i].wait));
    }
    throw std::runtime_error(fmt::format("not every client {} in time:{}", what, who));
  }

  static std::string InCall(const CallSlot& slot) {
    const char* name = slot.name;
    return name == nullptr ? ""
                           : fmt::format(", in: {}, for {} ms", name, (NowNs() - slot.began_ns) / kNsPerMs);
  }

  // From a loss on nothing that was under way then takes longer than this; 0: nothing is lost.
  int64_t HangsFromNs() const {
    return board_.loss == Loss::kNothing || board_.struck != round_ ? 0 : board_.struck_ns + board_.limit_ns;
  }

  void CheckClients() {
    if (rig_.asked_to_end()) throw std::runtime_error("asked to end by a signal");
    for (size_t i = 0; i < kClients; ++i) {
      int status = 0;
      if (!rig_.HasEnded(clients_[i], &status)) continue;
      throw std::runtime_error(
          fmt::format("client {} ended (status {:#x}): {}", i, status, board_.clients[i].failure));
    }
    for (const pid_t pid : {rig_.host(), rig_.device()}) {
      int status = 0;
      if (board_.announced == board_.back && rig_.HasEnded(pid, &status))
        throw std::runtime_error(fmt::format("process {} ended by itself (status {:#x})", pid, status));
    }
    if (HangsFromNs() == 0 || NowNs() < HangsFromNs()) return;
    const int64_t struck_ns = board_.struck_ns;
    for (const ClientSlot& slot : board_.clients) {
      for (const CallSlot* each : {&slot.calls, &slot.wait}) {
        if (each->name != nullptr && each->began_ns < struck_ns)
          throw std::runtime_error(fmt::format("{} ms after the fault a call hangs{}",
                                               (NowNs() - struck_ns) / kNsPerMs, InCall(*each)));
      }
    }
  }

  // What it holds when that has stopped changing.
  Holdings Settled(pid_t pid) {
    constexpr int64_t kQuietNs = 300 * kNsPerMs;
    Holdings last = HoldingsOf(pid);
    int64_t since_ns = NowNs();
    UntilSeen(NowNs() + Scaled(kGiveBackNs), [&] {
      if (const Holdings now = HoldingsOf(pid); now != last) {
        last = now;
        since_ns = NowNs();
      }
      return NowNs() - since_ns > kQuietNs;
    });
    return last;
  }

  void AwaitHoldings(std::string_view who, pid_t pid, const Holdings& expected) {
    if (UntilSeen(NowNs() + Scaled(kGiveBackNs), [&] { return HoldingsOf(pid) == expected; })) return;
    throw std::runtime_error(
        fmt::format("{} holds {}; expected {}", who, ToString(HoldingsOf(pid)), ToString(expected)));
  }

  static void CheckGrowth(std::string_view who, pid_t pid, size_t before_kib) {
    const size_t kib = AnonymousKiB(pid);
    fmt::print("{}: {} KiB of its own memory, {} in the beginning\n", who, kib, before_kib);
    if (kib > before_kib + kGrowthKiBMax)
      throw std::runtime_error(fmt::format("{} has grown from {} to {} KiB", who, before_kib, kib));
  }

  const Options options_;
  std::mt19937_64 random_;
  Board& board_;
  Rig rig_;
  std::vector<pid_t> clients_;
  uint32_t round_ = 0;  // the board's: faults with a loss, and ends in order
  Holdings fresh_host_, idle_device_;
  size_t fresh_host_kib_ = 0, idle_device_kib_ = 0;
  std::array<unsigned, kKinds.size()> counts_ = {};
  std::string said_ = "the beginning";
};

int Main(int argc, char** argv) {
  Options options;
  std::random_device device;
  options.seed = device();
  CLI::App app{"dxg-host-faults: clients at work while hosts and devices are killed, stopped and cut off"};
  app.add_option("--seed", options.seed,
                 "Decides everything but the timing; default: a new one, which is printed");
  app.add_option("--rounds", options.rounds, "Faults")->capture_default_str();
  app.add_option("--scale", options.scale, "Times all limits, for builds that are slower")
      ->capture_default_str();
  app.add_option("--only", options.only, "Only faults of that kind, e.g. \"host killed\"");
  app.add_option("--backend", options.backend,
                 "How the device reaches its host: a stream of messages, or the rings of a VMBus")
      ->check(CLI::IsMember({"unix", "vmbus"}))
      ->capture_default_str();
  app.add_flag("--verbose", options.verbose, "Say each round");
  CLI11_PARSE(app, argc, argv);
  fmt::print("seed {}\n", options.seed);
  std::fflush(stdout);
  Proof proof(options, std::filesystem::read_symlink("/proc/self/exe").parent_path());
  try {
    proof.Run();
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "seed {}, {}: {}\n{}", options.seed, proof.said(), error.what(), proof.Logs());
    return 1;
  }
}

}  // namespace
}  // namespace dxg::faults

int main(int argc, char** argv) { return dxg::faults::Main(argc, argv); }
