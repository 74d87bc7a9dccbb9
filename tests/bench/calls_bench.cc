// dxg-bench calls: what a call through cuse-dxg costs, in one run and pinned to one core, against a bare FUSE
// ioctl echo of the same size.
#include <sched.h>

#include <vector>

#include "proto/abi/d3dkmthk.h"
#include "tests/bench/bench.h"
#include "tests/bench/by_library.h"
#include "tests/bench/subcommands.h"

namespace dxg::bench {

void MeasureCalls(Run& run) {
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
  run.Settle({{"local call by --attach=preload, one core / echo", Limit::kAtMost, 0.6},
              {"host call by --attach=preload, one core / echo", Limit::kAtMost, 0.6},
              {"lock and unlock by --attach=preload, one core / two echoes", Limit::kAtMost, 0.7}},
             [&]() -> std::vector<double> {
               const ByLibrary one = MeasureByLibrary(run.smoke());
               works.Round();
               const double echo_us = works.us("echo of 56 bytes");
               return {one.local / echo_us, one.host / echo_us, one.lock_and_unlock / 2 / echo_us};
             });
  if (CPU_COUNT(&all) > 1)
    run.Settle({{"local call by --attach=preload, two cores / echo", Limit::kAtMost, 0.15},
                {"host call by --attach=preload, two cores / echo", Limit::kAtMost, 0.15},
                {"submission in a burst of 64 by --attach=preload, two cores / echo", Limit::kAtMost, 0.1},
                {"lock and unlock by --attach=preload, two cores / two echoes", Limit::kAtMost, 0.7}},
               [&]() -> std::vector<double> {
                 if (sched_setaffinity(0, sizeof(all), &all) != 0) Fail("sched_setaffinity");
                 const ByLibrary two = MeasureByLibrary(run.smoke());
                 PinToOneCore();
                 works.Round();
                 const double echo_us = works.us("echo of 56 bytes");
                 return {two.local / echo_us, two.host / echo_us, two.submission / echo_us,
                         two.lock_and_unlock / 2 / echo_us};
               });
  run.Once({"start of the daemon to the first answered ioctl", Limit::kAtMost, 50, "ms"}, first_ms);
  run.Once({"resident memory of the idle daemon", Limit::kAtMost, 32, "MiB"}, idle_kib / 1024);
}

}  // namespace dxg::bench
