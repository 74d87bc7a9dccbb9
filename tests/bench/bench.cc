#include "tests/bench/bench.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string_view>

#include "base/command_line/parse.h"
#include "tests/bench/echo_server.h"

namespace dxg::bench {
namespace {

const std::string& Directory() {
  static const std::string directory = [] {
    char name[] = "/tmp/dxg-bench.XXXXXX";
    if (mkdtemp(name) == nullptr) Fail("mkdtemp");
    return std::string(name);
  }();
  return directory;
}

std::string ProgramPath(const std::string& name) {
  char self[4096] = {};
  if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) Fail("readlink /proc/self/exe");
  const std::string path = self;
  return path.substr(0, path.rfind('/')) + "/" + name;
}

// The library also makes short runs to find out how long to go on; their median says nothing.
constexpr size_t kSamplesMin = 1000;
std::map<std::string, std::vector<double>> p50s;  // one for each repetition

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

}  // namespace

double MedianUs(std::vector<uint64_t> samples_ns) {
  std::nth_element(samples_ns.begin(), samples_ns.begin() + samples_ns.size() / 2, samples_ns.end());
  return samples_ns[samples_ns.size() / 2] / 1000.0;
}

uint64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

void Fail(const std::string& what) {
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

Server::Server(const std::string& name, const std::function<int(const std::string& path, int ready)>& serve)
    : path_(Directory() + "/" + name) {
  std::ofstream create(path_);
  create.close();
  int ready[2];
  if (pipe(ready) != 0) Fail("pipe");
  started_ns_ = NowNs();
  pid_ = fork();
  if (pid_ == 0) {
    close(ready[0]);
    prctl(PR_SET_PDEATHSIG, SIGTERM);  // a benchmark that gives up leaves nobody behind
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

std::string OutputOf(std::vector<std::string> command) {
  int ends[2];
  if (pipe(ends) != 0) Fail("pipe");
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[1], STDOUT_FILENO);
    std::vector<char*> arguments;
    for (std::string& argument : command) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    execv(ProgramPath(command.front()).c_str(), arguments.data());
    _exit(127);
  }
  close(ends[1]);
  std::string text;
  char piece[256];
  for (ssize_t got; (got = read(ends[0], piece, sizeof(piece))) > 0;)
    text.append(piece, static_cast<size_t>(got));
  close(ends[0]);
  waitpid(pid, nullptr, 0);
  return text;
}

HostProcess::HostProcess(Way way) : way_(way), path_(Directory() + (way == Way::kSocket ? "/host" : "/bus")) {
  int ready[2];
  if (pipe(ready) != 0) Fail("pipe");
  pid_ = fork();
  if (pid_ == 0) {
    close(ready[0]);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    const std::string ready_fd = std::to_string(ready[1]);
    const std::string serve = way_ == Way::kSocket ? "--listen=" + path_ : "--serve=vmbus:" + path_;
    execl(ProgramPath("dxg-hostsim").c_str(), "dxg-hostsim", serve.c_str(), "--log-level", "warn",
          "--ready-fd", ready_fd.c_str(), nullptr);
    _exit(127);
  }
  close(ready[1]);
  char byte = 0;
  const bool is_ready = read(ready[0], &byte, 1) == 1;
  close(ready[0]);
  if (!is_ready) Fail("dxg-hostsim did not come up");
}

HostProcess::~HostProcess() {
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
}

Server::~Server() {
  close(fd_);
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
  unlink(path_.c_str());
}

Server Server::Daemon(const std::vector<std::string>& options) {
  static int count = 0;
  return Server("dxg" + std::to_string(count++), [&](const std::string& path, int ready) {
    std::vector<std::string> command = {"cuse-dxg",    "serve", "--attach=fuse", "--device",           path,
                                        "--log-level", "warn",  "--ready-fd",    std::to_string(ready)};
    command.insert(command.end(), options.begin(), options.end());
    std::vector<char*> arguments;
    for (std::string& argument : command) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    execv(ProgramPath("cuse-dxg").c_str(), arguments.data());
    return 127;
  });
}

Server Server::EchoWithHop() { return Server("echo-hop", ServeEchoWithHop); }
Server Server::EchoWithThread() { return Server("echo-thread", ServeEchoWithThread); }
Server Server::Echo() { return Server("echo", ServeEcho); }

// Resident memory, in KiB.
uint64_t Server::ResidentKib() const {
  std::ifstream status(fmt::format("/proc/{}/status", pid_));
  for (std::string word; status >> word;) {
    uint64_t kib = 0;
    if (word == "VmRSS:" && status >> kib) return kib;
  }
  return 0;
}

void AddSamples(benchmark::State& state, const std::string& name, std::vector<uint64_t> samples) {
  const bool enough = samples.size() >= kSamplesMin;
  const double p50_us = MedianUs(std::move(samples));
  state.counters["p50_us"] = p50_us;
  if (enough) p50s[name].push_back(p50_us);
}

double P50Us(const std::string& name) { return Median(p50s[name]); }

bool TakeOptions(int* argc, char** argv, const char* what, Rest rest) {
  const std::string path = argv[0];
  const std::string name = path.substr(path.rfind('/') + 1);
  CLI::App app(what, name);
  bool smoke = false;
  app.set_version_flag("--version", name + " " DXG_VERSION);
  app.add_flag("--smoke", smoke, "A short run, which shows that everything works, and measures little");
  const std::string status =
      "Exit status: 0 when all was measured, whatever the numbers are; 2 if it cannot be, or the command "
      "line\n"
      "is wrong.";
  if (rest == Rest::kOfTheLibrary) {
    app.allow_extras();
    app.footer(
        "Options of Google Benchmark are passed on; those used most:\n"
        "  --benchmark_filter=REGEX    only these\n"
        "  --benchmark_min_time=S      how long each is measured\n"
        "  --benchmark_out=FILE        results as JSON\n\n" +
        status);
  } else {
    app.footer(status);
  }
  if (const auto ended = command_line::Parse(app, *argc, argv)) std::exit(*ended);
  static std::vector<std::string> left;  // argv points into it
  left = app.remaining();
  if (smoke && rest == Rest::kOfTheLibrary) left.insert(left.begin(), "--benchmark_min_time=0.02");
  *argc = 1;
  for (std::string& word : left) argv[(*argc)++] = word.data();
  argv[*argc] = nullptr;
  return smoke;
}

bool RunAll(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  std::string repetitions = "--benchmark_repetitions=5",
              mixed = "--benchmark_enable_random_interleaving=true";
  std::string aggregates = "--benchmark_report_aggregates_only=true", min_time = "--benchmark_min_time=0.2";
  arguments.insert(arguments.begin() + 1,
                   {repetitions.data(), mixed.data(), aggregates.data(), min_time.data()});
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return false;
  benchmark::RunSpecifiedBenchmarks();
  return true;
}

void PrintRatio(const std::string& what, double ratio, double target) {
  fmt::print("{:<58}{:6.2f}   target at most {:.2f}   {}\n", what, ratio, target,
             ratio <= target ? "met" : "MISSED");
}

void PrintAtLeast(const std::string& what, double ratio, double target) {
  fmt::print("{:<58}{:6.2f}   target at least {:.2f}  {}\n", what, ratio, target,
             ratio >= target ? "met" : "MISSED");
}

}  // namespace dxg::bench
