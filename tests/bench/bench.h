#pragma once

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/bench/measure.h"

// Common parts of the benchmarks: a pinned core, servers of a FUSE file, hosts.

namespace dxg::bench {

[[noreturn]] void Fail(const std::string& what);
void PinToOneCore();

// A child process that serves a file, ended and reaped with this object.
class Server {
 public:
  // `serve` runs in the child with the file's path and a descriptor for its ready byte.
  Server(const std::string& name, const std::function<int(const std::string& path, int ready)>& serve);
  ~Server();
  Server(const Server&) = delete;

  // cuse-dxg serve, of the same build.
  static Server Daemon(const std::vector<std::string>& options = {});
  // A bare echo of the fixed struct, which costs one FUSE round trip; and the same with a bare round trip to
  // a second process.
  static Server Echo();
  static Server EchoOfThreads(int threads);
  static Server EchoWithHop();
  static Server EchoWithThread();  // another thread takes the answer of the second process

  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  uint64_t started_ns() const { return started_ns_; }
  uint64_t ResidentKib() const;

 private:
  std::string path_;
  pid_t pid_ = 0;
  int fd_ = -1;
  uint64_t started_ns_ = 0;
};

// In a child: becomes a program of the same build.
[[noreturn]] void Execute(std::vector<std::string> command);

// What a program of the same build prints, until it ends.
std::string OutputOf(std::vector<std::string> command);

// dxg-hostsim, of the same build, for the daemons whose option is option().
class HostProcess {
 public:
  enum class Way { kSocket, kVmbus };
  explicit HostProcess(Way way = Way::kSocket);
  ~HostProcess();
  HostProcess(const HostProcess&) = delete;
  std::string option() const {
    return (way_ == Way::kSocket ? "--backend=unix:" : "--backend=vmbus:") + path_;
  }
  uint64_t ResidentKib() const;

 private:
  const Way way_;
  std::string path_;
  pid_t pid_ = 0;
};

// One ioctl, with a fresh copy of its struct each time.
template <typename Args>
std::function<int()> Ioctl(int fd, unsigned long code, Args args) {
  return [=] {
    Args copy = args;
    return ioctl(fd, code, &copy);
  };
}

// Where a program of the same build is.
std::string ProgramPath(const std::string& name);

}  // namespace dxg::bench
