// dxg-bench load: what many processes and objects cost the daemon, in bytes and time of each; what a client
// that ends with many objects, or that floods the node with calls, costs the others.
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

#include "base/unique_fd.h"
#include "tests/bench/client.h"
#include "tests/bench/subcommands.h"

namespace dxg::bench {
namespace {

// Makes objects from the `from`th to the `to`th.
using Make = std::function<void(Client& client, uint64_t from, uint64_t to)>;

// A client process that makes what it is told to and stays until it is told to leave.
class Guest {
 public:
  explicit Guest(const std::function<void(uint64_t from, uint64_t to)>& make) {
    int go[2], done[2];
    if (pipe(go) != 0 || pipe(done) != 0) Fail("pipe");
    pid_ = fork();
    if (pid_ == 0) {
      close(go[1]);
      uint64_t made = 0;
      for (uint64_t wanted = 0; read(go[0], &wanted, sizeof wanted) == sizeof wanted; made = wanted) {
        const uint64_t start = NowNs();
        make(made, wanted);
        const uint64_t took_ns = NowNs() - start;
        if (write(done[1], &took_ns, sizeof took_ns) != sizeof took_ns) _exit(1);
      }
      _exit(0);
    }
    close(go[0]);
    close(done[1]);
    go_ = UniqueFd(go[1]);
    done_ = UniqueFd(done[0]);
  }
  Guest(const std::string& path, const Make& make)
      : Guest([&path, make, client = std::shared_ptr<Client>()](uint64_t from, uint64_t to) mutable {
          if (!client) client = std::make_shared<Client>(open(path.c_str(), O_RDWR | O_CLOEXEC));
          make(*client, from, to);
        }) {}
  ~Guest() { Leave(); }
  Guest(const Guest&) = delete;

  // Returns how long it took, in nanoseconds.
  uint64_t MakeUpTo(uint64_t count) {
    uint64_t took_ns = 0;
    if (write(go_.get(), &count, sizeof count) != sizeof count ||
        read(done_.get(), &took_ns, sizeof took_ns) != sizeof took_ns)
      Fail("a client failed");
    return took_ns;
  }

  void Leave() {
    if (pid_ == 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
  UniqueFd go_, done_;
};

// Calls of a neighbour: the median and the worst.
struct Calls {
  double median_us, worst_us;
};
Calls Judge(std::vector<uint64_t> samples) {
  const uint64_t worst = *std::max_element(samples.begin(), samples.end());
  return {MedianUs(std::move(samples)), static_cast<double>(worst) / 1000};
}
uint64_t CallOnce(int fd) {
  d3dkmt_enumadapters3 args{};
  const uint64_t start = NowNs();
  if (ioctl(fd, LX_DXENUMADAPTERS3, &args) < 0) Fail("a neighbour's call failed");
  return NowNs() - start;
}
Calls CallFor(int fd, uint64_t ns) {
  std::vector<uint64_t> samples;
  for (const uint64_t end = NowNs() + ns; NowNs() < end;) samples.push_back(CallOnce(fd));
  return Judge(std::move(samples));
}

// The same, and in turn with it calls of a bare echo: what those wait, the machine is to blame for.
struct CallsAndEchoes {
  Calls node, echo;
};
CallsAndEchoes CallBothFor(int node, int echo, uint64_t ns) {
  std::vector<uint64_t> of_node, of_echo;
  for (const uint64_t end = NowNs() + ns; NowNs() < end;) {
    of_node.push_back(CallOnce(node));
    of_echo.push_back(CallOnce(echo));
  }
  return {Judge(std::move(of_node)), Judge(std::move(of_echo))};
}

// The node, and what it is compared with.
struct Servers {
  const Server& node;
  const Server& echo;
};

double BytesSince(uint64_t before_kib, uint64_t now_kib) {
  return 1024.0 * static_cast<double>(now_kib - std::min(now_kib, before_kib));
}

// What a neighbour's calls take while a client that has much is killed.
void MeasureLeaving(Run& run, const std::string& what, const Servers& servers, Guest& guest) {
  constexpr double kWorstMaxMs = 20;  // longer than an echo at the same time
  const uint64_t watch_ns = run.smoke() ? 100'000'000 : 5'000'000'000;
  const int node = servers.node.fd(), echo = servers.echo.fd();
  const CallsAndEchoes quiet = CallBothFor(node, echo, watch_ns / 5);
  guest.Leave();
  const CallsAndEchoes leaving = CallBothFor(node, echo, watch_ns);
  run.Once({fmt::format("{} leave: a neighbour's median call / when quiet", what)},
           leaving.node.median_us / quiet.node.median_us);
  run.Once({fmt::format("{} leave: a neighbour's worst call", what), Limit::kNone, 0, "ms"},
           leaving.node.worst_us / 1000);
  run.Once({fmt::format("{} leave: the worst of a bare echo", what), Limit::kNone, 0, "ms"},
           leaving.echo.worst_us / 1000);
  run.Once({fmt::format("{} leave: what a neighbour's worst call takes longer than that", what),
            Limit::kAtMost, kWorstMaxMs, "ms"},
           std::max(0.0, leaving.node.worst_us - leaving.echo.worst_us) / 1000);
  run.Once({fmt::format("before {} leave: a neighbour's worst call", what), Limit::kNone, 0, "ms"},
           quiet.node.worst_us / 1000);
}

// Curves: memory of the daemon and time for each object, by how many there are. Both are of the last step.
void MeasureGrowth(Run& run, const std::string& what, const Servers& servers, uint64_t count_max,
                   const Make& make) {
  const Server& node = servers.node;
  const uint64_t start_kib = node.ResidentKib();
  Guest guest(node.path(), make);
  guest.MakeUpTo(0);
  uint64_t kib = node.ResidentKib(), made = 0;
  double first_us = 0, us = 0;
  for (uint64_t count = std::min<uint64_t>(1000, count_max); made < count_max;
       count = std::min(10 * count, count_max)) {
    const auto more = static_cast<double>(count - made);
    us = static_cast<double>(guest.MakeUpTo(count)) / 1000 / more;
    if (made == 0) first_us = us;
    const uint64_t now_kib = node.ResidentKib();
    run.Once({fmt::format("{}, up to {}: memory of each", what, count), Limit::kNone, 0, "bytes"},
             BytesSince(kib, now_kib) / more);
    run.Once({fmt::format("{}, up to {}: time of each", what, count), Limit::kNone, 0, "us"}, us);
    made = count;
    kib = now_kib;
  }
  run.Once({fmt::format("{}: time of each, the last {} / the first", what, made)}, us / first_us);
  MeasureLeaving(run, fmt::format("{} {}", made, what), servers, guest);
  run.Once({fmt::format("{} {} have left: memory that remains", made, what), Limit::kNone, 0, "MiB"},
           BytesSince(start_kib, node.ResidentKib()) / (1 << 20));
}

void MeasureProcesses(Run& run, const std::string& what, const Server& node, const HostProcess* host,
                      uint64_t count, const Make& make) {
  const auto resident_kib = [&] { return node.ResidentKib() + (host ? host->ResidentKib() : 0); };
  const uint64_t before_kib = resident_kib();
  std::vector<std::unique_ptr<Guest>> guests;
  const uint64_t start = NowNs();
  for (uint64_t i = 0; i < count; ++i) {
    guests.push_back(std::make_unique<Guest>(node.path(), make));
    guests.back()->MakeUpTo(1);
  }
  run.Once({fmt::format("{} {}: time of each, with fork", count, what), Limit::kNone, 0, "us"},
           static_cast<double>(NowNs() - start) / 1000 / static_cast<double>(count));
  run.Once({fmt::format("{} {}: memory of each", count, what), Limit::kNone, 0, "bytes"},
           BytesSince(before_kib, resident_kib()) / static_cast<double>(count));
}

// Threads, each of which calls without a pause.
void Flood(const std::string& path, uint64_t threads) {
  for (uint64_t i = 0; i < threads; ++i) {
    std::thread([&path] {
      const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
      for (d3dkmt_enumadapters3 args{};; args = {}) ioctl(fd, LX_DXENUMADAPTERS3, &args);
    }).detach();
  }
}

void CreateFences(Client& client, uint64_t from, uint64_t to) {
  for (; from < to; ++from) client.CreateFence();
}

// A neighbour's call while others flood the node, and the same of a bare echo, which has no turns.
void MeasureFlood(Run& run, const Server& server, const char* name, uint64_t threads, double times_max) {
  const uint64_t watch_ns = run.smoke() ? 100'000'000 : 2'000'000'000;
  const Calls quiet = CallFor(server.fd(), watch_ns);
  Guest flood([&](uint64_t, uint64_t count) { Flood(server.path(), count); });
  flood.MakeUpTo(threads);
  const Calls flooded = CallFor(server.fd(), watch_ns);
  run.Once({fmt::format("a neighbour's call while {} threads flood {} / when quiet", threads, name),
            times_max > 0 ? Limit::kAtMost : Limit::kNone, times_max},
           flooded.median_us / quiet.median_us);
}

// More fences than one process may have.
void MeasureFences(Run& run, const Server& node, uint64_t count) {
  constexpr uint64_t kProcesses = 2;
  const uint64_t before_kib = node.ResidentKib();
  std::vector<std::unique_ptr<Guest>> guests;
  uint64_t took_ns = 0;
  for (uint64_t i = 0; i < kProcesses; ++i) {
    guests.push_back(std::make_unique<Guest>(node.path(), CreateFences));
    took_ns += guests.back()->MakeUpTo(count / kProcesses);
  }
  run.Once(
      {fmt::format("{} fences of {} processes: memory of each", count, kProcesses), Limit::kNone, 0, "bytes"},
      BytesSince(before_kib, node.ResidentKib()) / static_cast<double>(count));
  run.Once({fmt::format("{} fences of {} processes: time of each", count, kProcesses), Limit::kNone, 0, "us"},
           static_cast<double>(took_ns) / 1000 / static_cast<double>(count));
}

void MeasureTouched(Run& run, const Servers& servers) {
  const uint64_t bytes = run.smoke() ? 64ull << 20 : 8ull << 30;
  Guest guest(servers.node.path(), [bytes](Client& client, uint64_t, uint64_t) {
    char* const memory = client.Lock(client.Create(bytes));
    for (uint64_t at = 0; at < bytes; at += kPageBytes) memory[at] = 1;
  });
  guest.MakeUpTo(1);
  MeasureLeaving(run, fmt::format("{} MiB, touched,", bytes >> 20), servers, guest);
}

}  // namespace

void MeasureLoad(Run& run) {
  const uint64_t many = run.smoke() ? 1000 : 1'000'000;
  const Server node = Server::Daemon();
  const Server echo = Server::Echo();
  for (const uint64_t threads : {64, 512}) {
    MeasureFlood(run, node, "the node", threads, threads == 64 ? 5 : 20);
    MeasureFlood(run, echo, "a bare echo", threads, 0);
  }
  const Servers servers{node, echo};
  MeasureTouched(run, servers);
  const Make nothing = [](Client&, uint64_t, uint64_t) {};
  MeasureProcesses(run, "processes with a device", node, nullptr, run.smoke() ? 20 : 10'000, nothing);
  {
    const HostProcess host;
    const Server beside = Server::Daemon({host.option()});
    const uint64_t processes = run.smoke() ? 20 : 1000;
    MeasureProcesses(run, "processes with a device on one dxg-hostsim", beside, &host, processes, nothing);
    // Each has memory of its own in view: its arena, with one page that was touched.
    MeasureProcesses(run, "processes with an arena on one dxg-hostsim", beside, &host, processes,
                     [](Client& client, uint64_t, uint64_t) { *client.Lock(client.Create(kPageBytes)) = 1; });
  }
  MeasureGrowth(run, "contexts", servers, many / 10, [](Client& client, uint64_t from, uint64_t to) {
    for (; from < to; ++from) client.CreateContext(0);
  });
  MeasureGrowth(run, "allocations", servers, many, [](Client& client, uint64_t from, uint64_t to) {
    for (; from < to; ++from) client.Create(kPageBytes);
  });
  MeasureGrowth(run, "touched allocations", servers, many / 10,
                [](Client& client, uint64_t from, uint64_t to) {
                  for (; from < to; ++from) *client.Lock(client.Create(kPageBytes)) = 1;
                });
  // Each mapping or fence is a range of GPU addresses and what that shows: a process may have 2^20 of both
  // together.
  MeasureGrowth(run, "mappings", servers, many / 2,
                [mapped = d3dkmthandle{}](Client& client, uint64_t from, uint64_t to) mutable {
                  if (from == 0 && to == 0) {
                    client.CreateQueue();
                    mapped = client.Create(kPageBytes);
                  }
                  for (; from < to; ++from) client.Map(mapped);
                });
  MeasureGrowth(run, "fences", servers, many / 2, CreateFences);
  MeasureFences(run, node, many);
  MeasureGrowth(run, "waits with an eventfd", servers, many,
                [fence = Client::Fence{}, event = -1](Client& client, uint64_t from, uint64_t to) mutable {
                  if (event < 0) {
                    fence = client.CreateFence();
                    event = eventfd(0, EFD_CLOEXEC);
                  }
                  for (; from < to; ++from) client.WaitEvent(fence, from + 1, event);
                });
  MeasureGrowth(run, "queued packets", servers, many,
                [context = d3dkmthandle{}](Client& client, uint64_t from, uint64_t to) mutable {
                  if (from == 0 && to == 0) {
                    context = client.CreateContext(0);
                    client.WaitFromGpu(context, client.CreateFence(), 1);  // behind which all the rest waits
                  }
                  for (; from < to; ++from) client.Submit(context, 0, 0);
                });
}

}  // namespace dxg::bench
