// dxg-bench work: what work and fences cost through cuse-dxg, in one run and pinned to one core, as ratios to
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
#include "tests/bench/plain_copy.h"
#include "tests/bench/streamer_bench.h"
#include "tests/bench/subcommands.h"

namespace dxg::bench {
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
void ComparePendingWaits(Run& run, Client& client, const Server& echo, const std::vector<uint64_t>& counts) {
  const int event = eventfd(0, EFD_CLOEXEC);
  const auto fence = client.CreateFence();
  uint64_t pending = 0, value = 0;
  Interval first;
  constexpr uint64_t kFar = 1ull << 40;
  const int slice = run.smoke() ? 30 : 300;
  for (const uint64_t count : counts) {
    for (; pending + 1 < count; ++pending) client.WaitEvent(fence, kFar + pending, event);
    const auto round = [&] {
      std::vector<uint64_t> samples;
      for (int i = 0; i < slice; ++i) {
        client.WaitEvent(fence, ++value, event);
        const uint64_t start = NowNs();
        client.Signal(fence, value);
        samples.push_back(NowNs() - start);
      }
      const auto call = Ioctl(echo.fd(), LX_DXLOCK2, d3dkmt_lock2{});
      return std::vector<double>{MedianUs(std::move(samples)) / MedianOfUs(slice, call)};
    };
    const Interval in_echoes =
        run.Settle({{fmt::format("a signal that releases one of {} waits / echo", count)}}, round)[0];
    if (count == counts.front()) {
      first = in_echoes;
    } else {
      run.Quotient({fmt::format("signal, {} waits pending / 1", count), Limit::kAtMost, 2}, in_echoes, first);
    }
  }
  close(event);
}

// Plain memory to plain memory, and the GPU from one allocation to another; both have been touched.
void CompareCopy(Run& run, Client& client, uint64_t bytes) {
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
  uint64_t value = 0;
  const PlainCopy plain(bytes);
  run.Settle({{fmt::format("GPU copy of {} MiB, speed / memcpy", bytes >> 20), Limit::kAtLeast, 0.85}}, [&] {
    const double plain_ns = plain.Ns();
    const uint64_t start = NowNs();
    client.Submit(context, commands, static_cast<uint32_t>(list.used));
    client.SignalFromGpu(context, fence, ++value);
    client.Wait(fence, value);
    return std::vector<double>{plain_ns / static_cast<double>(NowNs() - start)};
  });
  if (client.Lock(destination)[bytes - 1] != 1) Fail("the copy did not arrive");
}

}  // namespace

void MeasureWork(Run& run) {
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
  d3dkmthandle object{};
  d3dkmt_signalsynchronizationobjectfromcpu with_list{};
  with_list.objects = reinterpret_cast<uint64_t>(&object);

  Works works(run);
  works.Add("echo of 32 bytes", Ioctl(echo.fd(), LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU,
                                      d3dkmt_signalsynchronizationobjectfromcpu{}));
  works.Add("echo and lists", Ioctl(echo.fd(), LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, with_list));
  works.Add("echo of 384 bytes", Ioctl(echo.fd(), LX_DXSUBMITCOMMAND, d3dkmt_submitcommand{}));
  works.Add("signal", [&] {
    client.Signal(fence, ++value);
    return 0;
  });
  works.Add("submit", [&] {
    client.Submit(context, commands, bytes);
    return 0;
  });
  works.Add("submit to a queue", [&] {
    client.Submit(queue, commands, bytes, ++progress);
    return 0;
  });
  works.Add("submit until seen", [&] {
    client.Submit(queue, commands, bytes, ++progress);
    while (*queue.progress.value < progress) sched_yield();
    return 0;
  });
  run.Settle({{"signal from the CPU / echo", Limit::kAtMost, 1.2},
              {"signal from the CPU / echo that reads its lists", Limit::kAtMost, 1.15},
              {"submit to a context / echo of its 384 bytes", Limit::kAtMost, 1.2},
              {"submit to a hardware queue / echo", Limit::kAtMost, 1.2},
              {"submit to a hardware queue until its fence shows it / echo"},
              {"bare echo", Limit::kNone, 0, "us"}},
             [&]() -> std::vector<double> {
               works.Round();
               const double echo_us = works.us("echo of 32 bytes");
               return {works.us("signal") / echo_us,
                       works.us("signal") / works.us("echo and lists"),
                       works.us("submit") / works.us("echo of 384 bytes"),
                       works.us("submit to a queue") / echo_us,
                       works.us("submit until seen") / echo_us,
                       echo_us};
             });
  const int slice = run.smoke() ? 30 : 300;
  const auto echo_us = [&] {
    return MedianOfUs(slice, Ioctl(echo.fd(), LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU,
                                   d3dkmt_signalsynchronizationobjectfromcpu{}));
  };
  run.Settle({{"submit until a blocked wait has returned / echo", Limit::kAtMost, 2.5},
              {"two processes' fences, there and back / echo"}},
             [&]() -> std::vector<double> {
               const double one_us = echo_us();
               return {SubmitToWaitUs(client, queue, commands, bytes, &progress, slice) / one_us,
                       PingPongUs(client, node.path(), slice) / one_us};
             });
  ComparePendingWaits(run, client, echo,
                      run.smoke() ? std::vector<uint64_t>{1, 1000} : std::vector<uint64_t>{1, 1000, 100'000});
  CompareCopy(run, client, (run.smoke() ? 16ull : 256ull) << 20);
  CompareStreamers(run);
}

}  // namespace dxg::bench
