// dxg-bench record: what recording costs the recorded, and what reading costs. A call under `run --record` as
// a ratio to the same call of a run beside it without it; the stops of a program under `record`; how fast
// short records are printed, and with how much memory.
#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "link/trace/trace_file.h"
#include "link/trace/trace_writer.h"
#include "proto/abi/d3dkmthk.h"
#include "tests/bench/bench.h"
#include "tests/bench/subcommands.h"

namespace dxg::bench {

namespace {

constexpr int kCallsOfTurn = 300, kCallsStopped = 2000;

struct Node {
  Node() : fd(open("/dev/dxg", O_RDWR | O_CLOEXEC)) {
    d3dkmt_adapterinfo info{};
    d3dkmt_enumadapters3 enumerate{};
    enumerate.adapter_count = 1;
    enumerate.filter.value = 1;
    *reinterpret_cast<uint64_t*>(&enumerate.adapters) =
        reinterpret_cast<uint64_t>(&info);  // Safety: an address
    d3dkmt_createdevice creation{};
    if (fd < 0 || ioctl(fd, LX_DXENUMADAPTERS3, &enumerate) != 0) Fail("the node has no adapter");
    creation.adapter = adapter = info.adapter_handle;
    if (ioctl(fd, LX_DXCREATEDEVICE, &creation) != 0) Fail("cannot create a device");
    device = creation.device;
  }
  void Local() const {
    d3dkmt_getdevicestate state{};
    state.device = device;
    state.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
    if (ioctl(fd, LX_DXGETDEVICESTATE, &state) != 0) Fail("GetDeviceState");
  }
  void Host() const {
    d3dkmt_queryvideomemoryinfo memory{};
    memory.adapter = adapter;
    if (ioctl(fd, LX_DXQUERYVIDEOMEMORYINFO, &memory) != 0) Fail("QueryVideoMemoryInfo");
  }
  const int fd;
  d3dkmthandle adapter{}, device{};
};

}  // namespace

int TakeRecordedTurns() {
  const Node node;
  for (int letter; (letter = std::getchar()) != EOF;) {
    if (letter != '\n') continue;
    const double local = MedianOfUs(kCallsOfTurn, [&] { node.Local(); });
    const double host = MedianOfUs(kCallsOfTurn, [&] { node.Host(); });
    fmt::print("{} {}\n", local, host);
    std::fflush(stdout);
  }
  return 0;
}

int MakeRecordedCalls() {
  const Node node;
  for (int i = 0; i < kCallsStopped; ++i) node.Local();
  return 0;
}

namespace {

// Such a client below `cuse-dxg run`; it ends with this object.
class Client {
 public:
  explicit Client(const std::vector<std::string>& options) {
    std::vector<std::string> command = {"cuse-dxg", "run"};
    command.insert(command.end(), options.begin(), options.end());
    command.insert(command.end(), {"--", ProgramPath("dxg-bench"), kRecordedInTurns});
    std::array<int, 2> in{}, out{};
    if (pipe2(in.data(), O_CLOEXEC) != 0 || pipe2(out.data(), O_CLOEXEC) != 0) Fail("pipe");
    pid_ = fork();
    if (pid_ == 0) {
      dup2(in[0], STDIN_FILENO);
      dup2(out[1], STDOUT_FILENO);
      Execute(std::move(command));
    }
    close(in[0]);
    close(out[1]);
    to_ = UniqueFd(in[1]);
    from_.reset(fdopen(out[0], "r"));
  }
  ~Client() {
    to_.reset();
    waitpid(pid_, nullptr, 0);
  }
  Client(const Client&) = delete;

  std::pair<double, double> Turn() {
    double local = 0, host = 0;
    if (write(to_.get(), "\n", 1) != 1 || std::fscanf(from_.get(), "%lf %lf", &local, &host) != 2)
      Fail("a client of `cuse-dxg run` does not answer");
    return {local, host};
  }

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  pid_t pid_ = 0;
  UniqueFd to_;
  std::unique_ptr<std::FILE, CloseFile> from_;
};

// The two take turns, so that what else goes on meets both.
void CompareCalls(Run& run, const std::string& file) {
  Client plain({}), recorded({"--record", file});
  plain.Turn(), recorded.Turn();
  bool plain_first = false;
  run.Settle({{"local call (GetDeviceState), run --record / run", Limit::kAtMost, 1.05},
              {"host call (QueryVideoMemoryInfo), run --record / run", Limit::kAtMost, 1.05},
              {"local call that is not recorded", Limit::kNone, 0, "us"}},
             [&]() -> std::vector<double> {
               plain_first = !plain_first;
               auto first = (plain_first ? plain : recorded).Turn();
               auto second = (plain_first ? recorded : plain).Turn();
               if (!plain_first) std::swap(first, second);
               return {second.first / first.first, second.second / first.second, first.first};
             });
}

void CountStops(Run& run, const std::string& file) {
  // What --summary says goes to standard error.
  const std::string command =
      fmt::format("exec '{}' record --summary -o '{}' -- '{}' {} 2>&1", ProgramPath("cuse-dxg"), file,
                  ProgramPath("dxg-bench"), kRecordedCalls);
  const std::string said = OutputOf({"cuse-dxg", "run", "--", "sh", "-c", command});
  unsigned long calls = 0, stops = 0, others = 0, other_stops = 0;
  const size_t first = said.find("cuse-dxg record:"), second = said.find('\n', first);
  if (second == std::string::npos ||
      std::sscanf(said.c_str() + first, "cuse-dxg record: %lu calls, with %lu stops", &calls, &stops) != 2 ||
      std::sscanf(said.c_str() + second, " cuse-dxg record: %lu other system calls, with %lu stops", &others,
                  &other_stops) != 2 ||
      calls < kCallsStopped)
    Fail("`cuse-dxg record` could not be measured; it said: " + said);
  const auto each = [calls](unsigned long part) {
    return static_cast<double>(part) / static_cast<double>(calls);
  };
  run.Once({"record: stops of the program for each ioctl", Limit::kAtMost, 3}, each(stops));
  run.Once({"record: with those for opens and other files", Limit::kAtMost, 3}, each(stops + other_stops));
}

// A recording of calls with little to say, of so many bytes uncompressed.
void WriteShortRecords(const std::string& file, uint64_t bytes) {
  auto sink = trace::FileSink::Create(file);
  if (!sink.ok()) Fail(sink.status().why());
  TraceHeader header;
  header.set_format(trace::kFormat);
  header.set_version(trace::kVersion);
  auto writer = trace::TraceWriter::Begin(**sink, header);
  if (!writer.ok()) Fail(writer.status().why());
  constexpr uint64_t kBeginNs = 41'000'000'000'000, kStepNs = 12'345, kTookNs = 2'345;
  uint64_t at_ns = kBeginNs;
  for (uint64_t written = 0; written < bytes;) {
    trace::Batch batch;
    while (batch.bytes.size() < trace::kFrameBytesWanted) {
      TraceItem item;
      TraceRecord& record = *item.mutable_record();
      record.set_pid(4321);
      record.set_tid(4321);
      record.set_begin_ns(at_ns += kStepNs);
      record.set_end_ns(at_ns + kTookNs);
      record.mutable_call()->set_code(LX_DXGETCONTEXTSCHEDULINGPRIORITY);
      record.mutable_call()->set_request("\x08\xc0\x80\x80\x80\x04");  // context: 0x40000040
      record.mutable_call()->set_reply("");
      record.mutable_call()->set_file(1);
      batch.Add(item);
    }
    written += batch.bytes.size();
    if (const Status status = (*writer)->Write(batch); !status.ok()) Fail(status.why());
  }
  if (const Status status = (*writer)->Close(); !status.ok()) Fail(status.why());
}

struct Printing {
  double seconds;  // of the CPU
  double mib;      // the most memory that it had
};

Printing Print(const std::string& file) {
  const pid_t pid = fork();
  if (pid == 0) {
    const UniqueFd nowhere(open("/dev/null", O_WRONLY | O_CLOEXEC));
    dup2(nowhere.get(), STDOUT_FILENO);
    Execute({"cuse-dxg", "trace", "print", file});
  }
  int status = 0;
  rusage used{};
  if (wait4(pid, &status, 0, &used) != pid || status != 0) Fail("`cuse-dxg trace print` fails");
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + time.tv_usec * 1e-6;
  };
  return {seconds(used.ru_utime) + seconds(used.ru_stime), static_cast<double>(used.ru_maxrss) / 1024};
}

void ComparePrinting(Run& run, const std::string& file) {
  const uint64_t mib = run.smoke() ? 4 : 128;
  WriteShortRecords(file, mib << 20);
  double little_mib = 0;
  run.Settle(
      {{"trace print: short records, uncompressed, in a second of the CPU", Limit::kAtLeast, 100, "MiB"}},
      [&]() -> std::vector<double> {
        const Printing printing = Print(file);
        little_mib = printing.mib;
        return {static_cast<double>(mib) / printing.seconds};
      });
  WriteShortRecords(file, mib << 23);
  run.Once(
      {fmt::format("trace print: its memory with {} MiB / with {} MiB", mib * 8, mib), Limit::kAtMost, 1.1},
      Print(file).mib / little_mib);
}

}  // namespace

void MeasureRecord(Run& run) {
  std::string directory = "/tmp/dxg-bench-record.XXXXXX";
  if (mkdtemp(directory.data()) == nullptr) Fail("mkdtemp");
  PinToOneCore();
  CompareCalls(run, directory + "/calls.dxg");
  CountStops(run, directory + "/stops.dxg");
  ComparePrinting(run, directory + "/short.dxg");
  std::filesystem::remove_all(directory);
}

}  // namespace dxg::bench
