// dxg-bench calls: what a call through cuse-dxg costs, in one run and pinned to one core, against a bare FUSE
// ioctl echo of the same size.
#include <fcntl.h>
#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "proto/abi/d3dkmthk.h"
#include "tests/bench/bench.h"
#include "tests/bench/subcommands.h"

namespace dxg::bench {

// Prints the median of a local and of a host call, in microseconds.
int MeasureByLibrary() {
  const int node = open("/dev/dxg", O_RDWR | O_CLOEXEC);
  d3dkmt_adapterinfo info{};
  d3dkmt_enumadapters3 enumerate{};
  enumerate.adapter_count = 1;
  enumerate.filter.value = 1;
  *reinterpret_cast<uint64_t*>(&enumerate.adapters) = reinterpret_cast<uint64_t>(&info);
  d3dkmt_createdevice device{};
  if (node < 0 || ioctl(node, LX_DXENUMADAPTERS3, &enumerate) != 0) return 2;
  device.adapter = info.adapter_handle;
  if (ioctl(node, LX_DXCREATEDEVICE, &device) != 0) return 2;
  constexpr int kCalls = 5000;
  const double local = MedianOfUs(kCalls, [&] {
    d3dkmt_getdevicestate state{};
    state.device = device.device;
    state.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
    if (ioctl(node, LX_DXGETDEVICESTATE, &state) != 0) Fail("GetDeviceState by the library");
  });
  const double host = MedianOfUs(kCalls, [&] {
    d3dkmt_queryvideomemoryinfo memory{};
    memory.adapter = info.adapter_handle;
    if (ioctl(node, LX_DXQUERYVIDEOMEMORYINFO, &memory) != 0) Fail("QueryVideoMemoryInfo by the library");
  });
  fmt::print("{} {}\n", local, host);
  return 0;
}

namespace {

// Medians of a local and of a host call by the library, in a process of their own.
struct ByLibrary {
  double local_us = 0, host_us = 0;
};
ByLibrary MeasureInLibrary() {
  ByLibrary times;
  const std::string said =
      OutputOf({"cuse-dxg", "run", "--attach=preload", "--", ProgramPath("dxg-bench"), kByLibrary});
  if (std::sscanf(said.c_str(), "%lf %lf", &times.local_us, &times.host_us) != 2)
    Fail("--attach=preload could not be measured");
  return times;
}

}  // namespace

void MeasureCalls(Run& run) {
  PinToOneCore();
  const Server echo = Server::Echo();
  const Server node = Server::Daemon();

  d3dkmt_adapterinfo info{};
  d3dkmt_enumadapters3 enumerate{};
  enumerate.adapter_count = 1;
  enumerate.filter.value = 1;
  *reinterpret_cast<uint64_t*>(&enumerate.adapters) = reinterpret_cast<uint64_t>(&info);
  if (ioctl(node.fd(), LX_DXENUMADAPTERS3, &enumerate) != 0) Fail("the node has no adapter");
  const double first_ms = static_cast<double>(NowNs() - node.started_ns()) / 1e6;
  const auto idle_kib = static_cast<double>(node.ResidentKib());
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

  Works works(run);
  works.Add("echo of 56 bytes", Ioctl(echo.fd(), LX_DXQUERYVIDEOMEMORYINFO, memory_args));
  works.Add("echo of 24 bytes", Ioctl(echo.fd(), LX_DXQUERYADAPTERINFO, query_args));
  works.Add("local", Ioctl(node.fd(), LX_DXGETDEVICESTATE, state_args));
  works.Add("host", Ioctl(node.fd(), LX_DXQUERYVIDEOMEMORYINFO, memory_args));
  works.Add("nested", Ioctl(node.fd(), LX_DXQUERYADAPTERINFO, query_args));
  run.Settle({{"local call (GetDeviceState) / echo", Limit::kAtMost, 1.25},
              {"host call (QueryVideoMemoryInfo) / echo", Limit::kAtMost, 1.25},
              {"call with nested buffers (QueryAdapterInfo) / echo", Limit::kAtMost, 1.7},
              {"bare echo", Limit::kNone, 0, "us"}},
             [&]() -> std::vector<double> {
               works.Round();
               const double echo_us = works.us("echo of 56 bytes");
               return {works.us("local") / echo_us, works.us("host") / echo_us,
                       works.us("nested") / works.us("echo of 24 bytes"), echo_us};
             });
  run.Settle({{"local call by --attach=preload / echo", Limit::kAtMost, 0.6},
              {"host call by --attach=preload / echo", Limit::kAtMost, 0.6}},
             [&]() -> std::vector<double> {
               const ByLibrary times = MeasureInLibrary();
               works.Round();
               const double echo_us = works.us("echo of 56 bytes");
               return {times.local_us / echo_us, times.host_us / echo_us};
             });
  run.Once({"start of the daemon to the first answered ioctl", Limit::kAtMost, 50, "ms"}, first_ms);
  run.Once({"resident memory of the idle daemon", Limit::kAtMost, 32, "MiB"}, idle_kib / 1024);
}

}  // namespace dxg::bench
