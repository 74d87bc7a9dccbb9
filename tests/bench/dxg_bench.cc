// dxg-bench: what a call through cuse-dxg costs, in one run and pinned to one core, against a bare FUSE ioctl
// echo of the same size. Prints ratios: absolute times say more about the machine than about us.
#include <fmt/format.h>
#include <sched.h>

#include <string_view>

#include "proto/abi/d3dkmthk.h"
#include "tests/bench/bench.h"
#include "tests/bench/by_library.h"

using namespace dxg::bench;

int main(int argc, char** argv) {
  if (argc == 2 && argv[1] == std::string_view(kByLibrary)) return RunByLibrary();
  TakeOptions(&argc, argv, "Measures what a call costs: ratios to a bare FUSE echo of the same size.");
  cpu_set_t all;
  if (sched_getaffinity(0, sizeof(all), &all) != 0) Fail("sched_getaffinity");
  PinToOneCore();
  const Server echo = Server::Echo();
  const Server node = Server::Daemon();

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
    benchmark::RegisterBenchmark(name, [=](benchmark::State& state) {
      Measure(state, name, fd, code, args);
    })->UseManualTime();
  };
  add("echo_56_bytes", echo.fd(), LX_DXQUERYVIDEOMEMORYINFO, memory_args);
  add("echo_24_bytes", echo.fd(), LX_DXQUERYADAPTERINFO, query_args);
  add("local_call/GetDeviceState", node.fd(), LX_DXGETDEVICESTATE, state_args);
  add("host_call/QueryVideoMemoryInfo", node.fd(), LX_DXQUERYVIDEOMEMORYINFO, memory_args);
  add("nested_call/QueryAdapterInfo", node.fd(), LX_DXQUERYADAPTERINFO, query_args);

  if (!RunAll(argc, argv)) return 2;

  const double echo_56 = P50Us("echo_56_bytes"), echo_24 = P50Us("echo_24_bytes");
  fmt::print("\np50 in this run, client and daemon on one core; the bare echo takes {:.1f} us\n", echo_56);
  PrintRatio("local call (GetDeviceState) / echo", P50Us("local_call/GetDeviceState") / echo_56, 1.25);
  PrintRatio("host call (QueryVideoMemoryInfo) / echo", P50Us("host_call/QueryVideoMemoryInfo") / echo_56,
             1.25);
  PrintRatio("call with nested buffers (QueryAdapterInfo) / echo",
             P50Us("nested_call/QueryAdapterInfo") / echo_24, 1.7);
  const ByLibrary one = MeasureByLibrary(argv[0]);
  PrintRatio("local call by --attach=preload, one core / echo", one.local / echo_56, 0.6);
  PrintRatio("host call by --attach=preload, one core / echo", one.host / echo_56, 0.6);
  PrintRatio("lock and unlock by --attach=preload, one core / two echoes", one.lock_and_unlock / 2 / echo_56,
             0.7);
  if (CPU_COUNT(&all) > 1 && sched_setaffinity(0, sizeof(all), &all) == 0) {
    const ByLibrary two = MeasureByLibrary(argv[0]);
    PrintRatio("local call by --attach=preload, two cores / echo", two.local / echo_56, 0.15);
    PrintRatio("host call by --attach=preload, two cores / echo", two.host / echo_56, 0.15);
    PrintRatio("submission in a burst of 64 by --attach=preload, two cores / echo", two.submission / echo_56,
               0.1);
    PrintRatio("lock and unlock by --attach=preload, two cores / two echoes",
               two.lock_and_unlock / 2 / echo_56, 0.7);
  }
  PrintRatio("start of the daemon to the first answered ioctl, ms", first_ms, 50);
  PrintRatio("resident memory of the idle daemon, MiB", idle_kib / 1024.0, 32);
  return 0;
}
