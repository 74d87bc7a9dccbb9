// dxg-bench throughput: calls a second of many client processes together, for so many threads that serve
// them, beside libfuse's own multi-threaded loop with the same threads and clients.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <new>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "proto/abi/d3dkmthk.h"
#include "tests/bench/bench.h"
#include "tests/bench/client.h"
#include "tests/bench/subcommands.h"

namespace dxg::bench {
namespace {

// Client processes of a file that call without a pause while they are told to.
class Callers {
 public:
  Callers(const Server& server, bool has_devices, int processes)
      : stop_(new (mmap(nullptr, sizeof(std::atomic<bool>), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0)) std::atomic<bool>(false)) {
    int made[2];
    if (pipe2(made, O_CLOEXEC) != 0) Fail("pipe");
    for (int i = 0; i < processes; ++i) {
      int go[2];
      if (pipe2(go, O_CLOEXEC) != 0) Fail("pipe");
      pids_.push_back(fork());
      if (pids_.back() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        close(go[1]);
        goes_.clear();
        Serve(server.path(), has_devices, go[0], made[1]);
      }
      close(go[0]);
      goes_.emplace_back(go[1]);
    }
    close(made[1]);
    made_ = UniqueFd(made[0]);
  }
  ~Callers() {
    goes_.clear();
    for (const pid_t pid : pids_) waitpid(pid, nullptr, 0);
    munmap(stop_, sizeof(*stop_));
  }
  Callers(const Callers&) = delete;

  // Calls a second of all together.
  double CallFor(uint64_t ns) {
    *stop_ = false;
    for (const UniqueFd& go : goes_)
      if (write(go.get(), "g", 1) != 1) Fail("a client failed");
    const timespec time = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
    nanosleep(&time, nullptr);
    *stop_ = true;
    double together = 0;
    for (size_t i = 0; i < pids_.size(); ++i) {
      double rate = 0;
      if (read(made_.get(), &rate, sizeof(rate)) != sizeof(rate)) Fail("a client failed");
      together += rate;
    }
    return together;
  }

 private:
  // For each byte of `go` a turn.
  [[noreturn]] void Serve(const std::string& path, bool has_devices, int go, int made) {
    const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    d3dkmt_getdevicestate call{};  // of a device, where there are devices
    call.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
    if (has_devices) call.device = Client(fd).device();
    for (char turn = 0; read(go, &turn, 1) == 1;) {
      uint64_t calls = 0;
      const uint64_t start = NowNs();
      for (d3dkmt_getdevicestate args = call; !*stop_; args = call, ++calls)
        if (ioctl(fd, LX_DXGETDEVICESTATE, &args) < 0) _exit(1);
      const double rate = static_cast<double>(calls) * 1e9 / static_cast<double>(NowNs() - start);
      if (write(made, &rate, sizeof(rate)) != sizeof(rate)) _exit(1);
    }
    _exit(0);
  }

  std::atomic<bool>* const stop_;
  std::vector<pid_t> pids_;
  std::vector<UniqueFd> goes_;
  UniqueFd made_;
};

void MeasureThroughput(Run& run, int threads, int processes, Limit limit) {
  const Server echo = Server::EchoOfThreads(threads);
  const Server node = Server::Daemon({"--workers", std::to_string(threads)});
  Callers of_echo(echo, false, processes), of_node(node, true, processes);
  const uint64_t slice_ns = run.smoke() ? 10'000'000 : 200'000'000;
  bool echo_first = false;
  const std::string who = fmt::format("{} threads, {} processes: ", threads, processes);
  run.Settle({{who + "calls a second / of a bare echo", limit, 0.85},
              {who + "bare echo", Limit::kNone, 0, "calls a second"}},
             [&]() -> std::vector<double> {
               double echoes = 0;
               echo_first = !echo_first;
               if (echo_first) echoes = of_echo.CallFor(slice_ns);
               const double calls = of_node.CallFor(slice_ns);
               if (!echo_first) echoes = of_echo.CallFor(slice_ns);
               return {calls / echoes, echoes};
             });
}

}  // namespace

void MeasureThroughput(Run& run) {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof(cores), &cores) != 0) Fail("sched_getaffinity");
  constexpr int kProcesses = 8;
  for (const int threads : {1, 2, 4, 8})
    MeasureThroughput(run, threads, kProcesses,
                      threads <= CPU_COUNT(&cores) ? Limit::kAtLeast : Limit::kNone);
  const int threads = CPU_COUNT(&cores);
  for (const int processes : {1, 4, 16, 64}) MeasureThroughput(run, threads, processes, Limit::kAtLeast);
}

}  // namespace dxg::bench
