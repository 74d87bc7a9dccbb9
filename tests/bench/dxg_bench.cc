// dxg-bench: what a call through cuse-dxg costs, in one run and pinned to one core, against a bare FUSE ioctl echo of
// the same size. Prints ratios: absolute times say more about the machine than about us.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "proto/abi/d3dkmthk.h"
#include "tests/bench/echo_server.h"

namespace {

uint64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

[[noreturn]] void Fail(const std::string& what) {
  fmt::print(stderr, "dxg-bench: {}\n", what);
  std::exit(2);
}

void PinToOneCore() {
  cpu_set_t allowed, one;
  sched_getaffinity(0, sizeof(allowed), &allowed);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &one), cpu = CPU_SETSIZE;
  }
  if (sched_setaffinity(0, sizeof(one), &one) != 0) Fail("cannot pin to one core");
}

// A child process that serves a file, ended and reaped with this object.
class Server {
 public:
  // `serve` runs in the child with the file's path and a descriptor for its ready byte.
  template <typename Serve>
  explicit Server(const std::string& name, Serve serve) : path_(Directory() + "/" + name) {
    std::ofstream create(path_);
    create.close();
    int ready[2];
    if (pipe(ready) != 0) Fail("pipe");
    started_ns_ = NowNs();
    pid_ = fork();
    if (pid_ == 0) {
      close(ready[0]);
      _exit(serve(path_, ready[1]));
    }
    close(ready[1]);
    char byte = 0;
    const bool is_ready = read(ready[0], &byte, 1) == 1;
    close(ready[0]);
    if (!is_ready) Fail(name + " did not come up; can this machine mount FUSE files? Try: cuse-dxg doctor");
    fd_ = open(path_.c_str(), O_RDWR | O_CLOEXEC);
    if (fd_ < 0) Fail("cannot open " + path_);
  }
  ~Server() {
    close(fd_);
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
    unlink(path_.c_str());
  }
  Server(const Server&) = delete;

  int fd() const { return fd_; }
  uint64_t started_ns() const { return started_ns_; }
  // Resident memory, in KiB.
  uint64_t ResidentKib() const {
    std::ifstream status(fmt::format("/proc/{}/status", pid_));
    for (std::string word; status >> word;) {
      uint64_t kib = 0;
      if (word == "VmRSS:" && status >> kib) return kib;
    }
    return 0;
  }

  static const std::string& Directory() {
    static const std::string directory = [] {
      char name[] = "/tmp/dxg-bench.XXXXXX";
      if (mkdtemp(name) == nullptr) Fail("mkdtemp");
      return std::string(name);
    }();
    return directory;
  }

 private:
  std::string path_;
  pid_t pid_ = 0;
  int fd_ = -1;
  uint64_t started_ns_ = 0;
};

std::string DaemonPath() {
  char self[4096] = {};
  if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) Fail("readlink /proc/self/exe");
  const std::string path = self;
  return path.substr(0, path.rfind('/')) + "/cuse-dxg";
}

// The library also makes short runs to find out how long to go on; their median says nothing.
constexpr size_t kSamplesMin = 1000;
std::map<std::string, std::vector<double>> p50s;  // one for each repetition

// Times one ioctl; the median over the run is what counts.
template <typename Args>
void Measure(benchmark::State& state, const std::string& name, int fd, unsigned long code, Args args) {
  std::vector<uint64_t> samples;
  for (auto _ : state) {
    Args copy = args;
    const uint64_t start = NowNs();
    const int result = ioctl(fd, code, &copy);
    const uint64_t took = NowNs() - start;
    if (result != 0) Fail(fmt::format("{}: ioctl returned {} (errno {})", name, result, errno));
    state.SetIterationTime(took * 1e-9);
    samples.push_back(took);
  }
  std::nth_element(samples.begin(), samples.begin() + samples.size() / 2, samples.end());
  const double p50_us = samples[samples.size() / 2] / 1000.0;
  state.counters["p50_us"] = p50_us;
  if (samples.size() >= kSamplesMin) p50s[name].push_back(p50_us);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

void PrintRatio(const char* what, double ratio, double target) {
  fmt::print("{:<58}{:6.2f}   target at most {:.2f}   {}\n", what, ratio, target, ratio <= target ? "met" : "MISSED");
}

}  // namespace

int main(int argc, char** argv) {
  PinToOneCore();
  Server echo("echo", [](const std::string& path, int ready) { return dxg::bench::ServeEcho(path, ready); });
  const std::string daemon = DaemonPath();
  Server node("dxg", [&](const std::string& path, int ready) {
    execl(daemon.c_str(), "cuse-dxg", "serve", "--attach=fuse", "--device", path.c_str(), "--log-level", "warn", "--ready-fd",
          std::to_string(ready).c_str(), nullptr);
    return 127;
  });

  d3dkmt_adapterinfo info{};
  d3dkmt_enumadapters3 enumerate{};
  enumerate.adapter_count = 1;
  enumerate.filter.value = 1;
  *reinterpret_cast<uint64_t*>(&enumerate.adapters) = reinterpret_cast<uint64_t>(&info);
  if (ioctl(node.fd(), LX_DXENUMADAPTERS3, &enumerate) != 0) Fail("the node has no adapter");
  const double first_ms = (NowNs() - node.started_ns()) / 1e6;
  const uint64_t idle_kib = node.ResidentKib();
  d3dkmt_createdevice device{};
  device.adapter = info.adapter_handle;
  if (ioctl(node.fd(), LX_DXCREATEDEVICE, &device) != 0) Fail("cannot create a device");

  d3dkmt_getdevicestate state_args{};
  state_args.device = device.device;
  state_args.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
  d3dkmt_queryvideomemoryinfo memory_args{};
  memory_args.adapter = info.adapter_handle;
  uint32_t adapter_type = 0;
  d3dkmt_queryadapterinfo query_args{};
  query_args.adapter = info.adapter_handle;
  query_args.type = 15;
  query_args.private_data = reinterpret_cast<uint64_t>(&adapter_type);
  query_args.private_data_size = sizeof(adapter_type);

  const auto add = [](const char* name, int fd, unsigned long code, auto args) {
    benchmark::RegisterBenchmark(name, [=](benchmark::State& state) { Measure(state, name, fd, code, args); })->UseManualTime();
  };
  add("echo_56_bytes", echo.fd(), LX_DXQUERYVIDEOMEMORYINFO, memory_args);
  add("echo_24_bytes", echo.fd(), LX_DXQUERYADAPTERINFO, query_args);
  add("local_call/GetDeviceState", node.fd(), LX_DXGETDEVICESTATE, state_args);
  add("host_call/QueryVideoMemoryInfo", node.fd(), LX_DXQUERYVIDEOMEMORYINFO, memory_args);
  add("nested_call/QueryAdapterInfo", node.fd(), LX_DXQUERYADAPTERINFO, query_args);

  // Several short turns of each, mixed, so that what else the machine does hits all alike.
  std::vector<char*> arguments(argv, argv + argc);
  std::string repetitions = "--benchmark_repetitions=5", mixed = "--benchmark_enable_random_interleaving=true";
  std::string aggregates = "--benchmark_report_aggregates_only=true", min_time = "--benchmark_min_time=0.2";
  arguments.insert(arguments.begin() + 1, {repetitions.data(), mixed.data(), aggregates.data(), min_time.data()});
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
  benchmark::RunSpecifiedBenchmarks();

  const double echo_56 = Median(p50s["echo_56_bytes"]), echo_24 = Median(p50s["echo_24_bytes"]);
  fmt::print("\np50 in this run, client and daemon on one core; the bare echo takes {:.1f} us\n", echo_56);
  PrintRatio("local call (GetDeviceState) / echo", Median(p50s["local_call/GetDeviceState"]) / echo_56, 1.25);
  PrintRatio("host call (QueryVideoMemoryInfo) / echo", Median(p50s["host_call/QueryVideoMemoryInfo"]) / echo_56, 1.25);
  PrintRatio("call with nested buffers (QueryAdapterInfo) / echo", Median(p50s["nested_call/QueryAdapterInfo"]) / echo_24, 1.7);
  PrintRatio("start of the daemon to the first answered ioctl, ms", first_ms, 50);
  PrintRatio("resident memory of the idle daemon, MiB", idle_kib / 1024.0, 32);
  return 0;
}
