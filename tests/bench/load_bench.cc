// dxg-bench-load: what many processes and objects cost the daemon, in bytes and time of each; what a client
// that ends with many objects, or that floods the node with calls, costs the others. For people, not for a
// test.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/bench/client.h"

using namespace dxg::bench;

namespace {

// A client process that has made something and stays until it is told to leave.
class Guest {
 public:
  // `make` returns how many there are.
  Guest(const std::string& path, const std::function<uint64_t(Client& client)>& make)
      : Guest([&] {
          static Client client(open(path.c_str(), O_RDWR | O_CLOEXEC));
          return make(client);
        }) {}
  explicit Guest(const std::function<uint64_t()>& make) {
    int ready[2];
    if (pipe(ready) != 0) Fail("pipe");
    pid_ = fork();
    if (pid_ == 0) {
      const uint64_t start = NowNs();
      const uint64_t result[2] = {make(), NowNs() - start};
      if (write(ready[1], result, sizeof(result)) != sizeof(result)) _exit(1);
      pause();
      _exit(0);
    }
    close(ready[1]);
    uint64_t result[2] = {};
    if (read(ready[0], result, sizeof(result)) != sizeof(result)) Fail("a client failed");
    close(ready[0]);
    count = result[0];
    took_ns = result[1];
  }
  ~Guest() { Leave(); }
  Guest(const Guest&) = delete;
  void Leave() {
    if (pid_ == 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

  uint64_t count = 0, took_ns = 0;

 private:
  pid_t pid_ = 0;
};

// Calls of a neighbour: the median and the worst.
struct Calls {
  double median_us, worst_us;
};
Calls CallFor(int fd, uint64_t ns) {
  std::vector<uint64_t> samples;
  d3dkmt_enumadapters3 args{};
  for (const uint64_t end = NowNs() + ns; NowNs() < end;) {
    args = {};
    const uint64_t start = NowNs();
    if (ioctl(fd, LX_DXENUMADAPTERS3, &args) < 0) Fail("a neighbour's call failed");
    samples.push_back(NowNs() - start);
  }
  const uint64_t worst = *std::max_element(samples.begin(), samples.end());
  return {MedianUs(std::move(samples)), static_cast<double>(worst) / 1000};
}

void Measure(const std::string& what, const Server& node, uint64_t wanted,
             const std::function<uint64_t(Client& client)>& make) {
  const uint64_t before_kib = node.ResidentKib();
  Guest guest(node.path(), make);
  const uint64_t with_kib = node.ResidentKib();
  constexpr uint64_t kWatchNs = 3'000'000'000;
  const Calls quiet = CallFor(node.fd(), kWatchNs / 6);
  guest.Leave();
  const Calls leaving = CallFor(node.fd(), std::max<uint64_t>(wanted * 3000, kWatchNs / 6));
  fmt::print(
      "{:>8} {:<24}{:>7.0f} bytes each, {:>6.2f} us each; while it leaves a neighbour's call takes {:.0f} us "
      "(quiet {:.0f}), at worst {:.0f}; {} KiB are left of {}\n",
      guest.count, what, 1024.0 * (with_kib - std::min(with_kib, before_kib)) / guest.count,
      guest.took_ns / 1000.0 / guest.count, leaving.median_us, quiet.median_us, leaving.worst_us,
      node.ResidentKib() - std::min(node.ResidentKib(), before_kib),
      with_kib - std::min(with_kib, before_kib));
}

void MeasureProcesses(const Server& node, uint64_t count) {
  const uint64_t before_kib = node.ResidentKib();
  std::vector<std::unique_ptr<Guest>> guests;
  const uint64_t start = NowNs();
  for (uint64_t i = 0; i < count; ++i)
    guests.push_back(std::make_unique<Guest>(node.path(), [](Client&) { return 1; }));
  const double each_us = (NowNs() - start) / 1000.0 / count;
  const uint64_t with_kib = node.ResidentKib();
  guests.clear();
  fmt::print("{:>8} {:<24}{:>7.0f} bytes each, {:>6.0f} us each with fork and the first device\n", count,
             "processes with a device", 1024.0 * (with_kib - std::min(with_kib, before_kib)) / count,
             each_us);
}

// A process with so many threads, each of which calls without a pause.
uint64_t Flood(const std::string& path, int threads) {
  for (int i = 0; i < threads; ++i) {
    std::thread([&path] {
      const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
      for (d3dkmt_enumadapters3 args{};; args = {}) ioctl(fd, LX_DXENUMADAPTERS3, &args);
    }).detach();
  }
  return static_cast<uint64_t>(threads);
}

// A neighbour's call while others flood the node, and the same of a bare echo, which has no turns.
void MeasureFlood(const Server& node, const Server& echo, int threads, uint64_t watch_ns) {
  for (const Server* server : {&node, &echo}) {
    const Calls quiet = CallFor(server->fd(), watch_ns);
    const bool is_node = server == &node;
    std::unique_ptr<Guest> flood;
    if (is_node) {
      flood = std::make_unique<Guest>(node.path(), [&](Client&) { return Flood(node.path(), threads); });
    } else {
      flood = std::make_unique<Guest>([&] { return Flood(echo.path(), threads); });
    }
    const Calls flooded = CallFor(server->fd(), watch_ns);
    fmt::print(
        "{:>8} threads flood the {:<5} a neighbour's call takes {:.0f} us (quiet {:.1f}: {:.1f} times), at "
        "worst {:.0f}\n",
        threads, is_node ? "node:" : "echo:", flooded.median_us, quiet.median_us,
        flooded.median_us / quiet.median_us, flooded.worst_us);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool smoke = TakeOptions(
      &argc, argv, "Measures what many processes and objects cost, and a flood of calls.", Rest::kNone);
  const uint64_t many = smoke ? 2'000 : 1'000'000;
  const Server node = Server::Daemon();
  const Server echo = Server::Echo();
  for (const int threads : {64, 512}) MeasureFlood(node, echo, threads, smoke ? 100'000'000 : 2'000'000'000);
  MeasureProcesses(node, smoke ? 20 : 10'000);
  Measure("allocations", node, many, [&](Client& client) {
    for (uint64_t i = 0; i < many; ++i) client.Create(kPageBytes);
    return many;
  });
  Measure("allocations, touched", node, many / 4, [&](Client& client) {
    for (uint64_t i = 0; i < many / 4; ++i) *client.Lock(client.Create(kPageBytes)) = 1;
    return many / 4;
  });
  Measure("GiB touched, in one", node, smoke ? 1'000 : 1'000'000, [&](Client& client) {
    const uint64_t bytes = smoke ? 64ull << 20 : 4ull << 30;
    char* const memory = client.Lock(client.Create(bytes));
    for (uint64_t at = 0; at < bytes; at += kPageBytes) memory[at] = 1;
    return std::max<uint64_t>(bytes >> 30, 1);
  });
  // Each is a range of GPU addresses and what that shows: a process may have 2^20 of both together.
  Measure("fences", node, many / 2, [&](Client& client) {
    for (uint64_t i = 0; i < many / 2; ++i) client.CreateFence();
    return many / 2;
  });
  Measure("waits with an eventfd", node, many, [&](Client& client) {
    const auto fence = client.CreateFence();
    const int event = eventfd(0, EFD_CLOEXEC);
    for (uint64_t i = 0; i < many; ++i) client.WaitEvent(fence, i + 1, event);
    return many;
  });
  return 0;
}
