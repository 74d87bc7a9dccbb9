// eu-speed [--smoke]: how many instructions of 16 lanes a second one processor executes of programs/mix.asm,
// by each set of handlers. With --smoke the shortest run that shows that it works.
#include <benchmark/benchmark.h>

#include <cstring>
#include <fstream>
#include <vector>

#include "hostsim/work/eu/step.h"
#include "hostsim/work/eu/thread.h"

namespace dxg::hostsim::eu {
namespace {

constexpr uint64_t kInstructions = 1 << 18;

class NoMessages : public MessagePort {
 public:
  MessageResult Send(const Message&, Thread&) override { return {}; }
};

std::shared_ptr<const Kernel> Mix(Handlers handlers) {
  std::ifstream file(DXG_EU_PROGRAMS "/mix.words");
  std::vector<uint64_t> words;
  for (uint64_t word; file >> std::hex >> word;) words.push_back(word);
  return Kernel::Load(
      [&](int64_t offset, std::span<std::byte> to) -> size_t {
        const auto bytes = std::as_bytes(std::span(words));
        if (offset < 0 || offset >= static_cast<int64_t>(bytes.size())) return 0;
        const size_t count = std::min(to.size(), bytes.size() - static_cast<size_t>(offset));
        std::memcpy(to.data(), bytes.data() + offset, count);
        return count;
      },
      handlers);
}

bool failed = false;

void Execute(benchmark::State& state, Handlers handlers, uint32_t lanes) {
  const auto kernel = Mix(handlers);
  Thread thread;
  std::memset(static_cast<void*>(&thread), 0, sizeof(thread));
  thread.control[0] = 0x4c0;
  thread.dispatch_mask = lanes;
  thread.SetRegister(9, 2, 0x7fffffff);
  NoMessages port;
  for (auto _ : state) {
    const ThreadStop stop = Run(thread, *kernel, port, kInstructions);
    if (stop.kind != ThreadStop::kSlice) {
      failed = true;
      return state.SkipWithError(("it stopped: " + stop.text + stop.why).c_str());
    }
  }
  state.SetItemsProcessed(static_cast<int64_t>(thread.executed));
}

}  // namespace
}  // namespace dxg::hostsim::eu

int main(int argc, char** argv) {
  using namespace dxg::hostsim::eu;
  std::vector<char*> arguments(argv, argv + argc);
  char shortest[] = "--benchmark_min_time=0.01";
  for (char*& argument : arguments)
    if (std::strcmp(argument, "--smoke") == 0) argument = shortest;
  int count = argc;
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
  struct Way {
    const char* name;
    Handlers handlers;
    uint32_t lanes;
  };
  for (const Way& way :
       {Way{HasAvx2() ? "avx2" : "best (no AVX2 here)", Handlers::kBest, 0xffff},
        Way{"best, 15 of 16 lanes", Handlers::kBest, 0x7fff}, Way{"baseline", Handlers::kBaseline, 0xffff},
        Way{"generic", Handlers::kGeneric, 0xffff}})
    benchmark::RegisterBenchmark(way.name, Execute, way.handlers, way.lanes);
  return benchmark::RunSpecifiedBenchmarks() == 0 || failed ? 1 : 0;
}
