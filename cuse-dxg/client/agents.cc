#include "cuse-dxg/client/agents.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <map>
#include <system_error>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/proc_status.h"
#include "base/start_thread.h"
#include "base/unix_socket.h"
#include "cuse-dxg/client/hand_over.h"
#include "cuse-dxg/client/visit_steps.h"
#include "cuse-dxg/client/waiting.h"
#include "cuse-dxg/client/warnings.h"
#include "cuse-dxg/preload/protocol.h"

namespace dxg::client {
namespace {

using preload::AgentAnswer;
using preload::AgentAsk;
using preload::AgentHello;

// A step travels to the agent by its number.
static_assert(static_cast<uint32_t>(Step::Kind::kMap) == preload::kind::kMap);
static_assert(static_cast<uint32_t>(Step::Kind::kUnmap) == preload::kind::kUnmap);
static_assert(static_cast<uint32_t>(Step::Kind::kGiveFile) == preload::kind::kGiveFile);
static_assert(static_cast<uint32_t>(Step::Kind::kGiveNode) == preload::kind::kGiveNode);
static_assert(static_cast<uint32_t>(Step::Kind::kCloseFile) == preload::kind::kCloseFile);

// A program has one; for a moment, when it executes another, two.
constexpr ptrdiff_t kOfProcessMax = 4;

constexpr uint64_t kListenerNumber = 0, kStopNumber = 1,
                   kLookNumber = 2;  // for epoll; agents have higher ones

// How often we look whether agents live that have something to do. Their sockets do not tell: they belong to
// the process, which cannot end before the call that waits for the agent.
constexpr long kLook_ms = 100;

// An agent is the first thread that its process starts, so it is among the first ones that /proc lists.
constexpr int kThreadsLookedAt = 16;

// For whom a visit is: a thread of the agent's process waits in a call.
struct Caller {
  Waiting at;
  Identity process;
};

// A Do, under way or waiting for its turn: the agent does one step at a time.
struct Errand {
  Caller caller;
  std::vector<Step> steps;
  std::vector<uint64_t> results;
  Visit::Done done;
};

// A process, told apart from one that has its number later: a socket outlives who has connected it.
struct Process {
  pid_t tgid = 0;  // as we see it
  uint64_t start_time = 0;
  bool operator==(const Process&) const = default;
};

struct Agent {
  UniqueFd socket;
  Process process;
  pid_t own_tid = 0;  // as the client sees it; 0 until it has said hello
  pid_t tid = 0;      // as we see it; 0: not known
  uint64_t thread_start_time = 0;
  std::deque<Errand> errands;
};

// The one at the other end, as a descriptor: the kernel's, from the moment it connected. Not valid before
// Linux 6.5. Refused where there is no such process any more, or no descriptor for it here.
Result<UniqueFd> PeerOf(const UniqueFd& socket) {
#ifndef SO_PEERPIDFD
  constexpr int SO_PEERPIDFD = 77;  // the headers may be older than the kernel
#endif
  int peer = -1;
  socklen_t bytes = sizeof(peer);
  if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERPIDFD, &peer, &bytes) == 0) return UniqueFd(peer);
  if (errno == ENOPROTOOPT) return UniqueFd();
  return Status::Refuse(errno, "who has connected cannot be told: {}", std::strerror(errno));
}

// Until it is reaped, nobody else has its number.
bool IsReaped(const UniqueFd& process) {
  return process.valid() && syscall(SYS_pidfd_send_signal, process.get(), 0, nullptr, 0) != 0 &&
         errno != EPERM;
}

// A process that executes one program after the other leaves agents that we have not read the end of yet.
bool HasHungUp(const UniqueFd& socket) {
  pollfd peer = {socket.get(), 0, 0};
  return poll(&peer, 1, 0) == 1 && (peer.revents & POLLHUP) != 0;
}

// Finds the agent's thread, which has just said hello, among those of its process.
void FindThread(Agent* agent) {
  std::error_code error;
  const std::filesystem::directory_iterator threads(fmt::format("/proc/{}/task", agent->process.tgid), error);
  if (error) return;
  int left = kThreadsLookedAt;
  for (auto thread = begin(threads); thread != end(threads) && left > 0; thread.increment(error), --left) {
    if (error) return;
    const pid_t tid = std::atoi(thread->path().filename().c_str());
    const auto numbers = ProcStatus(tid).Numbers("NSpid");
    if (numbers.empty() || static_cast<pid_t>(numbers.back()) != agent->own_tid) continue;
    agent->thread_start_time = StartTimeOf(agent->process.tgid, tid);
    if (agent->thread_start_time != 0) agent->tid = tid;
    return;
  }
}

bool HasEnded(pid_t tgid, pid_t tid, uint64_t start_time) {
  const uint64_t now = StartTimeOf(tgid, tid);
  if (now == start_time) return false;
  return now != 0 || (syscall(SYS_tgkill, tgid, tid, 0) != 0 && errno == ESRCH);  // 0: we could not look
}

// Whether it does no more what it is asked, for ever: a filter of system calls has ended its thread, or a
// signal its process.
bool IsDead(const Agent& agent) {
  if (agent.tid != 0 && HasEnded(agent.process.tgid, agent.tid, agent.thread_start_time)) return true;
  return ProcStatus(agent.errands.front().caller.at.tid).KillIsPending();
}

Status WhyGone() {
  return Status::Refuse(EINTR, "the client's preload agent ended, with its process or by it");
}

class Agents final {
 public:
  Agents(std::unique_ptr<Injector> otherwise, UniqueFd listener)
      : otherwise_(std::move(otherwise)), listener_(std::move(listener)) {}

  Status Start();
  void Stop() DXG_EXCLUDES(mutex_);
  Injector& otherwise() { return *otherwise_; }

  bool Has(const Process& process) DXG_EXCLUDES(mutex_);
  void Do(const Caller& caller, std::vector<Step> steps, Visit::Done done) DXG_EXCLUDES(mutex_);
  uint64_t TokenOfOpener(pid_t tid) DXG_EXCLUDES(mutex_);

 private:
  using Callbacks = std::vector<std::function<void()>>;  // to be run without the lock
  using AgentMap = std::map<uint64_t, std::unique_ptr<Agent>>;

  AgentMap::iterator Find(const Process& process) DXG_REQUIRES(mutex_);
  void Read() DXG_EXCLUDES(mutex_);
  void LookSoon() DXG_REQUIRES(mutex_);
  void LookForDeadOnes() DXG_EXCLUDES(mutex_);
  // False: there is no descriptor for the next one.
  bool Accept() DXG_REQUIRES(mutex_);
  bool Listen(bool wanted) const;
  void ReadAgent(uint64_t number) DXG_EXCLUDES(mutex_);
  void ReadMessage(AgentMap::iterator agent, Callbacks* callbacks) DXG_REQUIRES(mutex_);
  bool HandleMessage(Agent& agent, std::span<const std::byte> message, Callbacks* callbacks)
      DXG_REQUIRES(mutex_);
  bool HandleAnswer(Agent& agent, const AgentAnswer& answer, Callbacks* callbacks) DXG_REQUIRES(mutex_);
  bool SendStep(Agent& agent) DXG_REQUIRES(mutex_);
  // Gives an errand that is done back to whoever asked for it.
  void Finish(Errand errand, Callbacks* callbacks);
  bool MayHaveOneMore(const Process& process) DXG_REQUIRES(mutex_);
  void End(AgentMap::iterator agent, const Status& why, Callbacks* callbacks) DXG_REQUIRES(mutex_);

  std::unique_ptr<Injector> otherwise_;
  UniqueFd listener_, epoll_, stop_, look_;
  size_t agents_max_ = 0;
  std::thread reader_;

  Mutex mutex_;  // held while sending, never while a callback runs
  uint64_t last_number_ DXG_GUARDED_BY(mutex_) = kLookNumber;
  AgentMap agents_ DXG_GUARDED_BY(mutex_);  // by the number that epoll knows
  bool looks_soon_ DXG_GUARDED_BY(mutex_) = false;
  bool stopped_ DXG_GUARDED_BY(mutex_) = false;
};

Status Agents::Start() {
  fcntl(listener_.get(), F_SETFL, O_NONBLOCK);
  rlimit files = {.rlim_cur = 1024, .rlim_max = 1024};
  getrlimit(RLIMIT_NOFILE, &files);
  agents_max_ = files.rlim_cur / 2;  // the other half is for everything else
  epoll_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  stop_ = UniqueFd(eventfd(0, EFD_CLOEXEC));
  look_ = UniqueFd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  epoll_event listener = {.events = EPOLLIN, .data = {.u64 = kListenerNumber}};
  epoll_event stop = {.events = EPOLLIN, .data = {.u64 = kStopNumber}};
  epoll_event look = {.events = EPOLLIN, .data = {.u64 = kLookNumber}};
  if (!epoll_.valid() || !stop_.valid() || !look_.valid() ||
      epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, listener_.get(), &listener) != 0 ||
      epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stop_.get(), &stop) != 0 ||
      epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, look_.get(), &look) != 0)
    return Status::Refuse(errno, "no epoll for the preload agents: {}", std::strerror(errno));
  if (!StartThread(&reader_, [this] { Read(); }))
    return Status::Refuse(EAGAIN,
                          "no thread can be had to hear preload agents (ulimit -u, or the machine's limit)");
  return Status::Ok();
}

void Agents::Stop() {
  const uint64_t one = 1;
  (void)!write(stop_.get(), &one, sizeof(one));
  if (reader_.joinable()) reader_.join();
  Callbacks callbacks;
  {
    MutexLock lock(mutex_);
    stopped_ = true;  // nobody reads what agents answer from now on
    while (!agents_.empty()) End(agents_.begin(), Status::Refuse(EIO, "the device ends"), &callbacks);
  }
  for (auto& callback : callbacks) callback();
}

// The latest: after an execve the old one's end may not have been seen yet.
Agents::AgentMap::iterator Agents::Find(const Process& process) {
  for (auto agent = agents_.rbegin(); agent != agents_.rend(); ++agent) {
    if (agent->second->process == process && agent->second->own_tid != 0) return std::prev(agent.base());
  }
  return agents_.end();
}

// An agent has said hello before its program goes on; here that may still be in the sockets.
bool Agents::Has(const Process& process) {
  Callbacks callbacks;
  bool has = false;
  {
    MutexLock lock(mutex_);
    if (stopped_) return false;
    has = Find(process) != agents_.end();
    if (!has) {
      Accept();
      for (auto next = agents_.begin(); next != agents_.end();) {
        const auto agent = next++;
        if (agent->second->process == process) ReadMessage(agent, &callbacks);
      }
      has = Find(process) != agents_.end();
    }
  }
  for (auto& callback : callbacks) callback();
  return has;
}

void Agents::Do(const Caller& caller, std::vector<Step> steps, Visit::Done done) {
  Callbacks callbacks;
  {
    MutexLock lock(mutex_);
    const auto found = Find({caller.process.tgid, caller.process.start_time});
    if (found == agents_.end()) {
      callbacks.push_back([done = std::move(done)] { done(WhyGone()); });
    } else if (steps.empty()) {
      callbacks.push_back([done = std::move(done)] { done(std::vector<uint64_t>()); });
    } else {
      Agent& agent = *found->second;
      agent.errands.push_back(
          {.caller = caller, .steps = std::move(steps), .results = {}, .done = std::move(done)});
      LookSoon();
      if (agent.errands.size() == 1 && !SendStep(agent)) End(found, WhyGone(), &callbacks);
    }
  }
  for (auto& callback : callbacks) callback();
}

// An open by an agent's own thread while it does a kGiveNode. The thread is known by the number that it has
// in its own pid namespace, which is all that it could tell.
uint64_t Agents::TokenOfOpener(pid_t tid) {
  MutexLock lock(mutex_);
  for (auto& [number, agent] : agents_) {
    if (agent->errands.empty()) continue;
    const Errand& errand = agent->errands.front();
    const Step& step = errand.steps[errand.results.size()];
    if (step.kind != Step::Kind::kGiveNode) continue;
    const ProcStatus status(tid);
    const auto group = status.Numbers("Tgid"), numbers = status.Numbers("NSpid");
    if (!group.empty() && !numbers.empty() && static_cast<pid_t>(group.front()) == agent->process.tgid &&
        static_cast<pid_t>(numbers.back()) == agent->own_tid)
      return step.token;
  }
  return 0;
}

// False: the agent is gone, or does not read what it is asked. Nothing waits for it here.
bool Agents::SendStep(Agent& agent) {
  const Errand& errand = agent.errands.front();
  const Step& step = errand.steps[errand.results.size()];
  const AgentAsk ask = {.kind = static_cast<uint32_t>(step.kind),
                        .writable = step.writable,
                        .replace = step.replace,
                        .unused = 0,
                        .offset = step.offset,
                        .size = step.size,
                        .address = step.address};
  const bool has_file = step.kind == Step::Kind::kMap || step.kind == Step::Kind::kGiveFile;
  return SendDatagram(agent.socket.get(), std::as_bytes(std::span(&ask, 1)),
                      std::span(&step.file, has_file ? 1 : 0))
      .ok();
}

// Without a descriptor for who connects we pause: the listener would be ready again at once, for ever.
void Agents::Read() {
  constexpr int kPause_ms = 100;
  for (bool listening = true;;) {
    epoll_event events[16];
    const int count = epoll_wait(epoll_.get(), events, std::size(events), listening ? -1 : kPause_ms);
    if (!listening) listening = Listen(true);
    for (int i = 0; i < count; ++i) {
      const uint64_t number = events[i].data.u64;
      if (number == kStopNumber) return;
      if (number == kListenerNumber) {
        MutexLock lock(mutex_);
        if (!Accept()) listening = !Listen(false);
      } else if (number == kLookNumber) {
        LookForDeadOnes();
      } else {
        ReadAgent(number);
      }
    }
  }
}

// Most errands are done long before.
void Agents::LookSoon() {
  if (looks_soon_) return;
  const itimerspec soon = {.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = kLook_ms * 1'000'000}};
  looks_soon_ = timerfd_settime(look_.get(), 0, &soon, nullptr) == 0;
}

void Agents::LookForDeadOnes() {
  Callbacks callbacks;
  {
    MutexLock lock(mutex_);
    uint64_t times;
    (void)!read(look_.get(), &times, sizeof(times));
    looks_soon_ = false;
    for (auto next = agents_.begin(); next != agents_.end();) {
      const auto agent = next++;
      if (agent->second->errands.empty()) continue;
      if (IsDead(*agent->second)) {
        End(agent, WhyGone(), &callbacks);
      } else {
        LookSoon();
      }
    }
  }
  for (auto& callback : callbacks) callback();
}

bool Agents::Listen(bool wanted) const {
  epoll_event listener = {.events = wanted ? EPOLLIN : 0u, .data = {.u64 = kListenerNumber}};
  return epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, listener_.get(), &listener) == 0;
}

bool Agents::Accept() {
  for (;;) {
    // An agent that does not read must not make anybody wait.
    Result<UnixPeer> peer = AcceptUnix(listener_.get(), SOCK_NONBLOCK);
    if (!peer.ok()) return !OutOfDescriptors(peer.status());
    if (peer->who.pid == 0) continue;
    auto agent = std::make_unique<Agent>();
    agent->socket = std::move(peer->socket);
    Result<UniqueFd> process = PeerOf(agent->socket);
    agent->process = {peer->who.pid, StartTimeOf(peer->who.pid, peer->who.pid)};
    // The start may be that of another process.
    if (!process.ok() || IsReaped(*process) || agent->process.start_time == 0) continue;
    if (!MayHaveOneMore(agent->process)) continue;
    const uint64_t number = ++last_number_;
    epoll_event event = {.events = EPOLLIN, .data = {.u64 = number}};
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, agent->socket.get(), &event) == 0)
      agents_.emplace(number, std::move(agent));
  }
}

bool Agents::MayHaveOneMore(const Process& process) {
  const auto of_it = std::count_if(agents_.begin(), agents_.end(), [&](const auto& each) {
    return each.second->process == process && !HasHungUp(each.second->socket);
  });
  if (of_it < kOfProcessMax && agents_.size() < agents_max_) return true;
  Identity identity;
  identity.tgid = process.tgid;
  identity.start_time = process.start_time;
  Warn(identity,
       fmt::format("process {} has one more preload agent: refused, there are {} of it (at most {}) "
                   "and {} of all (at most {}: ulimit -n)",
                   process.tgid, of_it, kOfProcessMax, agents_.size(), agents_max_));
  return false;
}

void Agents::ReadAgent(uint64_t number) {
  Callbacks callbacks;
  {
    MutexLock lock(mutex_);
    if (const auto agent = agents_.find(number); agent != agents_.end()) ReadMessage(agent, &callbacks);
  }
  for (auto& callback : callbacks) callback();
}

// The agent may be gone afterwards.
void Agents::ReadMessage(AgentMap::iterator agent, Callbacks* callbacks) {
  std::byte message[64];
  Result<Datagram> received = ReceiveDatagram(agent->second->socket.get(), message, false);
  if (!received.ok() && received.status().value() == -EAGAIN) return;
  if (!received.ok() || !HandleMessage(*agent->second, std::span(message, received->bytes), callbacks))
    End(agent, WhyGone(), callbacks);
}

// False: nothing that an agent would say.
bool Agents::HandleMessage(Agent& agent, std::span<const std::byte> message, Callbacks* callbacks) {
  if (agent.own_tid == 0) {
    AgentHello hello;
    if (message.size() != sizeof(hello)) return false;
    std::memcpy(&hello, message.data(), sizeof(hello));
    agent.own_tid = hello.tid;
    FindThread(&agent);
    return hello.version == preload::kVersion && hello.tid > 0;
  }
  AgentAnswer answer;
  if (message.size() != sizeof(answer) || agent.errands.empty()) return false;
  std::memcpy(&answer, message.data(), sizeof(answer));
  return HandleAnswer(agent, answer, callbacks);
}

bool Agents::HandleAnswer(Agent& agent, const AgentAnswer& answer, Callbacks* callbacks) {
  Errand& errand = agent.errands.front();
  if (answer.error) {
    const int error = answer.error > 0 && answer.error < 4096 ? answer.error : EIO;
    callbacks->push_back([done = std::move(errand.done), error] {
      done(Status::Refuse(error, "the client's preload agent failed: {}", std::strerror(error)));
    });
    agent.errands.pop_front();
    return agent.errands.empty() || SendStep(agent);
  }
  errand.results.push_back(answer.result);
  if (errand.results.size() == errand.steps.size()) {
    Finish(std::move(errand), callbacks);
    agent.errands.pop_front();
    if (agent.errands.empty()) return true;
  }
  return SendStep(agent);
}

// What the agent says of a node is looked at before the call goes on, while its thread still waits.
void Agents::Finish(Errand errand, Callbacks* callbacks) {
  const auto node = std::find_if(errand.steps.begin(), errand.steps.end(),
                                 [](const Step& step) { return step.kind == Step::Kind::kGiveNode; });
  const auto place = static_cast<size_t>(node - errand.steps.begin());
  const bool has_node = node != errand.steps.end();
  const int number = has_node ? static_cast<int>(errand.results[place]) : -1;
  callbacks->push_back([this, has_node, number, caller = errand.caller, done = std::move(errand.done),
                        results = std::move(errand.results)]() mutable {
    if (!has_node) return done(std::move(results));
    otherwise_->LearnNode(
        caller.at, caller.process, number,
        [done = std::move(done), results = std::move(results)]() mutable { done(std::move(results)); });
  });
}

void Agents::End(AgentMap::iterator agent, const Status& why, Callbacks* callbacks) {
  for (Errand& errand : agent->second->errands)
    callbacks->push_back([done = std::move(errand.done), why] { done(why); });
  agents_.erase(agent);
}

class AgentVisit final : public Visit {
 public:
  AgentVisit(std::weak_ptr<Agents> agents, Caller caller)
      : agents_(std::move(agents)), caller_(std::move(caller)) {}
  void Do(std::vector<Step> steps, Done done) override {
    if (auto agents = agents_.lock()) return agents->Do(caller_, std::move(steps), std::move(done));
    done(WhyGone());
  }
  bool holds_thread() const override { return false; }
  void Leave(int32_t) override {}

 private:
  std::weak_ptr<Agents> agents_;
  Caller caller_;
};

class AgentsFirst final : public Delivery {
 public:
  explicit AgentsFirst(std::shared_ptr<Agents> agents) : agents_(std::move(agents)) {}
  ~AgentsFirst() override { Stop(); }
  void Stop() override {
    agents_->Stop();
    agents_->otherwise().Stop();
  }

  void Enter(const Waiting& at, const Identity& process, std::function<void()> answer,
             Entered entered) override {
    const Process of_agent = {process.tgid, process.start_time};
    if (agents_->Has(of_agent))
      return entered(std::unique_ptr<Visit>(std::make_unique<AgentVisit>(agents_, Caller{at, process})));
    agents_->otherwise().Enter(at, process, std::move(answer), std::move(entered));
  }
  uint64_t TokenOfOpener(pid_t tid) override {
    if (const uint64_t token = agents_->TokenOfOpener(tid)) return token;
    return agents_->otherwise().TokenOfOpener(tid);
  }
  void Identify(const Waiting& at, const Identity& process, int descriptor,
                std::function<void(uint64_t)> done) override {
    agents_->otherwise().Identify(at, process, descriptor, std::move(done));
  }
  bool IsIdentifyCall(pid_t tid, uint32_t code, uint64_t argument, uint64_t file) override {
    return agents_->otherwise().IsIdentifyCall(tid, code, argument, file);
  }
  // A copy needs no tracing, so a debugger is not in the way.
  void TakeEventFile(const Waiting& at, const Identity& process, int descriptor,
                     TookEventFile done) override {
    agents_->otherwise().TakeEventFile(at, process, descriptor, std::move(done));
  }

 private:
  std::shared_ptr<Agents> agents_;
};

}  // namespace

Result<std::unique_ptr<Delivery>> StartAgents(std::unique_ptr<Injector> otherwise, UniqueFd agents) {
  auto started = std::make_shared<Agents>(std::move(otherwise), std::move(agents));
  DXG_TRY(started->Start());
  return std::unique_ptr<Delivery>(std::make_unique<AgentsFirst>(std::move(started)));
}

Result<std::unique_ptr<Delivery>> StartDelivery(UniqueFd agents, const InjectorOptions& options) {
  DXG_ASSIGN(std::unique_ptr<Injector> injector, StartInjector(options));
  if (!agents.valid()) return HandOver(std::move(injector));
  DXG_ASSIGN(std::unique_ptr<Delivery> both, StartAgents(std::move(injector), std::move(agents)));
  return HandOver(std::move(both));
}

}  // namespace dxg::client
