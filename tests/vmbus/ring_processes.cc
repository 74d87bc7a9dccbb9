// dxg-ring-model: the model of ring_model.h between two processes, one of which is stopped, continued and
// killed at random. Rounds of two kinds take turns: channels that talk both ways, and one short ring between
// two loops that only look.
//
// At every moment the survivor has seen the first packets that the other sent, each whole, and it ends when
// it is told that the other is gone. A round that hangs or fails prints its seed.
#include <fmt/format.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "link/vmbus/eventfd_signal.h"
#include "link/vmbus/ring_channel.h"
#include "tests/vmbus/guarded_ring.h"
#include "tests/vmbus/ring_model.h"

namespace {

using namespace dxg;
using namespace dxg::vmbus;

constexpr unsigned kRoundSecondsMax = 100;

uint64_t round_seed = 0, round_packets = 0;  // for whoever finds that it fails or hangs

[[noreturn]] void Fail(const std::string& what) {
  fmt::print(stderr, "dxg-ring-model: {}\nrepeat with: dxg-ring-model --rounds 1 --packets {} --seed {}\n",
             what, round_packets, round_seed);
  std::exit(1);
}

// What else is to happen to the other process in a round.
struct Plan {
  uint64_t stop_every = 0;  // so many steps of ours; 0: never
  uint64_t stop_for = 0;    // so many, if we can go on for so long
  uint64_t kill_at = 0;     // after so many; 0: never
  uint64_t steps = 0;       // we may make no more, so that nobody would continue it
};

// The other process, stopped and killed by ours at points of our own progress.
class Victim {
 public:
  Victim(Plan plan, const std::function<std::string()>& work) : plan_(plan) {
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ < 0) Fail("fork");
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    const std::string wrong = work();
    if (!wrong.empty()) fmt::print(stderr, "dxg-ring-model: the other process: {}\n", wrong);
    _exit(wrong.empty() ? 0 : 1);
  }

  // One more step of ours. True: it has just been killed.
  bool Progress() {
    ++progress_;
    if (plan_.kill_at != 0 && progress_ == plan_.kill_at) {
      kill(pid_, SIGKILL);
      Reap();
      return true;
    }
    if (stopped_ && (progress_ >= continue_at_ || progress_ == plan_.steps)) Continue();
    if (plan_.stop_every != 0 && progress_ % plan_.stop_every == 0 && progress_ < plan_.steps && !reaped_ &&
        !stopped_) {
      kill(pid_, SIGSTOP);
      stopped_ = true;
      continue_at_ = progress_ + plan_.stop_for;
    }
    return false;
  }
  // Where we cannot go on without it.
  void Continue() {
    if (!stopped_ || reaped_) return;
    kill(pid_, SIGCONT);
    stopped_ = false;
  }
  bool gone() const { return reaped_; }
  // After our part is done.
  void End() {
    if (reaped_) return;
    Continue();
    const int status = Reap();
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
      Fail(fmt::format("the other process ended with status {:#x}", status));
  }

 private:
  int Reap() {
    int status = 0;
    waitpid(pid_, &status, 0);
    reaped_ = true;
    return status;
  }

  const Plan plan_;
  pid_t pid_ = 0;
  uint64_t progress_ = 0, continue_at_ = 0;
  bool stopped_ = false, reaped_ = false;
};

Plan PlanOf(model::Traffic& random, uint64_t steps) {
  Plan plan;
  if (random.Random() % 4 != 0) plan.stop_every = 1 + random.Random() % (steps / 10 + 1);
  plan.stop_for = 1 + random.Random() % 64;
  if (random.Random() % 2 == 0) plan.kill_at = 1 + random.Random() % steps;
  plan.steps = steps;
  return plan;
}

// One ring, in one direction; the other process is either side of it.
void BareRound(uint64_t seed, uint64_t packets) {
  model::Traffic random(seed, 0);
  const GuardedRing ring((2 + random.Random() % 8) * kRingControlBytes);
  ring.BeginAt(static_cast<uint32_t>(random.Random() % ring.data_bytes() / 8 * 8));
  auto outgoing = OutgoingRing::Create(ring.memory());
  auto incoming = IncomingRing::Create(ring.memory());
  if (!outgoing.ok() || !incoming.ok()) Fail("no rings");
  const size_t longest = outgoing->payload_bytes_max();
  const model::Traffic traffic(random.Random(),
                               random.Random() % 2 == 0 ? longest : std::min<size_t>(longest, 200));
  const auto yield = [] { return sched_yield() == 0; };
  const bool produces = random.Random() % 2 == 0;  // the other process
  Plan plan = PlanOf(random, packets / 20 + 1);
  plan.steps = UINT64_MAX;
  Victim victim(plan, [&] {
    return produces ? model::Produce(*outgoing, traffic, packets, yield)
                    : model::Consume(*incoming, traffic, packets, yield);
  });
  // A step is here that there is nothing to do: then the other one is in the middle of something. Once it is
  // gone, that is the end.
  const auto idle = [&] {
    if (victim.gone()) return false;
    victim.Progress();
    return sched_yield() == 0;
  };
  const std::string wrong = produces ? model::Consume(*incoming, traffic, packets, idle)
                                     : model::Produce(*outgoing, traffic, packets, idle);
  if (!wrong.empty()) Fail(wrong);
  victim.End();
}

// An EventfdSignal that also hears when the other process is gone.
class HearingSignal final : public Signal {
 public:
  HearingSignal(const UniqueFd& wait, const UniqueFd& ring)
      : wake_(dup(wait.get())), eventfds_(UniqueFd(dup(wait.get())), UniqueFd(dup(ring.get()))) {}
  void Ring() override { eventfds_.Ring(); }
  int fd() const override { return eventfds_.fd(); }
  bool Take() override { return !gone_; }
  void Gone() {
    gone_ = true;
    const uint64_t one = 1;
    (void)!write(wake_.get(), &one, sizeof(one));
  }

 private:
  const UniqueFd wake_;
  EventfdSignal eventfds_;
  std::atomic<bool> gone_ = false;
};

void ChannelRound(uint64_t seed, uint64_t packets) {
  model::Traffic random(seed, 0);
  const auto ring_bytes = [&] { return (34 + random.Random() % 40) * kRingControlBytes; };
  const GuardedRing to_other(ring_bytes()), from_other(ring_bytes());
  auto our_file = MakeSignalFile(), its_file = MakeSignalFile();
  if (!our_file.ok() || !its_file.ok()) Fail("no eventfds");
  const auto payload_bytes_max = [&] { return random.Random() % 2 == 0 ? kMessageBytesMax : size_t{200}; };
  const model::Traffic ours(random.Random(), payload_bytes_max()), its(random.Random(), payload_bytes_max());
  const Plan plan = PlanOf(random, packets);
  Victim victim(plan, [&] {
    auto channel = MakeRingChannel(from_other.memory(), to_other.memory(),
                                   std::make_unique<HearingSignal>(*its_file, *our_file), nullptr);
    return channel.ok() ? model::Talk(**channel, its, ours, packets, [](bool) {}) : channel.status().why();
  });
  auto signal = std::make_unique<HearingSignal>(*our_file, *its_file);
  HearingSignal* hears = signal.get();
  auto channel = MakeRingChannel(to_other.memory(), from_other.memory(), std::move(signal), nullptr);
  if (!channel.ok()) Fail(channel.status().why());
  const auto sent = [&](bool full) {
    if (full) return victim.Continue();
    if (victim.Progress()) hears->Gone();
  };
  const std::string wrong = model::Talk(**channel, ours, its, packets, sent);
  if (!wrong.empty()) Fail(wrong);
  victim.End();
}

// Or we would wait for the other one.
void OtherFailed(int, siginfo_t* about, void*) {
  if (about->si_code != CLD_EXITED || about->si_status == 0) return;
  fmt::print(stderr, "dxg-ring-model: repeat with: dxg-ring-model --rounds 1 --packets {} --seed {}\n",
             round_packets, round_seed);
  _exit(1);
}

void Hangs(int) {
  fmt::print(
      stderr,
      "dxg-ring-model: nothing in {} s; repeat with: dxg-ring-model --rounds 1 --packets {} --seed {}\n",
      kRoundSecondsMax, round_packets, round_seed);
  _exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Random packets through rings between two processes, one of which is stopped and killed at random");
  uint64_t packets = 4'000'000, rounds = 100, seed = 1;
  app.add_option("--packets", packets, "in all rounds together, in each direction")
      ->check(CLI::PositiveNumber);
  app.add_option("--rounds", rounds, "each with its own rings, processes and seed")
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", seed, "of the first round; the next one has the next");
  CLI11_PARSE(app, argc, argv);
  std::signal(SIGALRM, Hangs);
  struct sigaction on_child = {};
  on_child.sa_sigaction = OtherFailed;
  on_child.sa_flags = SA_SIGINFO | SA_NOCLDSTOP | SA_RESTART;
  sigaction(SIGCHLD, &on_child, nullptr);
  round_packets = packets / rounds + (packets < rounds);
  for (uint64_t round = 0; round < rounds; ++round) {
    round_seed = seed + round;
    alarm(kRoundSecondsMax);
    round_seed % 2 == 0 ? BareRound(round_seed, round_packets) : ChannelRound(round_seed, round_packets);
  }
  fmt::print("{} rounds of {} packets from seed {}: all as the model says\n", rounds, round_packets, seed);
  return 0;
}
