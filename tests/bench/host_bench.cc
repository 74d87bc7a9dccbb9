// dxg-bench host: what a host in another process costs (dxg-hostsim behind --backend=unix and
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
#include "tests/bench/subcommands.h"

namespace dxg::bench {
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

void MeasureHost(Run& run) {
  PinToOneCore();
  const Server echo = Server::Echo(), hop = Server::EchoWithHop(), thread = Server::EchoWithThread();
  const HostProcess host, bus_host(HostProcess::Way::kVmbus);
  constexpr size_t kNodes = 8;
  std::vector<std::unique_ptr<Server>> nodes;
  for (size_t i = 0; i < kNodes; ++i) nodes.emplace_back(new Server(Server::Daemon({host.option()})));
  const Server in_process = Server::Daemon(), vmbus = Server::Daemon({bus_host.option()});
  const auto query = [](const Server& node) {
    return Ioctl(node.fd(), LX_DXQUERYVIDEOMEMORYINFO, QueryOf(node.fd()));
  };
  const auto bare = [](const Server& server) {
    return Ioctl(server.fd(), LX_DXQUERYVIDEOMEMORYINFO, d3dkmt_queryvideomemoryinfo{});
  };
  Works works(run);
  works.Add("echo", bare(echo));
  works.Add("hop", bare(hop));
  works.Add("thread", bare(thread));
  works.Add("in process", query(in_process));
  works.Add("socket", query(*nodes[0]));
  works.Add("vmbus", query(vmbus));
  run.Settle({{"host call through the socket / echo with one bare hop", Limit::kAtMost, 1.3},
              {"host call through the socket / hop whose answer a thread takes"},
              {"host call through VMBus rings / echo with one bare hop", Limit::kAtMost, 1.3},
              {"host call through the socket / bare echo"},
              {"host call in the process / bare echo"},
              {"echo with one bare hop / bare echo"},
              {"bare echo", Limit::kNone, 0, "us"}},
             [&]() -> std::vector<double> {
               works.Round();
               const double echo_us = works.us("echo"), hop_us = works.us("hop");
               const double socket_us = works.us("socket");
               return {socket_us / hop_us,
                       socket_us / works.us("thread"),
                       works.us("vmbus") / hop_us,
                       socket_us / echo_us,
                       works.us("in process") / echo_us,
                       hop_us / echo_us,
                       echo_us};
             });
  const int calls = run.smoke() ? 200 : 1000;
  run.Settle({{fmt::format("calls of {} nodes on one host at once / of one alone, on one core", kNodes)}},
             [&] {
               const double one = CallsPerSecond(nodes, 1, static_cast<int>(kNodes) * calls);
               return std::vector<double>{CallsPerSecond(nodes, kNodes, calls) / one};
             });
}

}  // namespace dxg::bench
