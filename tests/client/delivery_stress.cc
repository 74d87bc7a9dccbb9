// Many visits at once, with signals, stops and deaths at random moments: no byte may be wrong, no signal may
// be lost or come twice, nothing may hang.

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <new>
#include <random>
#include <thread>
#include <vector>

#include "tests/client/delivery_client.h"

namespace dxg::client::delivery {
namespace {

constexpr int kThreads = 8;

// Each thread counts the numbered signals that it gets. Queued ones come in the order in which they were
// sent.
struct Counter {
  std::atomic<int> sent = 0;
  std::atomic<int> handled = 0;
  std::atomic<int> out_of_order = 0;
};
std::array<Counter, kThreads> counters;
thread_local Counter* counter;

void Handle(int, siginfo_t* info, void*) {
  if (info->si_value.sival_int != ++counter->handled) ++counter->out_of_order;
}

void InstallHandler() {
  struct sigaction action = {};
  action.sa_sigaction = Handle;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(SIGRTMIN, &action, nullptr);
}

// Maps, writes, has the other side look, unmaps; every fourth time a descriptor too.
void OneRound(const UniqueFd& node, int thread, int round) {
  const uint64_t offset = static_cast<uint64_t>(thread) * 16 * kPageBytes;
  const auto value = static_cast<unsigned char>(round * 7 + thread + 1);
  Visit visit =
      round % 4 == 0 ? Wanted({Map(offset, kPageBytes), GiveFile()}) : Wanted({Map(offset, kPageBytes)});
  if (Ask(node, &visit) != 0) {
    EXPECT(!"a visit worked");
    return;
  }
  unsigned char* bytes = Bytes(visit.steps[0].result);
  const auto place = static_cast<uint64_t>(round) % kPageBytes;
  bytes[place] = value;
  EXPECT(ioctl(node.get(), kPeek, offset + place) == value);
  if (round % 4 == 0) {
    UniqueFd file(static_cast<int>(visit.steps[1].result));
    unsigned char byte = 0;
    EXPECT(pread(file.get(), &byte, 1, static_cast<off_t>(offset + place)) == 1 && byte == value);
  }
  visit = Wanted({Unmap(visit.steps[0].result, kPageBytes)}, 5);
  EXPECT(Ask(node, &visit) == 5);
}

// As many as a thread has before it: more would only measure how fast a busy machine delivers signals.
constexpr int kSignalsUnhandled = 4;

// A thousand times a second, to every thread that still works and is not behind.
void SendSignals(std::array<std::thread, kThreads>& threads, const std::atomic<int>& working) {
  UniqueFd timer(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  const itimerspec every_ms = {.it_interval = {0, 1'000'000}, .it_value = {0, 1'000'000}};
  timerfd_settime(timer.get(), 0, &every_ms, nullptr);
  while (working > 0) {
    uint64_t ticks;
    if (read(timer.get(), &ticks, sizeof(ticks)) != sizeof(ticks)) continue;
    for (int i = 0; i < kThreads; ++i) {
      Counter& to = counters[static_cast<size_t>(i)];
      if (to.sent - to.handled >= kSignalsUnhandled) continue;
      // EAGAIN: the queue is full.
      if (pthread_sigqueue(threads[static_cast<size_t>(i)].native_handle(), SIGRTMIN,
                           {.sival_int = to.sent + 1}) == 0)
        ++to.sent;
    }
  }
}

// A process of its own that stops and continues this one until it is killed, or this one ends. At least one
// round ends between two stops, so a machine that is slow to run this process makes the test no longer.
pid_t StartStorm(const std::atomic<int>& rounds) {
  const pid_t target = getpid();
  const pid_t storm = fork();
  if (storm != 0) return storm;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  while (getppid() == target) {
    const int before = rounds;
    kill(target, SIGSTOP);
    for (int i = 0; i < 20; ++i) sched_yield();
    kill(target, SIGCONT);
    for (int i = 0; i < 2000 || (rounds == before && getppid() == target); ++i) sched_yield();
  }
  _exit(0);
}

void Stress(int rounds) {
  UniqueFd node = Open();
  const size_t files = FilesOpen(), mappings = MappingsCount();
  InstallHandler();
  for (Counter& each : counters) each.sent = each.handled = each.out_of_order = 0;
  void* of_both = mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  EXPECT(of_both != MAP_FAILED);
  auto& rounds_done = *new (of_both) std::atomic<int>(0);
  const pid_t storm = StartStorm(rounds_done);

  std::atomic<int> working = kThreads;
  std::atomic<bool> all_sent = false;
  std::array<std::thread, kThreads> threads;
  std::atomic<int> ready = 0;
  std::atomic<bool> begun = false;
  for (int i = 0; i < kThreads; ++i) {
    threads[static_cast<size_t>(i)] = std::thread([&, i] {
      counter = &counters[static_cast<size_t>(i)];
      ++ready;
      Until([&] { return begun.load(); });
      for (int round = 0; round < rounds; ++round) {
        OneRound(node, i, round);
        ++rounds_done;
      }
      --working;
      Until([&] { return all_sent && counter->handled >= counter->sent; });
    });
  }
  Until([&] { return ready == kThreads; });  // a signal before that would find no counter
  begun = true;
  SendSignals(threads, working);
  all_sent = true;
  for (std::thread& thread : threads) thread.join();
  kill(storm, SIGKILL);
  Ended(storm);
  kill(getpid(), SIGCONT);
  munmap(of_both, kPageBytes);

  int sent = 0;
  for (Counter& each : counters) {
    EXPECT(each.sent == each.handled);
    EXPECT(each.out_of_order == 0);
    sent += each.sent;
  }
  EXPECT(sent > 0);
  EXPECT(FilesOpen() == files);
  EXPECT(MappingsCount() == mappings);
  std::printf("stress: %d visits, %d signals, none lost\n", kThreads * rounds * 2, sent);
}

// A process with visiting threads. How it ends is the parent's choice, or its own.
enum class End { kKilled, kExecutes, kExits, kEndsChosen };
[[noreturn]] void LiveUntilTheEnd(End end, int rounds_before, int tell) {
  static UniqueFd node = Open();
  static std::atomic<int> rounds = 0;
  for (int i = 0; i < 3; ++i) {
    std::thread([i] {
      for (int round = 0;; ++round) {
        OneRound(node, i, round);
        ++rounds;
      }
    }).detach();
  }
  Until([&] { return rounds >= rounds_before; });
  if (end == End::kExecutes) execl("/bin/sh", "sh", "-c", "exit 7", nullptr);
  if (end == End::kExits) _exit(7);
  (void)!write(tell, "k", 1);
  for (;;) pause();
}

void Chaos(int lives, unsigned seed) {
  UniqueFd watch = Open();
  std::mt19937 random(seed);
  for (int life = 0; life < lives; ++life) {
    const auto end = static_cast<End>(random() % static_cast<unsigned>(End::kEndsChosen));
    const int rounds = static_cast<int>(random() % 12);
    const auto delay = random() % 300;
    int ends[2];
    EXPECT(pipe2(ends, O_CLOEXEC) == 0);
    UniqueFd ready(ends[0]), tell(ends[1]);
    const pid_t child = fork();
    if (child == 0) LiveUntilTheEnd(end, rounds, tell.get());
    tell.reset();
    char byte;
    if (read(ready.get(), &byte, 1) == 1) {
      for (unsigned i = 0; i < delay; ++i) sched_yield();
      kill(child, SIGKILL);
    }
    const int expected = end == End::kKilled ? 128 + SIGKILL : 7;
    const int ended = Ended(child);
    if (ended != expected)
      std::printf("seed %u, life %d, end %d: ended with %d\n", seed, life, static_cast<int>(end), ended);
    EXPECT(ended == expected);
  }
  ExpectUndamaged(watch);
}

}  // namespace

const std::vector<Check> kStress = {
    {"stress-short", [] { Stress(60); }, true},
    {"stress-full", [] { Stress(1000); }, true},
    {"chaos-short", [] { Chaos(40, 1); }, true},
    {"chaos-full", [] { Chaos(1000, std::random_device()()); }, true},
};

}  // namespace dxg::client::delivery
