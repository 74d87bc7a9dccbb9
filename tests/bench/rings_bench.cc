// dxg-bench rings: what a pair of VMBus rings between two processes costs, in one run and pinned: a request
// and its completion as a ratio to a bare futex ping-pong (and an eventfd ping-pong) between two processes in
// the same places, and messages one way on one core, next to a memcpy of the same bytes.
#include <fmt/format.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "link/vmbus/eventfd_signal.h"
#include "link/vmbus/ring_channel.h"
#include "tests/bench/bench.h"
#include "tests/bench/subcommands.h"
#include "tests/vmbus/guarded_ring.h"

namespace dxg::bench {
namespace {

using namespace vmbus;

constexpr size_t kRingBytes = 2 << 20;  // as uio_hv_generic makes them
constexpr size_t kMessageBytes = 48;

std::vector<int> AllowedCores() {
  cpu_set_t allowed;
  sched_getaffinity(0, sizeof(allowed), &allowed);
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &allowed)) cores.push_back(core);
  }
  return cores;
}

void PinTo(int core) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  if (sched_setaffinity(0, sizeof(one), &one) != 0) Fail("cannot pin to a core");
}

// A process that does its part until this object ends.
class Peer {
 public:
  Peer(int core, const std::function<void()>& work) : pid_(fork()) {
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    PinTo(core);
    work();
    _exit(0);
  }
  ~Peer() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Peer(const Peer&) = delete;

 private:
  const pid_t pid_;
};

// -- Ping-pongs -----------------------------------------------------------------------------------

using Samples = std::vector<uint64_t>;

// Words of two processes, each of which only one of them waits for.
struct Words {
  alignas(64) std::atomic<uint32_t> ping = 0;
  alignas(64) std::atomic<uint32_t> pong = 0;
};

void Wait(std::atomic<uint32_t>& word) {
  while (word.load() == 0) syscall(SYS_futex, &word, FUTEX_WAIT, 0, nullptr, nullptr, 0);
  word.store(0);
}

void Wake(std::atomic<uint32_t>& word) {
  word.store(1);
  syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

void FutexTrips(int core, int trips, Samples* samples) {
  void* memory = mmap(nullptr, sizeof(Words), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Fail("mmap");
  Words* words = new (memory) Words;
  {
    const Peer peer(core, [&] {
      for (;;) Wait(words->ping), Wake(words->pong);
    });
    for (int i = 0; i < trips; ++i) {
      const uint64_t start = NowNs();
      Wake(words->ping);
      Wait(words->pong);
      samples->push_back(NowNs() - start);
    }
  }
  munmap(memory, sizeof(Words));
}

void EventfdTrips(int core, int trips, Samples* samples) {
  const UniqueFd ping(eventfd(0, EFD_CLOEXEC)), pong(eventfd(0, EFD_CLOEXEC));
  const auto take = [](const UniqueFd& file) {
    uint64_t count;
    if (read(file.get(), &count, sizeof(count)) != sizeof(count)) Fail("read of an eventfd");
  };
  const auto give = [](const UniqueFd& file) {
    const uint64_t one = 1;
    if (write(file.get(), &one, sizeof(one)) != sizeof(one)) Fail("write to an eventfd");
  };
  const Peer peer(core, [&] {
    for (;;) take(ping), give(pong);
  });
  for (int i = 0; i < trips; ++i) {
    const uint64_t start = NowNs();
    give(ping);
    take(pong);
    samples->push_back(NowNs() - start);
  }
}

// -- Rings ----------------------------------------------------------------------------------------

// Two rings and two eventfds, of which each process makes its end.
struct Link {
  GuardedRing forth{kRingBytes}, back{kRingBytes};
  UniqueFd here = Make(), there = Make();

  std::unique_ptr<Channel> Here() const { return End(forth, back, here, there); }
  std::unique_ptr<Channel> There() const { return End(back, forth, there, here); }

 private:
  static UniqueFd Make() {
    auto file = MakeSignalFile();
    if (!file.ok()) Fail(file.status().why());
    return *std::move(file);
  }
  static std::unique_ptr<Channel> End(const GuardedRing& out, const GuardedRing& in, const UniqueFd& wait,
                                      const UniqueFd& ring) {
    auto made = MakeRingChannel(
        out.memory(), in.memory(),
        std::make_unique<EventfdSignal>(UniqueFd(dup(wait.get())), UniqueFd(dup(ring.get()))), nullptr);
    if (!made.ok()) Fail(made.status().why());
    return *std::move(made);
  }
};

void Send(Channel& channel, uint16_t type, uint64_t transaction, std::span<const std::byte> payload) {
  if (channel.Send({type, kCompletionRequested, transaction, payload}) != Channel::Sent::kYes)
    Fail("nothing was sent");
}

void RingTrips(int core, int trips, Samples* samples) {
  const Link link;
  const Peer peer(core, [&] {
    const auto channel = link.There();
    (void)channel->Run(
        [&](const Packet& packet) { Send(*channel, kCompletion, packet.transaction, packet.payload); });
  });
  const auto channel = link.Here();
  const std::array<std::byte, kMessageBytes> message{};
  uint64_t start = NowNs();
  Send(*channel, kInBand, 1, message);
  const Status ended = channel->Run([&](const Packet& packet) {
    const uint64_t now = NowNs();
    samples->push_back(now - start);
    if (packet.transaction == static_cast<uint64_t>(trips)) return channel->Close();
    start = NowNs();
    Send(*channel, kInBand, packet.transaction + 1, message);
  });
  if (!ended.ok()) Fail(ended.why());
}

// The compiler must not leave out what was written there.
void Keep(void* bytes) { asm volatile("" : : "r"(bytes) : "memory"); }

// -- One way --------------------------------------------------------------------------------------

// Messages a second from this process to one on the same core. Who finds the ring full lets the other one
// run.
double MessagesPerSecond(int core, int messages) {
  const Link link;
  const Peer peer(core, [&] {
    const auto channel = link.There();
    int came = 0;
    (void)channel->Run([&](const Packet&) {
      if (++came == messages) Send(*channel, kCompletion, 1, {});
    });
  });
  const auto channel = link.Here();
  const std::array<std::byte, kMessageBytes> message{};
  const uint64_t start = NowNs();
  for (int i = 0; i < messages; ++i) {
    while (channel->Send({kInBand, 0, 1, message}) == Channel::Sent::kFull) sched_yield();
  }
  (void)channel->Run([&](const Packet&) { channel->Close(); });
  return messages / ((NowNs() - start) * 1e-9);
}

// The same with no more than the bytes: into a place as long as a ring, and out of it.
double CopiesPerSecond(int messages) {
  std::vector<std::byte> ring(kRingBytes);
  std::array<std::byte, kMessageBytes> in{}, out{};
  constexpr size_t kPlaces = kRingBytes / kMessageBytes;
  const uint64_t start = NowNs();
  for (int i = 0; i < messages; ++i) {
    std::byte* place = ring.data() + static_cast<size_t>(i) % kPlaces * kMessageBytes;
    std::memcpy(place, in.data(), kMessageBytes);
    Keep(place);
    std::memcpy(out.data(), place, kMessageBytes);
    Keep(out.data());
  }
  return messages / (static_cast<double>(NowNs() - start) * 1e-9);
}

void MeasureTrips(Run& run, const char* where, int core) {
  const int trips = run.smoke() ? 200 : 2000;
  run.Settle({{fmt::format("ring round trip / futex ping-pong, {}", where), Limit::kAtMost, 1.3},
              {fmt::format("ring round trip / eventfd ping-pong, {}", where)},
              {fmt::format("futex ping-pong, {}", where), Limit::kNone, 0, "us"}},
             [&]() -> std::vector<double> {
               Samples futex, event, ring;
               FutexTrips(core, trips, &futex);
               EventfdTrips(core, trips, &event);
               RingTrips(core, trips, &ring);
               const double futex_us = MedianUs(futex), ring_us = MedianUs(ring);
               return {ring_us / futex_us, ring_us / MedianUs(event), futex_us};
             });
}

}  // namespace

void MeasureRings(Run& run) {
  const std::vector<int> cores = AllowedCores();
  PinTo(cores[0]);
  MeasureTrips(run, "one core", cores[0]);
  if (cores.size() > 1) MeasureTrips(run, "two cores", cores[1]);
  const int messages = run.smoke() ? 50'000 : 1'000'000;
  run.Settle({{"messages of 48 bytes, on one core", Limit::kAtLeast, 2, "million/s"},
              {"one message / copies of its bytes in and out"}},
             [&]() -> std::vector<double> {
               const double sent = MessagesPerSecond(cores[0], messages);
               return {sent / 1e6, CopiesPerSecond(messages) / sent};
             });
}

}  // namespace dxg::bench
