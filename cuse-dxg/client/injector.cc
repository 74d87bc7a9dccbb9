#include "cuse-dxg/client/injector.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <deque>
#include <map>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/start_thread.h"
#include "base/unix_socket.h"
#include "cuse-dxg/client/identify_code.h"
#include "cuse-dxg/client/injector_jobs.h"
#include "cuse-dxg/client/injector_protocol.h"
#include "cuse-dxg/client/visit_steps.h"

namespace dxg::client {
namespace {

using injector::Ask;
using injector::NodeIdentity;
using injector::Reply;
using injector::Request;
using injector::Tell;

constexpr uint64_t kControlNumber = 0, kStopNumber = 1;  // for epoll; workers have higher ones
// 16 users at their limit, each with as many visits and copies as it may have (hand_over.cc).
constexpr size_t kWorkersMax = 512;
constexpr size_t kJobsWaitingMax = 4096;  // beyond the workers; each is a client thread that waits in a call

struct Worker {
  UniqueFd socket;
  pid_t tid = 0;             // known from its first message on
  std::shared_ptr<Job> job;  // null: idle, or given up
  bool given_up = false;     // until kFree
};

// One life of the injector process.
struct InjectorProcess {
  pid_t pid = 0;
  UniqueFd control;
  std::map<uint64_t, std::shared_ptr<Worker>> workers;  // by the number that epoll knows
};

// The pid, or -errno.
pid_t Spawn(const InjectorOptions& options, const UniqueFd& control) {
  if (options.start) return options.start(control);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, control.get(), injector::kControlDescriptor);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::vector<char*> arguments;
  for (const std::string& argument : options.command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, arguments[0], &files, &attributes, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  return error ? -error : pid;
}

Status StartProcess(const InjectorOptions& options, InjectorProcess* process) {
  DXG_ASSIGN(auto ends, MakeSocketPair());
  const pid_t pid = Spawn(options, ends.second);
  if (pid < 0)
    return Status::Refuse(EIO, "cannot start the injector ({}): {}", options.command[0], std::strerror(-pid));
  process->pid = pid;
  process->control = std::move(ends.first);
  return Status::Ok();
}

// It has ended, or ends now: with its sockets' end it leaves the threads that it holds. Not for ever: a
// thread may wait for an answer that only comes when we are gone.
void Reap(pid_t pid) {
  if (pid == 0) return;
  UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  pollfd ended = {process.get(), POLLIN, 0};
  constexpr int kPatience_ms = 2000;
  if (process.valid() && poll(&ended, 1, kPatience_ms) == 0) return;
  waitpid(pid, nullptr, 0);
}

class InjectorState final : public VisitServer, public std::enable_shared_from_this<InjectorState> {
 public:
  explicit InjectorState(const InjectorOptions& options) : options_(options) {}

  Status Start() DXG_EXCLUDES(mutex_);
  void Stop() DXG_EXCLUDES(mutex_);

  void Enter(const Waiting& at, const Identity& process, std::function<void()> answer,
             Delivery::Entered entered) DXG_EXCLUDES(mutex_);
  uint64_t TokenOfOpener(pid_t tid) DXG_EXCLUDES(mutex_);
  void Identify(const Waiting& at, const Identity& process, int descriptor,
                std::function<void(uint64_t)> done) DXG_EXCLUDES(mutex_);
  bool IsIdentifyCall(pid_t tid, uint32_t code, uint64_t argument, uint64_t file) DXG_EXCLUDES(mutex_);
  void TakeEventFile(const Waiting& at, const Identity& process, int descriptor, Delivery::TookEventFile done)
      DXG_EXCLUDES(mutex_);

  void LearnNode(const Waiting& at, const Identity& process, int descriptor, std::function<void()> done)
      DXG_EXCLUDES(mutex_);
  bool IsOfAnother(pid_t tid, int descriptor) DXG_EXCLUDES(mutex_);

  // VisitServer
  void Do(uint64_t job, std::vector<Step> steps, Visit::Done done) override DXG_EXCLUDES(mutex_);
  void Leave(uint64_t job, int32_t result) override DXG_EXCLUDES(mutex_);

 private:
  Status EnsureProcess() DXG_REQUIRES(mutex_);
  // Null: the injector does not take one more now.
  Result<std::shared_ptr<Worker>> NewWorker() DXG_REQUIRES(mutex_);
  // One that has nothing to do, made where there may be one more; null: all are busy.
  Result<std::shared_ptr<Worker>> IdleWorker() DXG_REQUIRES(mutex_);
  // Gives the job to a worker, or fails it.
  void Begin(std::shared_ptr<Job> job) DXG_EXCLUDES(mutex_);
  Status Assign(std::shared_ptr<Job> job) DXG_REQUIRES(mutex_);
  void Give(Worker& worker, std::shared_ptr<Job> job) DXG_REQUIRES(mutex_);
  void Finish(Worker& worker, Callbacks* callbacks) DXG_REQUIRES(mutex_);
  void AssignWaiting(Callbacks* callbacks) DXG_REQUIRES(mutex_);
  std::shared_ptr<Worker> WorkerOf(uint64_t job) DXG_REQUIRES(mutex_);

  void Read() DXG_EXCLUDES(mutex_);
  void ReadControl() DXG_EXCLUDES(mutex_);
  void ReadWorker(uint64_t number) DXG_EXCLUDES(mutex_);
  void HandleReply(Worker& worker, const Reply& reply, std::vector<UniqueFd> files, Callbacks* callbacks)
      DXG_REQUIRES(mutex_);
  void Learn(const NodeIdentity& node) DXG_REQUIRES(mutex_);
  bool Knows(const NodeIdentity& node) DXG_EXCLUDES(mutex_);
  void LearnReached(const NodeIdentity& node) DXG_EXCLUDES(mutex_);
  bool ProcessHasEnded() const DXG_REQUIRES(mutex_);
  void WorkerEnded(uint64_t number, Callbacks* callbacks) DXG_REQUIRES(mutex_);
  void ProcessEnded() DXG_EXCLUDES(mutex_);

  const InjectorOptions options_;
  const std::shared_ptr<EventFiles> event_files_ = std::make_shared<EventFiles>();
  UniqueFd epoll_;
  UniqueFd stop_;
  std::thread reader_;
  std::atomic<pid_t> injector_pid_ = 0;

  Mutex mutex_;  // held while sending, never while a callback runs
  bool stopping_ DXG_GUARDED_BY(mutex_) = false;
  InjectorProcess process_ DXG_GUARDED_BY(mutex_);
  // Of jobs, and of workers in epoll, where 0 is the control socket and 1 is stop_.
  uint64_t last_number_ DXG_GUARDED_BY(mutex_) = kStopNumber;
  std::deque<std::shared_ptr<Job>> waiting_ DXG_GUARDED_BY(mutex_);  // for a worker
  std::vector<NodeIdentity> nodes_ DXG_GUARDED_BY(mutex_);
};

Status InjectorState::Start() {
  epoll_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  stop_ = UniqueFd(eventfd(0, EFD_CLOEXEC));
  epoll_event event = {.events = EPOLLIN, .data = {.u64 = kStopNumber}};
  if (!epoll_.valid() || !stop_.valid() || epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stop_.get(), &event) != 0)
    return Status::Refuse(errno, "no epoll for the injector: {}", std::strerror(errno));
  {
    MutexLock lock(mutex_);
    DXG_TRY(EnsureProcess());
    // Only the first time: a program that cannot be an injector should be known before it is needed.
    Reply hello;
    Result<Datagram> received =
        ReceiveDatagram(process_.control.get(), std::as_writable_bytes(std::span(&hello, 1)));
    if (!received.ok() || hello.tell != Tell::kHello) {
      process_.control.reset();
      waitpid(process_.pid, nullptr, 0);
      return Status::Refuse(EIO, "{} {} ended instead of serving", options_.command[0], options_.command[1]);
    }
  }
  if (!StartThread(&reader_, [this] { Read(); }))
    return Status::Refuse(EAGAIN,
                          "no thread can be had to hear the injector (ulimit -u, or the machine's limit)");
  return Status::Ok();
}

void InjectorState::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  const uint64_t one = 1;
  (void)!write(stop_.get(), &one, sizeof(one));
  if (reader_.joinable()) reader_.join();
}

Status InjectorState::EnsureProcess() {
  if (stopping_) return Status::Refuse(EIO, "cuse-dxg is stopping");
  if (process_.control.valid()) return Status::Ok();
  DXG_TRY(StartProcess(options_, &process_));
  injector_pid_ = process_.pid;
  epoll_event event = {.events = EPOLLIN, .data = {.u64 = kControlNumber}};
  DXG_CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, process_.control.get(), &event) == 0);
  return Status::Ok();
}

Result<std::shared_ptr<Worker>> InjectorState::NewWorker() {
  DXG_ASSIGN(auto ends, MakeSocketPair());
  char byte = 1;
  iovec piece = {&byte, 1};
  const int theirs = ends.second.get();
  const ssize_t told = SendPieces(process_.control.get(), std::span(&piece, 1), std::span(&theirs, 1), false);
  // An injector that does not read is as busy as one whose workers are.
  if (told == -EAGAIN && !process_.workers.empty()) return std::shared_ptr<Worker>();
  if (told < 0) return InjectorEnded();
  auto worker = std::make_shared<Worker>();
  worker->socket = std::move(ends.first);
  const uint64_t number = ++last_number_;
  epoll_event event = {.events = EPOLLIN, .data = {.u64 = number}};
  DXG_CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, worker->socket.get(), &event) == 0);
  process_.workers.emplace(number, worker);
  return worker;
}

Result<std::shared_ptr<Worker>> InjectorState::IdleWorker() {
  for (auto& [number, worker] : process_.workers) {
    if (!worker->job && !worker->given_up) return worker;
  }
  if (process_.workers.size() < kWorkersMax) return NewWorker();
  return std::shared_ptr<Worker>();
}

Status InjectorState::Assign(std::shared_ptr<Job> job) {
  DXG_TRY(EnsureProcess());
  job->begin.job = ++last_number_;
  DXG_ASSIGN(const std::shared_ptr<Worker> worker, IdleWorker());
  if (worker != nullptr) {
    Give(*worker, std::move(job));
    return Status::Ok();
  }
  if (waiting_.size() >= kJobsWaitingMax)
    return Status::Refuse(EIO, "more than {} calls wait for the injector", kJobsWaitingMax);
  waiting_.push_back(std::move(job));
  return Status::Ok();
}

// A failure to send is the end of the worker's socket, which the reader sees too, and fails the job then.
void InjectorState::Give(Worker& worker, std::shared_ptr<Job> job) {
  if (job->begin.nodes.front() == NodeIdentity{})
    std::copy_n(nodes_.begin(), std::min(nodes_.size(), job->begin.nodes.size()), job->begin.nodes.begin());
  (void)SendDatagram(worker.socket.get(), BytesOf(job->begin));
  worker.job = std::move(job);
}

// The job ends with the callbacks, out of the lock: what it still owns may be a Visit.
void InjectorState::Finish(Worker& worker, Callbacks* callbacks) {
  callbacks->push_back([job = std::exchange(worker.job, nullptr)] {});
  AssignWaiting(callbacks);
}

void InjectorState::AssignWaiting(Callbacks* callbacks) {
  while (!waiting_.empty()) {
    Result<std::shared_ptr<Worker>> worker = IdleWorker();
    // Who waits, waits for the end of another one's job; it is refused where there is none.
    if (worker.ok() ? *worker == nullptr : !process_.workers.empty()) return;
    const std::shared_ptr<Job> job = std::move(waiting_.front());
    waiting_.pop_front();
    if (worker.ok()) {
      Give(**worker, job);
    } else {
      job->Fail(worker.status(), callbacks);
      callbacks->push_back([job] {});
    }
  }
}

std::shared_ptr<Worker> InjectorState::WorkerOf(uint64_t job) {
  for (auto& [number, worker] : process_.workers) {
    if (worker->job && worker->job->id() == job) return worker;
  }
  return nullptr;
}

void InjectorState::Begin(std::shared_ptr<Job> job) {
  Callbacks callbacks;
  {
    MutexLock lock(mutex_);
    if (const Status status = Assign(job); !status.ok()) job->Fail(status, &callbacks);
  }
  for (auto& callback : callbacks) callback();
}

void InjectorState::Enter(const Waiting& at, const Identity& process, std::function<void()> answer,
                          Delivery::Entered entered) {
  const auto thread = FindWaiting(at, process);
  if (!thread) return entered(Status::Refuse(EINTR, "thread {} was killed while its call waited", at.tid));
  auto job = std::make_shared<VisitJob>(weak_from_this(), *thread, std::move(answer), std::move(entered));
  job->begin.family = options_.family;
  Begin(std::move(job));
}

uint64_t InjectorState::TokenOfOpener(pid_t tid) {
  MutexLock lock(mutex_);
  for (auto& [number, worker] : process_.workers) {
    if (worker->tid != tid || !worker->job) continue;
    VisitJob* visit = worker->job->AsVisit();
    return visit != nullptr ? visit->TokenOfOpen() : 0;
  }
  return 0;
}

// Whether a descriptor is of another file than our nodes. A copy of that is slow to close where its file
// system wants it so, and would keep the injector busy. The client may race with this, and we may be unable
// to look.
bool InjectorState::IsOfAnother(pid_t tid, int descriptor) {
  const UniqueFd looked(open(fmt::format("/proc/{}/fd/{}", tid, descriptor).c_str(), O_PATH | O_CLOEXEC));
  if (!looked.valid()) return false;
  Result<NodeIdentity> identity = IdentityOf(looked.get());
  MutexLock lock(mutex_);
  return identity.ok() && std::find(nodes_.begin(), nodes_.end(), *identity) == nodes_.end();
}

void InjectorState::Identify(const Waiting& at, const Identity& process, int descriptor,
                             std::function<void(uint64_t)> done) {
  const auto thread = FindWaiting(at, process);
  if (!thread) return done(0);
  if (IsOfAnother(at.tid, descriptor)) return done(0);
  Begin(std::make_shared<IdentifyJob>(*thread, descriptor, std::move(done)));
}

void InjectorState::TakeEventFile(const Waiting& at, const Identity& process, int descriptor,
                                  Delivery::TookEventFile done) {
  if (auto known = event_files_->Find(process, at.tid, descriptor)) return done(std::move(known));
  const auto thread = FindWaiting(at, process);
  if (!thread) return done(Status::Refuse(EINTR, "the caller has left its call"));
  // So that nobody keeps the injector busy with copies of files that are slow to close. The client may race
  // with this, and we may be unable to look.
  if (KindOf(fmt::format("/proc/{}/fd/{}", at.tid, descriptor)) == FileKind::kOther)
    return done(NoEventFile(descriptor));
  Begin(std::make_shared<TakeJob>(
      *thread, descriptor,
      [files = event_files_, process, descriptor, done = std::move(done)](Result<UniqueFd> copy) {
        if (!copy.ok()) return done(std::move(copy).status());
        // What it has no use for is closed before anybody goes on.
        auto file = files->Add(process, descriptor, *std::move(copy));
        done(std::move(file));
      }));
}

// Signal 0 to a thread of the injector: the kernel says whether it is one. It waits in this call, so it
// exists.
bool InjectorState::IsIdentifyCall(pid_t tid, uint32_t code, uint64_t argument, uint64_t file) {
  if (code != kIdentifyCode) return false;
  if (syscall(SYS_tgkill, injector_pid_.load(), tid, 0) != 0) return false;
  MutexLock lock(mutex_);
  if (const auto worker = WorkerOf(argument)) worker->job->IdentifyCallCame(file);
  return true;
}

void InjectorState::Do(uint64_t job, std::vector<Step> steps, Visit::Done done) {
  {
    MutexLock lock(mutex_);
    const auto worker = WorkerOf(job);
    if (VisitJob* visit = worker ? worker->job->AsVisit() : nullptr) {
      visit->BeginDo(std::move(steps), std::move(done));
      if (visit->SendSteps(worker->socket.get())) return;
      done = visit->TakeBack();
    }
  }
  done(Status::Refuse(EIO, "the visit is over: the client's thread or the injector was killed"));
}

void InjectorState::Leave(uint64_t job, int32_t result) {
  Callbacks callbacks;
  MutexLock lock(mutex_);
  const auto worker = WorkerOf(job);
  if (!worker) return;
  (void)SendDatagram(worker->socket.get(), BytesOf({.ask = Ask::kLeave, .result = result}));
  Finish(*worker, &callbacks);  // what it is sent next waits in its socket until it has left
}

void InjectorState::Read() {
  for (;;) {
    epoll_event events[16];
    const int count = epoll_wait(epoll_.get(), events, std::size(events), -1);
    if (count < 0) continue;
    bool stop = false, control = false;
    for (int i = 0; i < count; ++i) {
      const uint64_t number = events[i].data.u64;
      stop |= number == kStopNumber;
      control |= number == kControlNumber;
      if (number > kStopNumber) ReadWorker(number);
    }
    if (stop) return ProcessEnded();
    if (control) ReadControl();  // last: what the workers said before the end was said
  }
}

void InjectorState::ReadControl() {
  {
    MutexLock lock(mutex_);
    Reply reply;
    if (ReceiveDatagram(process_.control.get(), std::as_writable_bytes(std::span(&reply, 1)), false).ok())
      return;
  }
  spdlog::error("the injector process was killed; calls that it was bringing memory to end with EIO");
  ProcessEnded();
}

void InjectorState::ReadWorker(uint64_t number) {
  Callbacks callbacks;
  {
    MutexLock lock(mutex_);
    const auto found = process_.workers.find(number);
    if (found == process_.workers.end()) return;
    const std::shared_ptr<Worker> worker = found->second;
    Reply reply;
    Result<Datagram> received =
        ReceiveDatagram(worker->socket.get(), std::as_writable_bytes(std::span(&reply, 1)), false);
    if (received.ok()) {
      HandleReply(*worker, reply, std::move(received->files), &callbacks);
    } else if (received.status().value() != -EAGAIN) {
      WorkerEnded(number, &callbacks);
    }
  }
  for (auto& callback : callbacks) callback();
}

void InjectorState::HandleReply(Worker& worker, const Reply& reply, std::vector<UniqueFd> files,
                                Callbacks* callbacks) {
  if (reply.worker) worker.tid = reply.worker;
  if (reply.tell == Tell::kFree && worker.given_up) {
    worker.given_up = false;
    return AssignWaiting(callbacks);
  }
  if (!worker.job || worker.job->id() != reply.job) return;  // forgotten meanwhile
  if (reply.tell == Tell::kGone) worker.given_up = true;
  if (reply.tell == Tell::kGone || reply.tell == Tell::kFailed) {
    const Status reason = reply.tell == Tell::kGone
                              ? Status::Refuse(EINTR, "the client's thread is being killed")
                              : Status::Refuse(reply.error, "{}", reply.why.data());
    worker.job->Fail(reason, callbacks);
    return Finish(worker, callbacks);
  }
  if (VisitJob* visit = worker.job->AsVisit(); visit != nullptr && reply.tell == Tell::kOpened) {
    // A client may put another file in its node's place meanwhile; that one's open does not come to us.
    const bool ours = visit->node_was_opened();
    if (ours) Learn(reply.node);
    const injector::Request answer = {.ask = injector::Ask::kGive, .result = ours ? 0 : -EBADF};
    (void)SendDatagram(worker.socket.get(), BytesOf(answer));
    return;
  }
  switch (worker.job->Handle(reply, std::move(files), callbacks)) {
    case Job::Next::kWait:
      return;
    case Job::Next::kSendSteps:
      if (!worker.job->AsVisit()->SendSteps(worker.socket.get()))
        worker.job->Fail(InjectorEnded(), callbacks);
      return;
    case Job::Next::kFinish:
      return Finish(worker, callbacks);
  }
}

void InjectorState::Learn(const NodeIdentity& node) {
  if (std::find(nodes_.begin(), nodes_.end(), node) != nodes_.end()) return;
  if (nodes_.size() == injector::kNodesMax) nodes_.erase(nodes_.begin());
  nodes_.push_back(node);
}

void InjectorState::LearnNode(const Waiting& at, const Identity& process, int descriptor,
                              std::function<void()> done) {
  const UniqueFd file(open(fmt::format("/proc/{}/fd/{}", at.tid, descriptor).c_str(), O_PATH | O_CLOEXEC));
  Result<NodeIdentity> node = IdentityOf(file.get());
  const auto thread = FindWaiting(at, process);
  if (!node.ok() || !thread || Knows(*node)) return done();
  auto job = std::make_shared<IdentifyJob>(
      *thread, descriptor, [weak = weak_from_this(), node = *node, done = std::move(done)](uint64_t reached) {
        if (const auto injector = weak.lock(); injector && reached != 0) injector->LearnReached(node);
        done();
      });
  job->begin.nodes = {*node};
  Begin(std::move(job));
}

bool InjectorState::Knows(const NodeIdentity& node) {
  MutexLock lock(mutex_);
  return std::find(nodes_.begin(), nodes_.end(), node) != nodes_.end();
}

void InjectorState::LearnReached(const NodeIdentity& node) {
  MutexLock lock(mutex_);
  Learn(node);
}

// The kernel closes the sockets of a dead process in the order of their numbers, and the control socket has
// the lowest.
bool InjectorState::ProcessHasEnded() const {
  pollfd control = {process_.control.get(), 0, 0};
  return !process_.control.valid() || (poll(&control, 1, 0) == 1 && (control.revents & POLLHUP) != 0);
}

// The process is there, and has no thread for that worker or no descriptor for its socket; else the control
// socket's end follows, and ends all of them.
void InjectorState::WorkerEnded(uint64_t number, Callbacks* callbacks) {
  const auto found = process_.workers.find(number);
  const std::shared_ptr<Worker> worker = found->second;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, worker->socket.get(), nullptr);
  if (ProcessHasEnded()) return;
  process_.workers.erase(found);
  if (worker->job)
    worker->job->Fail(
        Status::Refuse(EIO,
                       "the injector of cuse-dxg has no thread or descriptor for the visit, or was "
                       "killed; try again, or raise the limits (ulimit -u, ulimit -n)"),
        callbacks);
  Finish(*worker, callbacks);
}

// All jobs of this life end; the next one begins with the next job.
void InjectorState::ProcessEnded() {
  Callbacks callbacks;
  InjectorProcess ended;
  std::deque<std::shared_ptr<Job>> waiting;
  {
    MutexLock lock(mutex_);
    ended = std::exchange(process_, {});
    waiting.swap(waiting_);
    for (auto& [number, worker] : ended.workers) {
      if (worker->job) worker->job->Fail(InjectorEnded(), &callbacks);
    }
    for (auto& job : waiting) job->Fail(InjectorEnded(), &callbacks);
    injector_pid_ = 0;
  }
  ended.control.reset();
  for (auto& [number, worker] : ended.workers) worker->socket.reset();
  // Before the wait: a call that is not answered keeps the injector waiting.
  for (auto& callback : callbacks) callback();
  Reap(ended.pid);
}

// What the caller owns: Visits know the Injector weakly.
class InjectorOwner final : public Injector {
 public:
  explicit InjectorOwner(std::shared_ptr<InjectorState> injector) : injector_(std::move(injector)) {}
  ~InjectorOwner() override { injector_->Stop(); }
  void Stop() override { injector_->Stop(); }
  void Enter(const Waiting& at, const Identity& process, std::function<void()> answer,
             Entered entered) override {
    injector_->Enter(at, process, std::move(answer), std::move(entered));
  }
  uint64_t TokenOfOpener(pid_t tid) override { return injector_->TokenOfOpener(tid); }
  void Identify(const Waiting& at, const Identity& process, int descriptor,
                std::function<void(uint64_t)> done) override {
    injector_->Identify(at, process, descriptor, std::move(done));
  }
  bool IsIdentifyCall(pid_t tid, uint32_t code, uint64_t argument, uint64_t file) override {
    return injector_->IsIdentifyCall(tid, code, argument, file);
  }
  void TakeEventFile(const Waiting& at, const Identity& process, int descriptor,
                     TookEventFile done) override {
    injector_->TakeEventFile(at, process, descriptor, std::move(done));
  }
  void LearnNode(const Waiting& at, const Identity& process, int descriptor,
                 std::function<void()> done) override {
    injector_->LearnNode(at, process, descriptor, std::move(done));
  }

 private:
  std::shared_ptr<InjectorState> injector_;
};

}  // namespace

Result<std::unique_ptr<Injector>> StartInjector(const InjectorOptions& options) {
  auto injector = std::make_shared<InjectorState>(options);
  DXG_TRY(injector->Start());
  return std::unique_ptr<Injector>(std::make_unique<InjectorOwner>(std::move(injector)));
}

}  // namespace dxg::client
