#include "cuse-dxg/attach/launch.h"

#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>

#include "base/unix_socket.h"
#include "cuse-dxg/attach/private_dev.h"
#include "cuse-dxg/preload/node_protocol.h"
#include "cuse-dxg/preload/protocol.h"

namespace dxg::attach {
namespace {

// What the child says, one message each: the connection, the socket for agents and the control socket, as
// descriptors, or why there is none.
struct Message {
  int32_t error = 0;  // 0 or a positive errno
  char why[1200] = {};
};

constexpr std::byte kGo{'g'};

// The ones that a user or a supervisor sends to end, or to tell something to, the program.
constexpr int kPassedOn[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT};

sigset_t HandledSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  for (int signal : kPassedOn) sigaddset(&set, signal);
  return set;
}

void Send(int socket, const Message& message, const std::vector<int>& descriptors) {
  if (!SendDatagram(socket, std::as_bytes(std::span(&message, 1)), descriptors).ok())
    _exit(1);  // the parent is gone: nobody to tell
}

Message ToMessage(const Status& status) {
  Message message = {.error = std::max(1, -status.value())};
  status.why().copy(message.why, sizeof(message.why) - 1);
  return message;
}

// Until the kernel has asked us for the node's attributes, it takes its owner to be user 0, who does not
// exist in a user namespace of one user; and what belongs to nobody there cannot be opened for writing.
void LearnOwner() {
  struct stat attributes;
  (void)stat("/dev/dxg", &attributes);
}

// Where the preload agents of the program, and of what it starts, find the daemon: in the private /dev,
// whatever other namespaces they are in.
Result<UniqueFd> ListenForAgents() {
  return ListenUnix(preload::kSocketPath, "--preload",
                    {.who = "daemon", .type = SOCK_SEQPACKET, .waiting_max = SOMAXCONN, .mode = 0666});
}

void LoadInto(const std::string& library, const char* variable, const std::string& place) {
  const char* others = getenv("LD_PRELOAD");
  setenv("LD_PRELOAD", (others && *others ? library + ":" + others : library).c_str(), 1);
  setenv(variable, place.c_str(), 1);
}

// The folder is in WSL's ld.so.conf. Here no cache can be written, so that is said in the environment.
Status ShowWslFiles(const Launch::Extras& extras, bool in_chroot) {
  if (extras.wsl_files.empty()) return Status::Ok();
  if (Status status = ShowFiles(kWslDirectory, extras.wsl_files, in_chroot); !status.ok()) {
    if (extras.needs_wsl_files) return status;
    spdlog::warn("the program has no {}: {}", kWslDirectory, status.why());
    return Status::Ok();
  }
  const std::string libraries = std::string(kWslDirectory) + "/lib";
  const char* others = getenv("LD_LIBRARY_PATH");
  setenv("LD_LIBRARY_PATH", (others && *others ? libraries + ":" + others : libraries).c_str(), 1);
  return Status::Ok();
}

// Makes the program's /dev and tells the parent.
Status Prepare(int parent, const Launch::Extras& extras) {
  if (!extras.node_library.empty()) {
    LoadInto(extras.node_library, preload::node::kVariable, extras.node_place);
    Send(parent, Message{}, {});
    return Status::Ok();
  }
  DXG_ASSIGN(const PrivateDev dev, EnterPrivateDev());
  DXG_TRY(ShowWslFiles(extras, dev.in_chroot));
  UniqueFd agents, control;
  std::vector<int> all = {dev.fuse.get()};
  if (!extras.preload.empty()) {
    DXG_ASSIGN(agents, ListenForAgents());
    LoadInto(extras.preload, preload::kSocketVariable, preload::kSocketPath);
    all.push_back(agents.get());
  }
  if (extras.control) {
    DXG_ASSIGN(control, ListenUnix(Launch::kControlPath, "--control",
                                   {.who = "daemon", .type = SOCK_SEQPACKET, .waiting_max = SOMAXCONN}));
    all.push_back(control.get());
  }
  Send(parent, Message{}, all);
  return Status::Ok();
}  // our copies are closed here

// The child's whole life before the program.
[[noreturn]] void BecomeProgram(const std::vector<std::string>& command, const Launch::Extras& extras,
                                UniqueFd parent, const sigset_t& signals) {
  if (Status status = Prepare(parent.get(), extras); !status.ok()) {
    Send(parent.get(), ToMessage(status), {});
    _exit(1);
  }
  std::byte go{};
  if (!ReceiveDatagram(parent.get(), std::span(&go, 1)).ok() || go != kGo)
    _exit(1);  // the parent gave up, or was killed
  if (extras.node_library.empty()) LearnOwner();

  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  sigprocmask(SIG_SETMASK, &signals, nullptr);
  execvp(arguments[0], arguments.data());
  Send(parent.get(), ToMessage(Status::Refuse(errno, "cannot run {}: {}", command[0], std::strerror(errno))),
       {});
  _exit(127);
}

}  // namespace

Result<Launch> Launch::Fork(const std::vector<std::string>& command, const Extras& extras) {
  DXG_CHECK(!command.empty());
  DXG_ASSIGN(auto ends, MakeSocketPair());
  UniqueFd ours = std::move(ends.first), theirs = std::move(ends.second);

  const sigset_t handled = HandledSignals();
  sigset_t before;
  sigprocmask(SIG_BLOCK, &handled, &before);
  UniqueFd signals(signalfd(-1, &handled, SFD_CLOEXEC));
  if (!signals.valid()) return Status::Refuse(errno, "no signalfd: {}", std::strerror(errno));

  const pid_t child = fork();
  if (child < 0) return Status::Refuse(errno, "cannot fork: {}", std::strerror(errno));
  if (child == 0) {
    ours.reset();
    BecomeProgram(command, extras, std::move(theirs), before);
  }
  return Launch(child, std::move(ours), std::move(signals), before, extras);
}

Launch::~Launch() {
  if (!to_child_.valid()) return;  // it went, or we were moved from
  to_child_.reset();
  waitpid(child_, nullptr, 0);
  sigprocmask(SIG_SETMASK, &before_, nullptr);
}

Result<UniqueFd> Launch::Connection() {
  Message message;
  Result<Datagram> got = ReceiveDatagram(to_child_.get(), std::as_writable_bytes(std::span(&message, 1)));
  if (!got.ok() || got->bytes != sizeof(message))
    return Status::Refuse(ECHILD, "the process that was to become the program ended while it made its /dev");
  if (message.error) return Status::Refuse(message.error, "{}", message.why);
  if (!has_connection_) return UniqueFd();
  if (got->files.empty())
    return Status::Refuse(EMFILE,
                          "the connection to the program's node did not arrive (too many open files?)");
  std::vector<UniqueFd>& files = got->files;
  files.resize(3);
  if (has_agents_) agents_ = std::move(files[1]);
  control_ = std::move(files[has_agents_ ? 2 : 1]);
  return std::move(files[0]);
}

Status Launch::Go() {
  UniqueFd to_child = std::move(to_child_);
  if (!SendDatagram(to_child.get(), std::span(&kGo, 1)).ok())
    return Status::Refuse(ECHILD, "the process that was to become the program has ended");
  Message message;
  if (!ReceiveDatagram(to_child.get(), std::as_writable_bytes(std::span(&message, 1))).ok())
    return Status::Ok();  // closed by the exec
  waitpid(child_, nullptr, 0);
  return Status::Refuse(message.error, "{}", message.why);
}

int Launch::Wait() {
  for (;;) {
    int status = 0;
    const pid_t ended = waitpid(child_, &status, WNOHANG);
    if (ended == child_) return status;
    DXG_CHECK(ended == 0);
    HandleSignal();
  }
}

void Launch::HandleSignal() {
  signalfd_siginfo signal;
  if (read(signals_.get(), &signal, sizeof(signal)) != sizeof(signal)) return;
  if (signal.ssi_signo == SIGCHLD) return;
  // A key on the terminal signals the whole process group, the program included.
  if (signal.ssi_code == SI_KERNEL) return;
  kill(child_, static_cast<int>(signal.ssi_signo));
}

void ExitLike(int wait_status) {
  if (WIFEXITED(wait_status)) std::exit(WEXITSTATUS(wait_status));
  const int deadly = WTERMSIG(wait_status);
  const rlimit no_core = {0, 0};  // the program's core is the one of interest
  setrlimit(RLIMIT_CORE, &no_core);
  signal(deadly, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, deadly);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  raise(deadly);
  std::exit(128 + deadly);
}

}  // namespace dxg::attach
