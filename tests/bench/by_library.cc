#include "tests/bench/by_library.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cstdio>

#include "proto/abi/dxg_commands.h"
#include "tests/bench/client.h"

namespace dxg::bench {
namespace {

constexpr int kCalls = 5000, kBursts = 200, kBurst = 64;

}  // namespace

int RunByLibrary() {
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
  us.local = MedianOfUs(kCalls, [&] { client.GetState(); });
  us.host = MedianOfUs(kCalls, [&] { client.QueryVideoMemory(); });
  us.submission = MedianOfUs(kBursts,
                             [&] {
                               for (int i = 0; i < kBurst; ++i)
                                 client.Submit(context, commands, static_cast<uint32_t>(list.used));
                             }) /
                  kBurst;
  us.lock_and_unlock = MedianOfUs(kCalls, [&] {
    client.Lock(buffer);
    client.Unlock(buffer);
  });
  fmt::print("{} {} {} {}\n", us.local, us.host, us.submission, us.lock_and_unlock);
  return 0;
}

ByLibrary MeasureByLibrary(const std::string& program) {
  ByLibrary us;
  const std::string said = OutputOf({"cuse-dxg", "run", "--attach=preload", "--", program, kByLibrary});
  if (std::sscanf(said.c_str(), "%lf %lf %lf %lf", &us.local, &us.host, &us.submission,
                  &us.lock_and_unlock) != 4)
    Fail("--attach=preload could not be measured");
  return us;
}

}  // namespace dxg::bench
