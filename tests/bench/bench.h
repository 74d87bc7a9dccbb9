#pragma once

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

// Common parts of the benchmarks: a pinned core, servers of a FUSE file, medians, ratios.

namespace dxg::bench {

uint64_t NowNs();
double MedianUs(std::vector<uint64_t> samples_ns);
[[noreturn]] void Fail(const std::string& what);
void PinToOneCore();

// A child process that serves a file, ended and reaped with this object.
class Server {
 public:
  // `serve` runs in the child with the file's path and a descriptor for its ready byte.
  Server(const std::string& name, const std::function<int(const std::string& path, int ready)>& serve);
  ~Server();
  Server(const Server&) = delete;

  // cuse-dxg serve, of the same build.
  static Server Daemon(const std::vector<std::string>& options = {});
  // A bare echo of the fixed struct, which costs one FUSE round trip; and the same with a bare round trip to
  // a second process.
  static Server Echo();
  static Server EchoWithHop();
  static Server EchoWithThread();  // another thread takes the answer of the second process

  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  uint64_t started_ns() const { return started_ns_; }
  uint64_t ResidentKib() const;

 private:
  std::string path_;
  pid_t pid_ = 0;
  int fd_ = -1;
  uint64_t started_ns_ = 0;
};

// What a program of the same build prints, until it ends.
std::string OutputOf(std::vector<std::string> command);

// dxg-hostsim, of the same build, for the daemons whose option is option().
class HostProcess {
 public:
  enum class Way { kSocket, kVmbus };
  explicit HostProcess(Way way = Way::kSocket);
  ~HostProcess();
  HostProcess(const HostProcess&) = delete;
  std::string option() const {
    return (way_ == Way::kSocket ? "--backend=unix:" : "--backend=vmbus:") + path_;
  }

 private:
  const Way way_;
  std::string path_;
  pid_t pid_ = 0;
};

// The median time of `work` over that many runs.
template <typename Work>
double MedianOfUs(int times, Work work) {
  std::vector<uint64_t> samples;
  for (int i = 0; i < times; ++i) {
    const uint64_t start = NowNs();
    work();
    samples.push_back(NowNs() - start);
  }
  return MedianUs(std::move(samples));
}

// The medians of a benchmark's repetitions, by its name.
void AddSamples(benchmark::State& state, const std::string& name, std::vector<uint64_t> samples_ns);
double P50Us(const std::string& name);

// Measures `work`, which returns 0 if it succeeds. The result is the median over the run.
template <typename Work>
void MeasureWork(benchmark::State& state, const std::string& name, Work work) {
  std::vector<uint64_t> samples;
  for (auto _ : state) {
    const uint64_t start = NowNs();
    const int result = work();
    const uint64_t took = NowNs() - start;
    if (result != 0) Fail(fmt::format("{}: returned {} (errno {})", name, result, errno));
    state.SetIterationTime(took * 1e-9);
    samples.push_back(took);
  }
  AddSamples(state, name, std::move(samples));
}

// One ioctl, with a fresh copy of its struct each time.
template <typename Args>
void Measure(benchmark::State& state, const std::string& name, int fd, unsigned long code, Args args) {
  MeasureWork(state, name, [&] {
    Args copy = args;
    return ioctl(fd, code, &copy);
  });
}

// Takes our options from the arguments; what is left is for RunAll. Ends the process after --help and its
// like. True: --smoke, a short run, which is of little use as a measurement, but shows that everything works.
// `what` is what the program measures, for the help.
enum class Rest { kOfTheLibrary, kNone };
bool TakeOptions(int* argc, char** argv, const char* what, Rest rest = Rest::kOfTheLibrary);

// Registers a benchmark of `work`, which returns 0 if it succeeds. What it captures must live until RunAll
// returns.
template <typename Work>
void Add(const std::string& name, Work work) {
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    MeasureWork(state, name, work);
  })->UseManualTime();
}

// Runs several short turns of each benchmark, interleaved, so that other load of the machine affects all
// alike. Returns false for bad arguments.
bool RunAll(int argc, char** argv);

void PrintRatio(const std::string& what, double ratio, double target);  // good where it is at most the target
void PrintAtLeast(const std::string& what, double ratio, double target);

}  // namespace dxg::bench
