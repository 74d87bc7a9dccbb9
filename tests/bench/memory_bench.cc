// dxg-bench-memory: what memory costs through cuse-dxg, in one run and pinned to one core, as ratios to a
// bare FUSE ioctl echo or to plain memory.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "proto/abi/d3dkmthk.h"
#include "tests/bench/bench.h"
#include "tests/bench/client.h"

using namespace dxg::bench;

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

// Of the fastest of some rounds: the slower ones measure what else the machine does.
struct Touched {
  uint64_t first = ~0ull, again = ~0ull;
  void Add(char* memory, uint64_t bytes) {
    first = std::min(first, Touch(memory, bytes));
    again = std::min(again, Touch(memory, bytes));
  }
};

void CompareTouch(Client& client, uint64_t bytes, int rounds) {
  Touched locked, plain;
  for (int round = 0; round < rounds; ++round) {
    char* memory =
        static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory == MAP_FAILED) Fail("mmap");
    plain.Add(memory, bytes);
    munmap(memory, bytes);
    const auto allocation = client.Create(bytes);
    locked.Add(client.Lock(allocation), bytes);
    client.Unlock(allocation);
    client.Destroy(allocation);
  }
  const uint64_t mib = bytes >> 20;
  PrintRatio(fmt::format("touch {} MiB the first time, locked / anonymous", mib),
             double(locked.first) / plain.first, 1.05);
  PrintRatio(fmt::format("touch {} MiB again, locked / anonymous", mib), double(locked.again) / plain.again,
             1.05);
}

// While the mappings of one process grow: what a map and a free cost then, in echoes of the same moment.
void CompareMappings(Client& client, const Server& echo, const std::vector<uint64_t>& counts) {
  constexpr int kTimes = 5000;
  const auto mapped = client.Create(kPageBytes);
  uint64_t live = 0;
  double first = 0;
  for (const uint64_t count : counts) {
    for (; live < count; ++live) client.Map(mapped);
    const double echo_us = MedianOfUs(kTimes, [&] {
      d3dkmt_lock2 args{};
      if (ioctl(echo.fd(), LX_DXLOCK2, &args) != 0) Fail("echo");
    });
    const double in_echoes = MedianOfUs(kTimes, [&] { client.Free(client.Map(mapped)); }) / echo_us;
    if (first == 0) first = in_echoes;
    fmt::print("map and free an address with {} live: {:.2f} echoes\n", count, in_echoes);
    if (count != counts.front())
      PrintRatio(fmt::format("map and free, {} live / {} live", count, counts.front()), in_echoes / first, 2);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool smoke =
      TakeOptions(&argc, argv, "Measures what memory costs: ratios to a bare FUSE echo, or to plain memory.");
  PinToOneCore();
  const Server echo = Server::Echo();
  const Server node = Server::Daemon();
  Client client(node.fd());
  client.CreateQueue();
  const auto allocation = client.Create(65536);
  client.Lock(allocation);
  client.Unlock(allocation);

  Add("echo", [&] {
    d3dkmt_lock2 args{};
    return ioctl(echo.fd(), LX_DXLOCK2, &args);
  });
  Add("lock_unlock", [&] {
    client.Lock(allocation);
    client.Unlock(allocation);
    return 0;
  });
  Add("create_destroy", [&] {
    client.Destroy(client.Create(65536));
    return 0;
  });
  if (!RunAll(argc, argv)) return 2;

  const double echo_us = P50Us("echo");
  fmt::print("\np50 in this run, client and daemon on one core; the bare echo takes {:.1f} us\n", echo_us);
  PrintRatio("lock and unlock / two echoes", P50Us("lock_unlock") / (2 * echo_us), 1.5);
  PrintRatio("create and destroy an allocation / two echoes", P50Us("create_destroy") / (2 * echo_us), 1.4);
  CompareMappings(client, echo,
                  smoke ? std::vector<uint64_t>{10, 1000} : std::vector<uint64_t>{10, 1000, 1'000'000});
  CompareTouch(client, (smoke ? 64ull : 1024ull) << 20, smoke ? 1 : 3);
  const First first = MeasureFirst(node.path(), smoke ? 5 : 50);
  fmt::print("a process's first device, its memory brought in: {:.0f} us; its first lock then: {:.1f} us\n",
             first.device_us, first.lock_us);
  return 0;
}
