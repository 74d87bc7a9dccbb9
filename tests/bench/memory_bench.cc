// dxg-bench memory: what memory costs through cuse-dxg, in one run and pinned to one core, as ratios to a
// bare FUSE ioctl echo or to plain memory.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "proto/abi/d3dkmthk.h"
#include "tests/bench/bench.h"
#include "tests/bench/client.h"
#include "tests/bench/subcommands.h"

namespace dxg::bench {
namespace {

// The first device and the first lock of processes, in microseconds: medians over `processes`.
struct First {
  double device_us, lock_us;
};
First MeasureFirst(const std::string& path, int processes) {
  std::vector<uint64_t> devices, locks;
  for (int i = 0; i < processes; ++i) {
    int ends[2];
    if (pipe(ends) != 0) Fail("pipe");
    const pid_t child = fork();
    if (child == 0) {
      const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
      uint64_t times[2];
      const uint64_t start = NowNs();
      Client client(fd);
      times[0] = NowNs() - start;
      const auto allocation = client.Create(kPageBytes);
      const uint64_t lock = NowNs();
      *client.Lock(allocation) = 1;
      times[1] = NowNs() - lock;
      _exit(write(ends[1], times, sizeof(times)) == sizeof(times) ? 0 : 1);
    }
    uint64_t times[2];
    if (read(ends[0], times, sizeof(times)) != sizeof(times)) Fail("a client failed");
    waitpid(child, nullptr, 0);
    close(ends[0]);
    close(ends[1]);
    devices.push_back(times[0]);
    locks.push_back(times[1]);
  }
  return {MedianUs(devices), MedianUs(locks)};
}

uint64_t Touch(char* memory, uint64_t bytes) {
  const uint64_t start = NowNs();
  for (uint64_t at = 0; at < bytes; at += kPageBytes) memory[at] = 1;
  return NowNs() - start;
}

// Of one round: the first touch of each page, and the second.
struct Touched {
  double first_ns, again_ns;
};
Touched TouchTwice(char* memory, uint64_t bytes) {
  const auto first = static_cast<double>(Touch(memory, bytes));
  return {first, static_cast<double>(Touch(memory, bytes))};
}

void CompareTouch(Run& run, Client& client, uint64_t bytes) {
  const uint64_t mib = bytes >> 20;
  run.Settle({{fmt::format("touch {} MiB the first time, locked / anonymous", mib), Limit::kAtMost, 1.05},
              {fmt::format("touch {} MiB again, locked / anonymous", mib), Limit::kAtMost, 1.05}},
             [&]() -> std::vector<double> {
               void* const memory =
                   mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
               if (memory == MAP_FAILED) Fail("mmap");
               const Touched plain = TouchTwice(static_cast<char*>(memory), bytes);
               munmap(memory, bytes);
               const auto allocation = client.Create(bytes);
               const Touched locked = TouchTwice(client.Lock(allocation), bytes);
               client.Unlock(allocation);
               client.Destroy(allocation);
               return {locked.first_ns / plain.first_ns, locked.again_ns / plain.again_ns};
             });
}

// While the mappings of one process grow: what a map and a free cost then, in echoes of the same moment. A
// mapping is a range and a piece, and a process may have 2^20 of both together.
void CompareMappings(Run& run, Client& client, const Server& echo, const std::vector<uint64_t>& counts) {
  const auto mapped = client.Create(kPageBytes);
  uint64_t live = 0;
  Interval first;
  for (const uint64_t count : counts) {
    for (; live < count; ++live) client.Map(mapped);
    Works works(run);
    works.Add("echo", Ioctl(echo.fd(), LX_DXLOCK2, d3dkmt_lock2{}));
    works.Add("map and free", [&] {
      client.Free(client.Map(mapped));
      return 0;
    });
    const Interval in_echoes =
        run.Settle({{fmt::format("map and free an address, {} live / echo", count)}}, [&] {
          works.Round();
          return std::vector<double>{works.us("map and free") / works.us("echo")};
        })[0];
    if (count == counts.front()) {
      first = in_echoes;
    } else {
      run.Quotient({fmt::format("map and free, {} live / {} live", count, counts.front()), Limit::kAtMost, 2},
                   in_echoes, first);
    }
  }
}

}  // namespace

void MeasureMemory(Run& run) {
  PinToOneCore();
  const Server echo = Server::Echo();
  const Server node = Server::Daemon();
  Client client(node.fd());
  client.CreateQueue();
  const auto allocation = client.Create(65536);
  client.Lock(allocation);
  client.Unlock(allocation);

  Works works(run);
  works.Add("echo", Ioctl(echo.fd(), LX_DXLOCK2, d3dkmt_lock2{}));
  works.Add("lock and unlock", [&] {
    client.Lock(allocation);
    client.Unlock(allocation);
    return 0;
  });
  works.Add("create and destroy", [&] {
    client.Destroy(client.Create(65536));
    return 0;
  });
  run.Settle({{"lock and unlock / two echoes", Limit::kAtMost, 1.5},
              {"create and destroy an allocation / two echoes", Limit::kAtMost, 1.4},
              {"bare echo", Limit::kNone, 0, "us"}},
             [&]() -> std::vector<double> {
               works.Round();
               const double echo_us = works.us("echo");
               return {works.us("lock and unlock") / (2 * echo_us),
                       works.us("create and destroy") / (2 * echo_us), echo_us};
             });
  CompareMappings(run, client, echo,
                  run.smoke() ? std::vector<uint64_t>{10, 1000} : std::vector<uint64_t>{10, 1000, 500'000});
  CompareTouch(run, client, (run.smoke() ? 64ull : 1024ull) << 20);
  const First first = MeasureFirst(node.path(), run.smoke() ? 5 : 50);
  run.Once({"a process's first device, its memory brought in", Limit::kNone, 0, "us"}, first.device_us);
  run.Once({"its first lock then", Limit::kNone, 0, "us"}, first.lock_us);
}

}  // namespace dxg::bench
