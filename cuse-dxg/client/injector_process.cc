#include "cuse-dxg/client/injector_process.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "base/confinement/capabilities.h"
#include "base/mutex.h"
#include "base/start_thread.h"
#include "base/unix_socket.h"
#include "cuse-dxg/client/event_file.h"
#include "cuse-dxg/client/identify_code.h"
#include "cuse-dxg/client/injector_protocol.h"
#include "cuse-dxg/client/tracee.h"
#include "cuse-dxg/client/visit_steps.h"
#include "cuse-dxg/client/waiting.h"

namespace dxg::client {
namespace {

using injector::Ask;
using injector::NodeIdentity;
using injector::Reply;
using injector::Request;
using injector::Tell;

// Gets a worker out of a wait. Nothing else that it does is harmed by one.
constexpr int kNudge = SIGURG;

bool SendReply(int socket, Reply reply, std::span<const int> files = {}) {
  const size_t text = std::strlen(reply.why.data()) + 1;
  return SendDatagram(socket, std::as_bytes(std::span(&reply, 1)).first(offsetof(Reply, why) + text), files)
      .ok();
}

void SetError(const Status& status, Reply* reply) {
  reply->error = std::max(1, -status.value());
  status.why().copy(reply->why.data(), reply->why.size() - 1);
}

// Looks whether the thread that a worker is busy with is being killed, because then the worker may be stuck:
//
//     a sibling in execve     holds the cred_guard_mutex until every other thread is dead
//     the thread              has SIGKILL, and waits in its ioctl, which cannot be killed, for its answer
//     our PTRACE_SEIZE        waits for the cred_guard_mutex
//
// So the daemon is told, answers the call, and all three go on. The same where a thread was killed and its
// end is not reported: a main thread's comes only when all the others are dead, and that of a thread of a
// process that dumps core only after the dump, which waits for all the others too; one of them may wait in a
// call for what we are to report.
//
// A thread that dies during a visit is reaped, because a sibling's execve waits for that. And a main thread
// whose number is taken over by a sibling's execve is gone without a word: the worker that waits for it is
// nudged.
class Watch {
 public:
  enum class Phase { kSeizing, kWaitingForStop, kIdle, kDoing };

  void Begin(pid_t tid, uint64_t job, int socket) DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    tid_ = tid;
    worker_ = gettid();
    job_ = job;
    socket_ = socket;
    phase_ = Phase::kSeizing;
    given_up_ = false;
    begun_ = std::chrono::steady_clock::now();
  }
  // False: given up meanwhile.
  bool Enter(Phase phase) DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    phase_ = phase;
    return !given_up_;
  }
  // Sends only when not given up: whoever comes first has the word.
  bool Tell(Reply reply) DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    reply.worker = worker_;
    reply.job = job_;
    return !given_up_ && SendReply(socket_, reply);
  }
  // Tells the daemon, where it was given up, that the worker is free again.
  void End() DXG_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    tid_ = 0;
    if (given_up_) SendReply(socket_, {.tell = injector::Tell::kFree, .job = job_});
  }
  // True while there is something to watch.
  bool Look() DXG_EXCLUDES(mutex_) {
    constexpr auto kPatience = std::chrono::milliseconds(5);
    MutexLock lock(mutex_);
    if (tid_ == 0 || given_up_) return false;
    if (std::chrono::steady_clock::now() - begun_ < kPatience || !IsStuck()) return true;
    given_up_ = true;
    SendReply(socket_, {.tell = injector::Tell::kGone, .job = job_});
    return false;
  }

 private:
  bool IsStuck() const DXG_REQUIRES(mutex_) {
    if (phase_ == Phase::kSeizing) return IsBeingKilled(tid_);
    siginfo_t info = {};
    const auto id = static_cast<id_t>(tid_);
    if (waitid(P_PID, id, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) != 0) {
      if (phase_ != Phase::kIdle) syscall(SYS_tgkill, getpid(), worker_, kNudge);
      return false;
    }
    if (!IsBeingKilled(tid_)) return false;
    const bool reaped = waitid(P_PID, id, &info, WEXITED | WNOHANG | __WALL) == 0 && info.si_pid == tid_;
    return !reaped && phase_ != Phase::kIdle;
  }

  Mutex mutex_;                           // also held while sending, which is in order so
  pid_t tid_ DXG_GUARDED_BY(mutex_) = 0;  // 0: nothing to watch
  pid_t worker_ DXG_GUARDED_BY(mutex_) = 0;
  uint64_t job_ DXG_GUARDED_BY(mutex_) = 0;
  int socket_ DXG_GUARDED_BY(mutex_) = -1;
  Phase phase_ DXG_GUARDED_BY(mutex_) = Phase::kSeizing;
  bool given_up_ DXG_GUARDED_BY(mutex_) = false;
  std::chrono::steady_clock::time_point begun_ DXG_GUARDED_BY(mutex_);
};

// A timer that runs only while some worker has something to watch.
class WatchTimer {
 public:
  WatchTimer() : timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {}
  void Arm() {
    if (armed_.exchange(true)) return;
    const itimerspec once = {.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = 20'000'000}};
    timerfd_settime(timer_.get(), 0, &once, nullptr);
  }
  void Expired() {
    uint64_t count;
    (void)!read(timer_.get(), &count, sizeof(count));
    armed_ = false;  // before the look: who begins to watch from here on arms it again
  }
  int fd() const { return timer_.get(); }

 private:
  UniqueFd timer_;
  std::atomic<bool> armed_ = false;
};

// A thread that does one job at a time: all that is done to one client thread is done by it.
class Worker {
 public:
  Worker(UniqueFd socket, WatchTimer& timer) : socket_(std::move(socket)), timer_(timer) {
    if (StartThread(&thread_, [this] { Run(); })) return;
    socket_.reset();  // its end of it sees that there is no worker
    ended_ = true;
  }
  ~Worker() {
    if (thread_.joinable()) thread_.join();
  }
  bool LookAfter() { return watch_.Look(); }
  bool ended() const { return ended_; }

 private:
  void Run();
  std::optional<Request> Next(std::vector<UniqueFd>* files);
  void Visit(const Request& begin);
  Status GetThere(Tracee& tracee, const WaitingThread& thread);
  bool HasReachedUs(const NodeIdentity& node);
  void Do(const Request& request, std::vector<UniqueFd> files, VisitSteps& steps);
  void Identify(const Request& request);
  void Take(const Request& request);
  void Failed(const Status& status);

  UniqueFd socket_;
  WatchTimer& timer_;
  Watch watch_;
  std::optional<Request> early_;  // what came where an answer was awaited
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

void Worker::Run() {
  std::vector<UniqueFd> files;
  while (const std::optional<Request> request = Next(&files)) {
    if (request->ask == Ask::kBegin) Visit(*request);
    if (request->ask == Ask::kIdentify) Identify(*request);
    if (request->ask == Ask::kTake) Take(*request);
  }
  ended_ = true;
}

// None: the daemon is dead.
std::optional<Request> Worker::Next(std::vector<UniqueFd>* files) {
  if (early_) return std::exchange(early_, std::nullopt);
  Request request;
  Result<Datagram> received = ReceiveDatagram(socket_.get(), std::as_writable_bytes(std::span(&request, 1)));
  if (!received.ok()) return std::nullopt;
  *files = std::move(received->files);
  return request;
}

void Worker::Failed(const Status& status) {
  Reply reply = {.tell = Tell::kFailed};
  SetError(status, &reply);
  watch_.Tell(reply);
  watch_.End();
}

Status HasLeft(const WaitingThread& thread) {
  return Status::Refuse(EINTR, "thread {} has left its call, or another one has its number", thread.at.tid);
}

void Worker::Visit(const Request& begin) {
  const WaitingThread& thread = begin.thread;
  watch_.Begin(thread.at.tid, begin.job, socket_.get());
  timer_.Arm();
  // Before it is seized, so that a stranger who has its number now is not disturbed.
  if (!MayWait(thread)) return Failed(HasLeft(thread));
  // Here too, because what is refused now is refused before the call has an answer.
  if (IsOf32BitProgram(thread)) return Failed(Is32Bit(thread.at.tid));
  Result<Tracee> seized = Tracee::Seize(thread.at.tid, thread.tgid, begin.family);
  watch_.Enter(Watch::Phase::kWaitingForStop);
  if (!seized.ok()) return Failed(seized.status());

  Tracee& tracee = *seized;
  if (Status status = GetThere(tracee, thread); !status.ok()) {
    tracee.Leave(status.value());  // before it is told, so that the error is out when the daemon says so
    return Failed(status);
  }
  VisitSteps steps(tracee, thread.tgid, [this](const NodeIdentity& node) { return HasReachedUs(node); });
  while (watch_.Enter(Watch::Phase::kIdle)) {
    std::vector<UniqueFd> files;
    const std::optional<Request> request = Next(&files);
    watch_.Enter(Watch::Phase::kDoing);
    if (!request || request->ask == Ask::kLeave) {
      tracee.Leave(request ? request->result : -ECONNABORTED);
      break;
    }
    if (request->ask == Ask::kDo) Do(*request, std::move(files), steps);
  }
  watch_.End();
}

// From the wait in the kernel to where calls can be made.
Status Worker::GetThere(Tracee& tracee, const WaitingThread& thread) {
  // From here on its number is its own: a thread that dies while it is traced keeps it until we take note.
  if (!MayWait(thread)) return HasLeft(thread);
  DXG_TRY(tracee.Interrupt());
  if (!watch_.Tell({.tell = Tell::kHeld}))
    return Status::Refuse(EINTR, "thread {} is being killed", tracee.tid());
  DXG_TRY(tracee.WaitStop());
  DXG_TRY(tracee.Take(thread.at));
  if (!watch_.Tell({.tell = Tell::kStopped})) return Status::Refuse(ECONNABORTED, "the daemon is gone");
  return Status::Ok();
}

// The open was answered by whoever serves that file. Where that is the daemon, it knows this thread by it.
bool Worker::HasReachedUs(const NodeIdentity& node) {
  std::vector<UniqueFd> none;
  if (!watch_.Tell({.tell = Tell::kOpened, .node = node})) return false;
  const std::optional<Request> answer = Next(&none);
  if (answer && answer->ask == Ask::kGive) return answer->result == 0;
  early_ = answer;  // the call was given up before: it is to be left
  return false;
}

void Worker::Do(const Request& request, std::vector<UniqueFd> files, VisitSteps& steps) {
  Reply reply = {.tell = Tell::kDid};
  const size_t count = std::min<size_t>(request.steps_count, request.steps.size());
  Result<std::vector<uint64_t>> results = steps.Do(std::span(request.steps).first(count), std::move(files));
  if (results.ok()) {
    std::copy(results->begin(), results->end(), reply.results.begin());
    reply.results_count = static_cast<uint32_t>(results->size());
  } else {
    SetError(results.status(), &reply);
  }
  watch_.Tell(reply);
}

// The ioctl reaches the daemon on the very file that the client's number means, and says so there.
void Worker::Identify(const Request& request) {
  Result<UniqueFd> copy = CopyOf(request.thread.at.tid, request.thread.tgid, request.number);
  if (copy.ok() && IsAsleepInCall(request.thread)) {
    Result<NodeIdentity> identity = IdentityOf(copy->get());
    const bool ours = identity.ok() &&
                      std::find(request.nodes.begin(), request.nodes.end(), *identity) != request.nodes.end();
    if (ours) (void)ioctl(copy->get(), kIdentifyCode, request.job);
  }
  copy = UniqueFd();  // our copy is closed before the answer: the client's close is the last one
  SendReply(socket_.get(), {.tell = Tell::kIdentified, .job = request.job});
}

// Nothing but an eventfd goes to the daemon: to close any other file may take as long as somebody likes.
void Worker::Take(const Request& request) {
  Result<UniqueFd> copy = CopyOf(request.thread.at.tid, request.thread.tgid, request.number);
  // Asked after the copy was made: until then the table was that of the thread's own program.
  if (copy.ok() && !IsAsleepInCall(request.thread))
    copy = Status::Refuse(EINTR, "the caller has left its call");
  if (copy.ok() && KindOf(fmt::format("/proc/self/fd/{}", copy->get())) != FileKind::kEventFile)
    copy = NoEventFile(request.number);
  Reply reply = {.tell = Tell::kTaken, .job = request.job};
  if (!copy.ok()) SetError(WhyNotTaken(copy.status()), &reply);
  const int file = copy.ok() ? copy->get() : -1;
  SendReply(socket_.get(), reply, std::span(&file, copy.ok() ? 1 : 0));
}

// What is not needed goes: rights, descriptors, the terminal, the way to more rights. Not seccomp: a process
// under a filter may not suspend another's.
void DropRights() {
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  prctl(PR_SET_NAME, "cuse-dxg-inject", 0, 0, 0);
  if (const Status kept = confinement::KeepCapabilities(InjectorCapabilities()); !kept.ok())
    std::fprintf(stderr, "cuse-dxg inject: %s\n", kept.why().c_str());
}

void LetGoOfEverything() {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  dup2(null, STDIN_FILENO);
  dup2(null, STDOUT_FILENO);
  syscall(SYS_close_range, injector::kControlDescriptor + 1, ~0u, 0);
  fcntl(injector::kControlDescriptor, F_SETFD, FD_CLOEXEC);
  if (chdir("/") != 0) std::perror("cuse-dxg inject: chdir /");
  setsid();  // it may lead its group already; then the terminal's keys are ignored below
  for (int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGPIPE}) std::signal(signal, SIG_IGN);
  std::signal(SIGCHLD, SIG_DFL);  // children of ours are waited for
  struct sigaction nudge = {};
  nudge.sa_handler = [](int) {};  // and no SA_RESTART
  sigaction(kNudge, &nudge, nullptr);
}

}  // namespace

bool IsInjectorCommand(int argc, char** argv) { return argc == 2 && std::string_view(argv[1]) == "inject"; }

// To trace any user's client, to put its seccomp filter aside, and to see in /proc in which call it is.
confinement::Capabilities InjectorCapabilities() {
  using confinement::Only;
  return Only(CAP_SYS_PTRACE) | Only(CAP_SYS_ADMIN) | Only(CAP_DAC_READ_SEARCH);
}

int RunInjector() {
  LetGoOfEverything();
  DropRights();
  Tracee::LearnRights();  // before there are threads
  const int control = injector::kControlDescriptor;
  if (!SendReply(control, {.tell = Tell::kHello})) {
    std::fprintf(stderr, "cuse-dxg: inject is started by cuse-dxg itself, not by hand\n");
    return 2;
  }
  WatchTimer timer;
  std::list<Worker> workers;
  pollfd events[] = {{timer.fd(), POLLIN, 0}, {control, POLLIN, 0}};
  bool daemon_lives = true;
  // The daemon dead, the kernel ends the calls that still wait, and the workers see the end of their sockets.
  while (daemon_lives ||
         !std::all_of(workers.begin(), workers.end(), [](Worker& worker) { return worker.ended(); })) {
    if (!daemon_lives) timer.Arm();
    if (poll(events, daemon_lives ? 2 : 1, -1) < 0) continue;
    if (events[0].revents) {
      timer.Expired();
      bool watching = false;
      for (Worker& worker : workers) watching |= worker.LookAfter();
      if (watching) timer.Arm();
    }
    if (!daemon_lives || !events[1].revents) continue;
    std::byte message[sizeof(Request)];
    Result<Datagram> received = ReceiveDatagram(control, message);
    daemon_lives = received.ok();
    if (!received.ok()) continue;
    workers.remove_if([](Worker& worker) { return worker.ended(); });  // which had no thread
    for (UniqueFd& socket : received->files) workers.emplace_back(std::move(socket), timer);
  }
  return 0;
}

}  // namespace dxg::client
