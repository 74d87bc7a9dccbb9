#include "cuse-dxg/attach/library/session.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <new>
#include <system_error>
#include <utility>

#include "base/proc_status.h"
#include "base/start_thread.h"
#include "base/unix_socket.h"
#include "cuse-dxg/attach/library/delivery.h"
#include "cuse-dxg/attach/library/memory.h"
#include "cuse-dxg/attach/library/requests.h"

namespace dxg::attach::library {
namespace {

using preload::node::Said;
using preload::node::Told;
namespace say = preload::node::say;
namespace tell = preload::node::tell;

constexpr uint64_t kListenerNumber = 0, kWakeNumber = 1, kClosingsNumber = 2;  // channels have higher ones
constexpr int kThreadsMax = 1024;
constexpr int kLook_ms = 20;    // at callers that die in a call
constexpr int kPump_ms = 1;     // until we see that the reader has read what we wait for
constexpr int kPause_ms = 100;  // without a descriptor for who connects
constexpr int kPutOffMax = 64;  // messages before a close is looked at in any case
constexpr int kThreadsLookedAt = 4096;

std::string RandomDigits(size_t count) {
  std::vector<uint8_t> bytes(count / 2);
  DXG_CHECK(getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  std::string digits;
  for (const uint8_t byte : bytes) digits += fmt::format("{:02x}", byte);
  return digits;
}

bool Watch(const UniqueFd& set, int descriptor, uint32_t events, uint64_t number) {
  epoll_event event = {.events = events, .data = {.u64 = number}};
  return epoll_ctl(set.get(), EPOLL_CTL_ADD, descriptor, &event) == 0;
}

bool Is(pid_t tid, pid_t own_tid) {
  const auto numbers = ProcStatus(tid).Numbers("NSpid");
  return numbers.empty() ? tid == own_tid : static_cast<pid_t>(numbers.back()) == own_tid;
}

// The thread of that process that has the number itself, in its own pid namespace; 0: there is none.
pid_t ThreadOf(pid_t process, pid_t own_tid) {
  if (own_tid > 0 && syscall(SYS_tgkill, process, own_tid, 0) == 0 && Is(own_tid, own_tid)) return own_tid;
  std::error_code error;
  const std::filesystem::directory_iterator threads(fmt::format("/proc/{}/task", process), error);
  if (error) return 0;
  int left = kThreadsLookedAt;
  for (auto thread = begin(threads); thread != end(threads) && left > 0; thread.increment(error), --left) {
    if (error) return 0;
    const pid_t tid = std::atoi(thread->path().filename().c_str());
    if (Is(tid, own_tid)) return tid;
  }
  return 0;
}

Status WhyGone() { return Status::Refuse(EINTR, "the client's thread ended in its call"); }

}  // namespace

// -- Beginning and end ----------------------------------------------------------------------------

Result<std::unique_ptr<LibrarySession>> LibrarySession::Create() {
  std::unique_ptr<LibrarySession> session(new LibrarySession());
  DXG_TRY(session->Listen());
  return session;
}

Status LibrarySession::Listen() {
  const std::string name = RandomDigits(preload::node::kNameBytes);
  secret_ = RandomDigits(preload::node::kSecretBytes);
  place_ = name + ":" + secret_;
  message_.resize(sizeof(Said) + preload::node::kPieceBytesMax);
  listener_ = UniqueFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  epoll_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  closings_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  wake_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!listener_.valid() || bind(listener_.get(), AnyAddress(address), bytes) != 0 ||
      listen(listener_.get(), SOMAXCONN) != 0 || !epoll_.valid() || !closings_.valid() || !wake_.valid() ||
      !Watch(epoll_, listener_.get(), EPOLLIN, kListenerNumber) ||
      !Watch(epoll_, wake_.get(), EPOLLIN, kWakeNumber) ||
      !Watch(epoll_, closings_.get(), EPOLLIN, kClosingsNumber))
    return Status::Refuse(errno, "cannot listen for the program's calls: {}", std::strerror(errno));
  return Status::Ok();
}

LibrarySession::~LibrarySession() { Stop(); }

Status LibrarySession::Start(Node& node, int workers) {
  node_ = &node;
  MutexLock lock(mutex_);
  workers_kept_ = workers;
  for (int i = 0; i < workers; ++i) StartWorker();
  if (!workers_.empty()) return Status::Ok();
  return Status::Refuse(EAGAIN, "no thread can be had to serve the node (ulimit -u, or the machine's limit)");
}

void LibrarySession::Stop() {
  stopping_ = true;
  turn_.Stop();
  Wake();
  std::list<std::thread> workers;
  {
    MutexLock lock(mutex_);
    for (const auto& [number, channel] : channels_) channel->HangUp();  // who waits for one waits no longer
    while (working_ > 0) changed_.Wait(mutex_);
    workers.swap(workers_);
  }
  for (std::thread& worker : workers) worker.join();
}

std::unique_ptr<client::Access> LibrarySession::MakeAccess() {
  return std::make_unique<LibraryMemory>(*this);
}

std::unique_ptr<client::Delivery> LibrarySession::MakeDelivery() {
  return std::make_unique<LibraryDelivery>(*this);
}

// -- Workers, as those of a connection to the kernel (attach/session.cc) ------------------------------

void LibrarySession::StartWorker() {
  std::thread worker;
  if (!StartThread(&worker, [this] { Work(); }))
    return spdlog::warn("no thread can be had for another worker (ulimit -u); {} go on", working_);
  workers_.push_back(std::move(worker));
  ++working_;
  ++idle_;
}

void LibrarySession::Work() {
  while (TakeTurn()) {
    if (!ServeUntilTurnIsLost() || !BecomeIdle()) break;
  }
  MutexLock lock(mutex_);
  --working_;
  changed_.NotifyAll();
}

bool LibrarySession::TakeTurn() {
  const bool taken = turn_.Take();
  {
    MutexLock lock(mutex_);
    --idle_;
    if (!taken || stopping_) return false;
    if (idle_ == 0 && working_ < kThreadsMax) StartWorker();
  }
  node_->LookAtLongRequests();
  return true;
}

bool LibrarySession::BecomeIdle() {
  MutexLock lock(mutex_);
  if (working_ > workers_kept_ && idle_ > 0 && !stopping_) {
    const auto self = std::find_if(workers_.begin(), workers_.end(), [](const std::thread& worker) {
      return worker.get_id() == std::this_thread::get_id();
    });
    self->detach();
    workers_.erase(self);
    return false;
  }
  ++idle_;
  return true;
}

bool LibrarySession::ServeUntilTurnIsLost() {
  for (;;) {
    Job job = Next();
    if (!job) return false;
    turn_.Offer();
    job();
    job = nullptr;
    if (!turn_.Resume()) return true;
  }
}

LibrarySession::Job LibrarySession::Next() {
  for (;;) {
    if (stopping_) return nullptr;
    int patience = listens_ ? -1 : kPause_ms;
    {
      MutexLock lock(mutex_);
      if (!posted_.empty()) {
        Job job = std::move(posted_.front());
        posted_.pop_front();
        return job;
      }
      if (!dying_.empty()) patience = kLook_ms;
    }
    epoll_event events[8];
    const int count = epoll_wait(epoll_.get(), events, std::size(events), patience);
    if (count < 0 && errno == EINTR) continue;
    DXG_CHECK(count >= 0);
    if (count == 0) {
      if (!std::exchange(listens_, true)) Watch(epoll_, listener_.get(), EPOLLIN, kListenerNumber);
      return [this] { TellDying(); };
    }
    // What was said before a close comes before it, as a call of the kernel's keeps its file open.
    const auto said = std::find_if(events, events + count,
                                   [](const epoll_event& each) { return each.data.u64 != kClosingsNumber; });
    const bool closes = count > 1 && std::exchange(closings_put_off_, closings_put_off_ + 1) >= kPutOffMax;
    const epoll_event& event = said == events + count || closes ? events[0] : *said;
    if (closes || event.data.u64 == kClosingsNumber) {
      closings_put_off_ = 0;
      ReleaseClosed();
    }
    if (event.data.u64 == kListenerNumber) {
      Accept();
    } else if (event.data.u64 == kWakeNumber) {
      uint64_t times;
      if (!stopping_) (void)!read(wake_.get(), &times, sizeof(times));
      ReleaseClosed();
    } else if (event.data.u64 == kClosingsNumber) {
      continue;
    } else if (Job job = Read(event.data.u64)) {
      return job;
    }
  }
}

void LibrarySession::Post(Job job) {
  {
    MutexLock lock(mutex_);
    posted_.push_back(std::move(job));
  }
  Wake();
}

void LibrarySession::Wake() {
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));
}

// -- Connections ----------------------------------------------------------------------------------

void LibrarySession::Accept() {
  Result<UnixPeer> peer = AcceptUnix(listener_.get(), SOCK_NONBLOCK);
  if (!peer.ok()) {
    if (OutOfDescriptors(peer.status()) &&
        epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener_.get(), nullptr) == 0)
      listens_ = false;
    return;
  }
  if (peer->who.pid == 0) return;  // outside of our pid namespace
  rlimit files = {.rlim_cur = 1024, .rlim_max = 1024};
  getrlimit(RLIMIT_NOFILE, &files);
  MutexLock lock(mutex_);
  if (channels_.size() >= files.rlim_cur / 2) return;  // the other half is for open files
  const uint64_t number = ++last_number_ + kFirstNumber;
  auto channel = std::make_shared<Channel>(std::move(peer->socket), number, peer->who);
  channel->set_make_node(
      [this, caller = channel.get()](const client::Step& step) { return OpenFor(*caller, step); });
  if (Watch(epoll_, channel->socket(), EPOLLIN, number)) channels_.emplace(number, std::move(channel));
}

LibrarySession::Job LibrarySession::Read(uint64_t number) {
  ChannelPtr channel;
  {
    MutexLock lock(mutex_);
    if (const auto found = channels_.find(number); found != channels_.end()) channel = found->second;
  }
  if (channel == nullptr) return nullptr;
  ReceivedPiece received = ReceivePiece(channel->socket(), message_, 2, false);
  if (received.bytes == -EAGAIN) return nullptr;
  if (received.bytes < static_cast<ssize_t>(sizeof(Said)) || received.cut) return EndChannel(channel);
  try {
    return Handle(channel, std::span(message_).first(static_cast<size_t>(received.bytes)),
                  std::move(received.files));
  } catch (const std::bad_alloc&) {
    return EndChannel(channel);
  }
}

void LibrarySession::Pump(const ChannelPtr& channel) {
  thread_local std::vector<std::byte> message(sizeof(Said) + preload::node::kPieceBytesMax);
  pollfd readable = {channel->socket(), POLLIN, 0};
  (void)poll(&readable, 1, kPump_ms);
  ReceivedPiece received = ReceivePiece(channel->socket(), message, 2, false);
  if (received.bytes == -EAGAIN) return;
  Said said = {};
  if (received.bytes >= static_cast<ssize_t>(sizeof(Said))) std::memcpy(&said, message.data(), sizeof(said));
  // In the middle of a call it says nothing else.
  const bool expected = said.kind == say::kDone || said.kind == say::kInterrupt;
  Job job = expected && !received.cut
                ? Handle(channel, std::span(message).first(static_cast<size_t>(received.bytes)),
                         std::move(received.files))
                : EndChannel(channel);
  if (job) job();
}

LibrarySession::Job LibrarySession::Handle(const ChannelPtr& channel, std::span<const std::byte> message,
                                           std::vector<UniqueFd> files) {
  Said said;
  std::memcpy(&said, message.data(), sizeof(said));
  const auto extra = message.subspan(sizeof(said));
  if (said.kind == say::kDone && channel->tid() != 0) {
    auto came = std::make_shared<std::vector<UniqueFd>>(std::move(files));
    auto bytes = std::make_shared<std::vector<std::byte>>(extra.begin(), extra.end());
    return [channel, said, came, bytes] {
      Channel::Jobs jobs;
      if (!channel->Done(said, *bytes, std::move(*came), &jobs)) channel->HangUp();
      for (const auto& job : jobs) job();
    };
  }
  if (said.kind == say::kIoctl && channel->tid() != 0 && files.size() == 1) {
    const FilePtr shown = FindByInode(files.front().get());
    if (shown != nullptr && shown->number == said.file) {
      channel->Admit(said.file);
      auto job = HandleIoctl(channel, said, extra);
      files.clear();  // one of ours, so that it closes at once; after the call has begun, which keeps it open
      return job ? *std::move(job) : EndChannel(channel);
    }
  }
  // To close a file may take as long as its file system likes.
  if (!files.empty())
    return [end = EndChannel(channel), came = std::make_shared<std::vector<UniqueFd>>(std::move(files))] {
      end();
    };
  if (channel->tid() == 0) return extra.empty() && Hello(channel, said) ? nullptr : EndChannel(channel);
  if (said.kind == say::kIoctl) {
    auto job = HandleIoctl(channel, said, extra);
    return job ? *std::move(job) : EndChannel(channel);
  }
  if (said.kind == say::kInterrupt && extra.empty())
    return [channel, number = said.number] { channel->Interrupt(number); };
  if (said.kind == say::kOpen && extra.empty()) {
    ReleaseClosed();
    Open(channel, said.number);
    return nullptr;
  }
  return EndChannel(channel);
}

bool LibrarySession::Hello(const ChannelPtr& channel, const Said& said) {
  if (said.kind != say::kHello || said.code != preload::node::kVersion) return false;
  unsigned different = 0;
  for (size_t i = 0; i < secret_.size(); ++i)
    different |= static_cast<unsigned>(secret_[i]) ^ static_cast<unsigned>(said.secret[i]);
  if (different != 0) return false;
  const pid_t tid = ThreadOf(channel->process(), said.tid);
  if (tid == 0) return false;
  channel->set_tid(tid);
  MutexLock lock(mutex_);
  by_tid_.emplace(tid, channel);
  return true;
}

LibrarySession::Job LibrarySession::EndChannel(const ChannelPtr& channel) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, channel->socket(), nullptr);
  channel->HangUp();
  MutexLock lock(mutex_);
  channels_.erase(channel->number());
  const auto [first, last] = by_tid_.equal_range(channel->tid());
  const auto found = std::find_if(first, last, [&](const auto& each) { return each.second == channel; });
  if (found != last) by_tid_.erase(found);
  return [this, channel] {
    Channel::Jobs jobs;
    channel->End(WhyGone(), &jobs);
    for (const auto& job : jobs) job();
    const auto call = channel->current();
    if (call == nullptr || channel->Kill(*call)) return;
    MutexLock lock(mutex_);
    dying_.emplace_back(channel, call);
    Wake();
  };
}

void LibrarySession::TellDying() {
  std::list<std::pair<ChannelPtr, std::shared_ptr<Pending>>> dying;
  {
    MutexLock lock(mutex_);
    dying.swap(dying_);
  }
  dying.remove_if([](const auto& each) { return each.first->Kill(*each.second); });
  MutexLock lock(mutex_);
  dying_.splice(dying_.end(), dying);
}

// -- Calls ----------------------------------------------------------------------------------------

void LibrarySession::Open(const ChannelPtr& channel, uint32_t number) {
  auto call = channel->Begin(number);
  if (call == nullptr) return channel->HangUp();
  node_->Open(std::make_unique<LibraryOpen>(*this, channel, std::move(call)));
}

std::optional<LibrarySession::Job> LibrarySession::HandleIoctl(const ChannelPtr& channel, const Said& said,
                                                               std::span<const std::byte> in) {
  const bool carries_struct = (said.flags & preload::node::flag::kWithoutStruct) == 0;
  const bool is_read = (_IOC_DIR(said.code) & _IOC_WRITE) != 0;
  if (in.size() != (carries_struct ? _IOC_SIZE(said.code) : 0) || (carries_struct && !is_read))
    return std::nullopt;
  auto call = channel->Begin(said.number, said.code, said.argument);
  if (call == nullptr) return std::nullopt;
  FilePtr file = BeginCallOf(said.file);
  if (file == nullptr) {
    return [channel, call] {
      Told told = {};
      told.number = call->number;
      told.result = -EBADF;
      channel->Answer(*call, told, {}, -1);
    };
  }
  // A job can be copied, a request cannot.
  auto request = std::make_shared<std::unique_ptr<IoctlRequest>>(
      std::make_unique<LibraryCall>(*this, channel, file, std::move(call), carries_struct, in));
  if (channel->Has(file->number)) return [this, request] { node_->Ioctl(std::move(*request)); };
  return [this, channel, file, request] {
    Errand errand;
    errand.show = true;
    errand.took = [this, channel, file, request](Result<UniqueFd> shown) {
      if (!shown.ok() || FindByInode(shown->get()) != file) return (*request)->Answer(-EBADF, {});
      channel->Admit(file->number);
      node_->Ioctl(std::move(*request));
    };
    channel->Ask(std::move(errand));
  };
}

}  // namespace dxg::attach::library
