// dxg-bench-ring: what a pair of VMBus rings between two processes costs, in one run and pinned: a request
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
#include "tests/vmbus/guarded_ring.h"

using namespace dxg;
using namespace dxg::bench;
using namespace dxg::vmbus;

namespace {

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
    std::byte* place = ring.data() + i % kPlaces * kMessageBytes;
    std::memcpy(place, in.data(), kMessageBytes);
    benchmark::DoNotOptimize(place);
    benchmark::ClobberMemory();
    std::memcpy(out.data(), place, kMessageBytes);
    benchmark::DoNotOptimize(out);
  }
  return messages / ((NowNs() - start) * 1e-9);
}

double Best(std::vector<double> values) { return *std::max_element(values.begin(), values.end()); }

void MeasureTrips(const char* where, int core, int turns, int trips) {
  Samples futex, event, ring;
  for (int turn = 0; turn < turns; ++turn) {  // mixed, so that what else the machine does hits all alike
    FutexTrips(core, trips, &futex);
    EventfdTrips(core, trips, &event);
    RingTrips(core, trips, &ring);
  }
  const double futex_us = MedianUs(futex), event_us = MedianUs(event), ring_us = MedianUs(ring);
  fmt::print("{}, p50: futex ping-pong {:.2f} us, eventfd ping-pong {:.2f} us, ring round trip {:.2f} us\n",
             where, futex_us, event_us, ring_us);
  PrintRatio(fmt::format("ring round trip / futex ping-pong, {}", where), ring_us / futex_us, 1.3);
  fmt::print("ring round trip / eventfd ping-pong, {}: {:.2f}\n", where, ring_us / event_us);
}

}  // namespace

int main(int argc, char** argv) {
  const bool smoke = TakeOptions(
      &argc, argv,
      "Measures what the rings of a VMBus channel cost: ratios to a bare ping-pong between two processes.",
      Rest::kNone);
  const std::vector<int> cores = AllowedCores();
  const int turns = smoke ? 1 : 7, trips = smoke ? 200 : 10'000, messages = smoke ? 50'000 : 1'000'000;
  PinTo(cores[0]);
  MeasureTrips("one core", cores[0], turns, trips);
  if (cores.size() > 1) {
    MeasureTrips("two cores", cores[1], turns, trips);
  } else {
    fmt::print("there is one core only: nothing is measured between two\n");
  }
  std::vector<double> sent, copied;
  for (int turn = 0; turn < turns; ++turn) {
    sent.push_back(MessagesPerSecond(cores[0], messages));
    copied.push_back(CopiesPerSecond(messages));
  }
  PrintAtLeast("millions of messages of 48 bytes a second, on one core", Best(sent) / 1e6, 2);
  fmt::print("one message costs as much as {:.1f} copies of its bytes in and out\n",
             Best(copied) / Best(sent));
  return 0;
}
