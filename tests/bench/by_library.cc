#include "tests/bench/by_library.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "proto/abi/dxg_commands.h"
#include "tests/bench/bench.h"
#include "tests/bench/client.h"

namespace dxg::bench {
namespace {

constexpr int kBurst = 64;

}  // namespace

int RunByLibrary(bool few) {
  const int calls = few ? 500 : 5000, bursts = few ? 20 : 200;
  const int node = open("/dev/dxg", O_RDWR | O_CLOEXEC);
  if (node < 0) Fail("/dev/dxg by the library");
  Client client(node);
  client.CreateQueue();
  const auto context = client.CreateContext(0);
  const auto buffer = client.Create(kPageBytes);
  client.MakeResident(buffer);
  const uint64_t commands = client.Map(buffer);
  dxg_commands list = dxg_commands_begin(client.Lock(buffer), kPageBytes);
  dxg_push_nop(&list);
  ByLibrary us;
  us.local = MedianOfUs(calls, [&] { client.GetState(); });
  us.host = MedianOfUs(calls, [&] { client.QueryVideoMemory(); });
  us.submission = MedianOfUs(bursts,
                             [&] {
                               for (int i = 0; i < kBurst; ++i)
                                 client.Submit(context, commands, static_cast<uint32_t>(list.used));
                             }) /
                  kBurst;
  us.lock_and_unlock = MedianOfUs(calls, [&] {
    client.Lock(buffer);
    client.Unlock(buffer);
  });
  fmt::print("{} {} {} {}\n", us.local, us.host, us.submission, us.lock_and_unlock);
  return 0;
}

ByLibrary MeasureByLibrary(bool few) {
  ByLibrary us;
  const std::string said = OutputOf({"cuse-dxg", "run", "--attach=preload", "--", ProgramPath("dxg-bench"),
                                     kByLibrary, few ? kFewCalls : kManyCalls});
  if (std::sscanf(said.c_str(), "%lf %lf %lf %lf", &us.local, &us.host, &us.submission,
                  &us.lock_and_unlock) != 4)
    Fail("--attach=preload could not be measured");
  return us;
}

}  // namespace dxg::bench
