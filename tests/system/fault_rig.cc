#include "tests/system/fault_rig.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "tests/system/fault_board.h"

namespace dxg::faults {
namespace {

namespace fs = std::filesystem;

constexpr int kReadyMs = 20'000;
constexpr int kReadyFd = 9;
constexpr int64_t kEndNs = 20'000 * kNsPerMs;

[[noreturn]] void RunProgram(const std::string& log, int ready, std::vector<std::string> arguments,
                             pid_t parent) {
  // Nobody is left who would end us.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(126);
  Rig::UnblockSignals();
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  dup2(out, STDOUT_FILENO);
  dup2(out, STDERR_FILENO);
  // It may have that number already, and dup2 would leave it close-on-exec.
  if (dup2(ready, kReadyFd) == ready) fcntl(kReadyFd, F_SETFD, 0);
  std::vector<char*> argv;
  for (std::string& each : arguments) argv.push_back(each.data());
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(127);
}

bool IsServedSocket(int socket, pid_t peer) {
  int listens = 0;
  socklen_t size = sizeof(listens);
  if (getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens != 0) return false;
  ucred who = {};
  size = sizeof(who);
  return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.pid == peer;
}

}  // namespace

namespace {

size_t EntriesOf(const std::string& directory) {
  size_t entries = 0;
  std::error_code error;
  for (fs::directory_iterator each(directory, error), end; !error && each != end; each.increment(error))
    ++entries;
  return entries;
}

}  // namespace

// A device's helper process has as many threads as there was ever something to do at once, and each a pair of
// sockets.
Holdings HoldingsOf(pid_t pid) {
  Holdings holdings;
  holdings.descriptors = EntriesOf(fmt::format("/proc/{}/fd", pid));
  for (const pid_t child : ChildrenOf(pid)) {
    holdings.descriptors += EntriesOf(fmt::format("/proc/{}/fd", child));
    holdings.descriptors -= 2 * EntriesOf(fmt::format("/proc/{}/task", child));
  }
  std::ifstream maps(fmt::format("/proc/{}/maps", pid));
  for (std::string line; std::getline(maps, line);)
    holdings.memory_files += line.find("/memfd:") != std::string::npos;
  return holdings;
}

std::string ToString(const Holdings& holdings) {
  return fmt::format("{} descriptors and {} mappings of memory files", holdings.descriptors,
                     holdings.memory_files);
}

size_t AnonymousKiB(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:"))
      return std::strtoul(line.c_str() + std::strlen("RssAnon:"), nullptr, 10);
  }
  return 0;
}

std::set<pid_t> ChildrenOf(pid_t pid) {
  std::set<pid_t> children;
  std::error_code error;
  for (fs::directory_iterator each(fmt::format("/proc/{}/task", pid), error), end; !error && each != end;
       each.increment(error)) {
    std::ifstream list(each->path() / "children");
    for (pid_t child; list >> child;) children.insert(child);
  }
  return children;
}

// Orphans of killed processes come to us, so that it is seen whether they end.
Rig::Rig(std::string bin, std::string backend) : bin_(std::move(bin)), backend_(std::move(backend)) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  sigset_t ours;
  sigemptyset(&ours);
  for (const int each : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&ours, each);
  sigprocmask(SIG_BLOCK, &ours, nullptr);
  signals_ = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals_ < 0) throw std::runtime_error("signalfd");
  char dir[] = "/tmp/dxg-faults-XXXXXX";
  if (mkdtemp(dir) == nullptr || chmod(dir, 0755) != 0) throw std::runtime_error("mkdtemp");
  dir_ = dir;
  node_ = dir_ + "/dxg";
  socket_ = dir_ + "/host";
}

// The device's end ends all that clients wait for, so that clients can die.
Rig::~Rig() {
  for (const pid_t pid : ours_) {
    kill(pid, SIGKILL);
    kill(pid, SIGCONT);
  }
  Until(NowNs() + kEndNs, [&] {
    Reap();
    return ours_.empty();
  });
  close(signals_);
  Unmount();
  std::error_code error;
  fs::remove_all(dir_, error);
}

pid_t Rig::Start(const std::string& name, const std::vector<std::string>& arguments) {
  int ready[2];
  if (pipe2(ready, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) RunProgram(fmt::format("{}/{}.log", dir_, name), ready[1], arguments, parent);
  close(ready[1]);
  if (pid > 0) ours_.insert(pid);
  pollfd polled = {ready[0], POLLIN, 0};
  char byte = 0;
  const bool there = pid > 0 && poll(&polled, 1, kReadyMs) == 1 && read(ready[0], &byte, 1) == 1;
  close(ready[0]);
  if (!there) throw std::runtime_error(fmt::format("{} does not get ready", name));
  return pid;
}

void Rig::StartHost() {
  const std::string where =
      backend_ == "unix" ? "--listen=" + socket_ : fmt::format("--serve={}:{}", backend_, socket_);
  host_ = Start("hostsim", {bin_ + "/dxg-hostsim", where, "--log-level", "info", "--ready-fd",
                            std::to_string(kReadyFd)});
}

void Rig::StartDevice() {
  device_ = Start("cuse-dxg", {bin_ + "/cuse-dxg", "serve", "--attach=fuse", "--device", node_,
                               fmt::format("--backend={}:{}", backend_, socket_), "--log-level", "info",
                               "--ready-fd", std::to_string(kReadyFd)});
}

void Rig::UnblockSignals() {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

void Rig::TakeSignals() {
  signalfd_siginfo signal;
  while (read(signals_, &signal, sizeof(signal)) == sizeof(signal))
    asked_to_end_ |= signal.ssi_signo != SIGCHLD;
}

bool Rig::Until(int64_t deadline_ns, const std::function<bool()>& condition, int told, int64_t look_ns) {
  for (;;) {
    TakeSignals();
    uint64_t count = 0;
    if (told >= 0) (void)!read(told, &count, sizeof(count));
    if (condition()) return true;  // after the events were taken: what comes from here on wakes us
    const int64_t now_ns = NowNs();
    if (now_ns > deadline_ns) return false;
    const int64_t wait_ns = (look_ns > now_ns ? std::min(look_ns, deadline_ns) : deadline_ns) - now_ns;
    const timespec timeout = ToTimespec(wait_ns);
    pollfd events[] = {{signals_, POLLIN, 0}, {told, POLLIN, 0}};  // -1 is passed over
    ppoll(events, std::size(events), &timeout, nullptr);
  }
}

void Rig::Reap() {
  int status = 0;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    ended_[pid] = status;
    ours_.erase(pid);
  }
}

bool Rig::HasEnded(pid_t pid, int* status) {
  Reap();
  const auto found = ended_.find(pid);
  if (found == ended_.end()) return false;
  if (status != nullptr) *status = found->second;
  return true;
}

void Rig::Kill(pid_t pid) {
  kill(pid, SIGKILL);
  if (!Until(NowNs() + kEndNs, [&] { return HasEnded(pid); }))
    throw std::runtime_error(fmt::format("process {} cannot be killed", pid));
}

int Rig::Terminate(pid_t pid, int64_t patience_ns) {
  kill(pid, SIGTERM);
  int status = 0;
  if (!Until(NowNs() + patience_ns, [&] { return HasEnded(pid, &status); }))
    throw std::runtime_error(fmt::format("process {} does not end on SIGTERM", pid));
  return status;
}

// The host's end of it, which we borrow: nobody has to stand in between for that.
void Rig::CutConnection() {
  const int host = static_cast<int>(syscall(SYS_pidfd_open, host_, 0));
  if (host < 0) throw std::runtime_error("pidfd_open");
  std::error_code error;
  bool cut = false;
  for (fs::directory_iterator each(fmt::format("/proc/{}/fd", host_), error), end; !error && each != end;
       each.increment(error)) {
    const int borrowed =
        static_cast<int>(syscall(SYS_pidfd_getfd, host, std::atoi(each->path().filename().c_str()), 0));
    if (borrowed < 0) continue;
    if (IsServedSocket(borrowed, device_)) cut = shutdown(borrowed, SHUT_RDWR) == 0 || cut;
    close(borrowed);
  }
  close(host);
  if (!cut) throw std::runtime_error("the host has no connection to the device");
}

void Rig::RemoveSocketFile() { unlink(socket_.c_str()); }
bool Rig::HasSocketFile() const { return fs::exists(socket_); }

int Rig::Unmount() {
  int unmounted = 0;
  while (umount2(node_.c_str(), MNT_DETACH) == 0) ++unmounted;
  return unmounted;
}

std::string Rig::Logs() const {
  constexpr size_t kLast = 3000;
  std::string logs;
  for (const char* name : {"hostsim", "cuse-dxg"}) {
    std::ifstream file(fmt::format("{}/{}.log", dir_, name));
    std::stringstream text;
    text << file.rdbuf();
    const std::string all = text.str();
    logs += fmt::format("-- {}, the last of its log --\n{}", name,
                        all.size() > kLast ? all.substr(all.size() - kLast) : all);
  }
  return logs;
}

}  // namespace dxg::faults
