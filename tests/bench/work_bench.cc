// dxg-bench-work: what work and fences cost through cuse-dxg, in one run and pinned to one core, as ratios to
// a bare FUSE ioctl echo or to plain memory.
#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <thread>

#include "proto/abi/dxg_commands.h"
#include "tests/bench/client.h"
#include "tests/bench/streamer_bench.h"

using namespace dxg::bench;

namespace {

// A thread of this process that stands in an ioctl.
void AwaitIoctl(pid_t thread) {
  for (;;) {
    std::ifstream file(fmt::format("/proc/self/task/{}/syscall", thread));
    int number = -1;
    if (file >> number && number == SYS_ioctl) return;
    sched_yield();
  }
}

// From a submission to the return of a wait for its end that a thread of the process stands in.
double SubmitToWaitUs(Client& client, const Client::HwQueue& queue, uint64_t address, uint32_t bytes,
                      uint64_t* progress, int times) {
  std::atomic<uint64_t> awaited{0}, returned_ns{0};
  std::atomic<pid_t> waiter_tid{0};
  std::atomic<bool> stop{false};
  std::thread waiter([&] {
    waiter_tid = gettid();
    for (uint64_t seen = 0; !stop;) {
      const uint64_t value = awaited;
      if (value == seen) {
        sched_yield();
        continue;
      }
      seen = value;
      client.Wait(queue.progress, value);
      returned_ns = NowNs();
    }
  });
  while (waiter_tid == 0) sched_yield();
  std::vector<uint64_t> samples;
  for (int i = 0; i < times; ++i) {
    returned_ns = 0;
    awaited = ++*progress;
    AwaitIoctl(waiter_tid);
    const uint64_t start = NowNs();
    client.Submit(queue, address, bytes, *progress);
    while (returned_ns == 0) sched_yield();
    samples.push_back(returned_ns - start);
  }
  stop = true;
  waiter.join();
  return MedianUs(std::move(samples));
}

// A round of two processes that wait for each other's fence.
double PingPongUs(Client& client, const std::string& path, int rounds) {
  const auto ping = client.CreateFence(true), pong = client.CreateFence(true);
  const int ping_fd = client.Share(ping), pong_fd = client.Share(pong);
  const pid_t child = fork();
  if (child == 0) {
    Client other(open(path.c_str(), O_RDWR | O_CLOEXEC));
    const auto mine = other.Open(ping_fd), theirs = other.Open(pong_fd);
    for (int i = 1; i <= rounds; ++i) {
      other.Wait(mine, i);
      other.Signal(theirs, i);
    }
    _exit(0);
  }
  client.Signal(ping, 1);
  client.Wait(pong, 1);  // the child is ready
  int round = 1;
  const double us = MedianOfUs(rounds - 1, [&] {
    client.Signal(ping, ++round);
    client.Wait(pong, round);
  });
  waitpid(child, nullptr, 0);
  return us;
}

// What a signal costs that releases one of so many waits, in echoes of the same moment.
void ComparePendingWaits(Client& client, const Server& echo, const std::vector<uint64_t>& counts) {
  const int event = eventfd(0, EFD_CLOEXEC);
  const auto fence = client.CreateFence();
  uint64_t pending = 0, value = 0;
  double first = 0;
  constexpr uint64_t kFar = 1ull << 40;
  for (const uint64_t count : counts) {
    for (; pending + 1 < count; ++pending) client.WaitEvent(fence, kFar + pending, event);
    std::vector<uint64_t> samples;
    for (int i = 0; i < 3000; ++i) {
      client.WaitEvent(fence, ++value, event);
      const uint64_t start = NowNs();
      client.Signal(fence, value);
      samples.push_back(NowNs() - start);
    }
    const double echo_us = MedianOfUs(3000, [&] {
      d3dkmt_lock2 args{};
      if (ioctl(echo.fd(), LX_DXLOCK2, &args) != 0) Fail("echo");
    });
    const double in_echoes = MedianUs(std::move(samples)) / echo_us;
    if (first == 0) first = in_echoes;
    fmt::print("a signal that releases one of {} waits: {:.2f} echoes\n", count, in_echoes);
    if (count != counts.front())
      PrintRatio(fmt::format("signal, {} waits pending / 1", count), in_echoes / first, 2);
  }
  close(event);
}

// Plain memory to plain memory, and the GPU from one allocation to another; both have been touched. The
// faster of some rounds: the slower ones measure what else the machine does.
void CompareCopy(Client& client, uint64_t bytes, int rounds) {
  const auto source = client.Create(bytes), destination = client.Create(bytes),
             buffer = client.Create(kPageBytes);
  std::memset(client.Lock(source), 1, bytes);
  std::memset(client.Lock(destination), 2, bytes);
  for (const auto allocation : {source, destination, buffer}) client.MakeResident(allocation);
  const uint64_t from = client.Map(source, bytes / kPageBytes),
                 to = client.Map(destination, bytes / kPageBytes);
  const uint64_t commands = client.Map(buffer);
  dxg_commands list = dxg_commands_begin(client.Lock(buffer), kPageBytes);
  dxg_push_copy(&list, to, from, bytes);
  const auto context = client.CreateContext(0);
  const auto fence = client.CreateFence();
  auto* plain_from =
      static_cast<char*>(mmap(nullptr, 2 * bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (plain_from == MAP_FAILED) Fail("mmap");
  char* const plain_to = plain_from + bytes;
  std::memset(plain_from, 1, 2 * bytes);
  uint64_t gpu_ns = ~0ull, plain_ns = ~0ull;
  for (int round = 0; round < rounds; ++round) {
    uint64_t start = NowNs();
    std::memcpy(plain_to, plain_from, bytes);
    plain_ns = std::min(plain_ns, NowNs() - start);
    start = NowNs();
    client.Submit(context, commands, static_cast<uint32_t>(list.used));
    client.SignalFromGpu(context, fence, round + 1);
    client.Wait(fence, round + 1);
    gpu_ns = std::min(gpu_ns, NowNs() - start);
  }
  munmap(plain_from, 2 * bytes);
  if (client.Lock(destination)[bytes - 1] != 1) Fail("the copy did not arrive");
  PrintAtLeast(fmt::format("GPU copy of {} MiB, speed / memcpy", bytes >> 20), double(plain_ns) / gpu_ns,
               0.85);
}

}  // namespace

int main(int argc, char** argv) {
  const bool smoke = TakeOptions(
      &argc, argv, "Measures what work and fences cost: ratios to a bare FUSE echo, or to plain memory.");
  PinToOneCore();
  const Server echo = Server::Echo();
  const Server node = Server::Daemon();
  Client client(node.fd());
  client.CreateQueue();
  const auto fence = client.CreateFence();
  const auto context = client.CreateContext(0);
  const auto queue = client.CreateHwQueue(client.CreateContext(0, true));
  const auto buffer = client.Create(kPageBytes);
  client.MakeResident(buffer);
  const uint64_t commands = client.Map(buffer);
  dxg_commands list = dxg_commands_begin(client.Lock(buffer), kPageBytes);
  dxg_push_nop(&list);
  const auto bytes = static_cast<uint32_t>(list.used);
  uint64_t value = 0, progress = 0;

  Add("echo_32_bytes", [&] {
    d3dkmt_signalsynchronizationobjectfromcpu args{};
    return ioctl(echo.fd(), LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, &args);
  });
  Add("echo_and_lists", [&] {
    d3dkmthandle object{};
    d3dkmt_signalsynchronizationobjectfromcpu args{};
    args.objects = reinterpret_cast<uint64_t>(&object);
    return ioctl(echo.fd(), LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, &args);
  });
  Add("echo_384_bytes", [&] {
    d3dkmt_submitcommand args{};
    return ioctl(echo.fd(), LX_DXSUBMITCOMMAND, &args);
  });
  Add("signal_from_cpu", [&] {
    client.Signal(fence, ++value);
    return 0;
  });
  Add("submit", [&] {
    client.Submit(context, commands, bytes);
    return 0;
  });
  Add("submit_to_hardware_queue", [&] {
    client.Submit(queue, commands, bytes, ++progress);
    return 0;
  });
  Add("submit_to_visible", [&] {
    client.Submit(queue, commands, bytes, ++progress);
    while (*queue.progress.value < progress) sched_yield();
    return 0;
  });
  if (!RunAll(argc, argv)) return 2;

  const double echo_us = P50Us("echo_32_bytes");
  fmt::print("\np50 in this run, client and daemon on one core; the bare echo takes {:.1f} us\n", echo_us);
  PrintRatio("signal from the CPU / echo", P50Us("signal_from_cpu") / echo_us, 1.2);
  fmt::print("an echo that reads the client's lists, as a signal has to: {:.2f} echoes\n",
             P50Us("echo_and_lists") / echo_us);
  PrintRatio("submit to a context / echo of its 384 bytes", P50Us("submit") / P50Us("echo_384_bytes"), 1.2);
  PrintRatio("submit to a hardware queue / echo", P50Us("submit_to_hardware_queue") / echo_us, 1.2);
  fmt::print("submit to a hardware queue until its fence shows it: {:.2f} echoes\n",
             P50Us("submit_to_visible") / echo_us);
  const double wait_us = SubmitToWaitUs(client, queue, commands, bytes, &progress, smoke ? 100 : 5000);
  PrintRatio("submit until a blocked wait has returned / echo", wait_us / echo_us, 2.5);
  fmt::print("two processes' fences, there and back: {:.2f} echoes\n",
             PingPongUs(client, node.path(), smoke ? 100 : 5000) / echo_us);
  ComparePendingWaits(client, echo,
                      smoke ? std::vector<uint64_t>{1, 1000} : std::vector<uint64_t>{1, 1000, 100'000});
  CompareCopy(client, (smoke ? 16ull : 256ull) << 20, smoke ? 1 : 5);
  CompareStreamers(smoke);
  return 0;
}
