// dxg-bench-host: what a host in another process costs (dxg-hostsim behind --backend=unix and
// --backend=vmbus), in one run and pinned to one core, as ratios to a FUSE ioctl echo that has itself a bare
// round trip to a second process.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "proto/abi/d3dkmthk.h"
#include "tests/bench/bench.h"

using namespace dxg::bench;

namespace {

d3dkmt_queryvideomemoryinfo QueryOf(int fd) {
  d3dkmt_adapterinfo info{};
  d3dkmt_enumadapters3 enumerate{};
  enumerate.adapter_count = 1;
  enumerate.filter.value = 1;
  *reinterpret_cast<uint64_t*>(&enumerate.adapters) = reinterpret_cast<uint64_t>(&info);
  if (ioctl(fd, LX_DXENUMADAPTERS3, &enumerate) != 0 || enumerate.adapter_count == 0)
    Fail("the node has no adapter");
  d3dkmt_queryvideomemoryinfo args{};
  args.adapter = info.adapter_handle;
  return args;
}

// Host calls in a second by as many clients at once as there are nodes, each with so many of them to make.
double CallsPerSecond(const std::vector<std::unique_ptr<Server>>& nodes, size_t clients, int calls) {
  int go[2];
  if (pipe(go) != 0) Fail("pipe");
  std::vector<pid_t> children;
  for (size_t i = 0; i < clients; ++i) {
    children.push_back(fork());
    if (children.back() != 0) continue;
    const int fd =
        open(nodes[i]->path().c_str(), O_RDWR | O_CLOEXEC);  // of its own: another process is another client
    d3dkmt_queryvideomemoryinfo args = QueryOf(fd);
    close(go[1]);
    char byte = 0;
    (void)!read(go[0], &byte, 1);
    bool fine = true;
    for (int call = 0; call < calls; ++call) fine = fine && ioctl(fd, LX_DXQUERYVIDEOMEMORYINFO, &args) == 0;
    _exit(fine ? 0 : 1);
  }
  close(go[0]);
  const uint64_t start = NowNs();
  close(go[1]);
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0) Fail("a client's call failed");
  }
  return clients * calls / ((NowNs() - start) * 1e-9);
}

}  // namespace

int main(int argc, char** argv) {
  const bool smoke = TakeOptions(&argc, argv,
                                 "Measures what a host in another process costs: ratios to a bare FUSE echo "
                                 "that has itself a bare round "
                                 "trip to a second process.");
  PinToOneCore();
  const Server echo = Server::Echo(), hop = Server::EchoWithHop(), thread = Server::EchoWithThread();
  const HostProcess host, bus_host(HostProcess::Way::kVmbus);
  constexpr size_t kNodes = 8;
  std::vector<std::unique_ptr<Server>> nodes;
  for (size_t i = 0; i < kNodes; ++i) nodes.emplace_back(new Server(Server::Daemon({host.option()})));
  const Server in_process = Server::Daemon(), vmbus = Server::Daemon({bus_host.option()});
  const auto add = [](const char* name, int fd, d3dkmt_queryvideomemoryinfo args) {
    benchmark::RegisterBenchmark(name, [=](benchmark::State& state) {
      Measure(state, name, fd, LX_DXQUERYVIDEOMEMORYINFO, args);
    })->UseManualTime();
  };
  add("echo", echo.fd(), {});
  add("echo_with_hop", hop.fd(), {});
  add("echo_with_hop_and_thread", thread.fd(), {});
  add("host_call/in_process", in_process.fd(), QueryOf(in_process.fd()));
  add("host_call/socket", nodes[0]->fd(), QueryOf(nodes[0]->fd()));
  add("host_call/vmbus_rings", vmbus.fd(), QueryOf(vmbus.fd()));
  if (!RunAll(argc, argv)) return 2;

  const double hop_us = P50Us("echo_with_hop"), call_us = P50Us("host_call/socket");
  fmt::print(
      "\np50 in this run, all on one core; the bare echo takes {:.1f} us, with one bare hop {:.1f} us\n",
      P50Us("echo"), hop_us);
  PrintRatio("host call through the socket / echo with one bare hop", call_us / hop_us, 1.3);
  fmt::print("host call through the socket / the same hop where another thread takes the answer: {:.2f}\n",
             call_us / P50Us("echo_with_hop_and_thread"));
  fmt::print("host call through VMBus rings / echo with one bare hop: {:.2f}\n",
             P50Us("host_call/vmbus_rings") / hop_us);
  fmt::print("host call through the socket: {:.2f} echoes, in the process: {:.2f}\n", call_us / P50Us("echo"),
             P50Us("host_call/in_process") / P50Us("echo"));
  const int calls = smoke ? 200 : 10'000;
  const double one = CallsPerSecond(nodes, 1, static_cast<int>(kNodes) * calls);
  const double all = CallsPerSecond(nodes, kNodes, calls);
  fmt::print("{} devices on one host, all on one core: {:.0f} calls per second, one device alone: {:.0f}\n",
             kNodes, all, one);
  return 0;
}
