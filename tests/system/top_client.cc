// dxg-top-client: does what it is told on standard input, a line each, and says "done" after each
// (tests/system/top.py compares with what `cuse-dxg top` shows).
//
//     allocate BYTES   memory that is resident
//     work MS          keeps the first engine busy for so long, and waits for the end
//     refuse N         so many calls that are refused
//     wait             a thread waits for a fence
//     signal           until now
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>

#include "tests/conformance/options.h"
#include "tests/conformance/work_client.h"

namespace dxg::conformance {
namespace {

int Obey() {
  const WorkClient client;
  const Fence fence = client.CreateFence();
  std::thread waiter;
  std::string what;
  uint64_t amount = 0;
  std::cout << "done" << std::endl;
  while (std::cin >> what) {
    if (what == "wait") {
      waiter = std::thread([&] { client.Wait(fence, 1); });
    } else if (what == "signal") {
      client.Signal(fence, 1);
      waiter.join();
    } else if (!(std::cin >> amount)) {
      return 2;
    } else if (what == "allocate") {
      (void)client.Attach(client.Create(amount), amount);
    } else if (what == "work") {
      constexpr uint64_t kNsPerMs = 1'000'000;
      client.Run(
          client.Compile([amount](dxg_commands* commands) { dxg_push_delay(commands, amount * kNsPerMs); }));
    } else if (what == "refuse") {
      d3dkmt_destroydevice none = {};
      for (uint64_t i = 0; i < amount; ++i) (void)client.node.TryIoctl(LX_DXDESTROYDEVICE, none);
    } else {
      return 2;
    }
    std::cout << "done" << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace dxg::conformance

int main(int argc, char** argv) {
  if (argc > 1) dxg::conformance::options().device = argv[1];
  try {
    return dxg::conformance::Obey();
  } catch (const std::runtime_error& error) {
    fmt::print(stderr, "dxg-top-client: {}\n", error.what());
    return 1;
  }
}
