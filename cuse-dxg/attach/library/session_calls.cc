// What comes on the connections of a LibrarySession.

#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>
#include <system_error>
#include <utility>

#include "base/proc_status.h"
#include "base/unix_socket.h"
#include "cuse-dxg/attach/library/requests.h"
#include "cuse-dxg/attach/library/session.h"

namespace dxg::attach::library {
namespace {

using preload::node::Said;
using preload::node::Told;
namespace say = preload::node::say;

constexpr int kPump_ms = 1;  // until we see that the reader has read what we wait for
// So that connections are served in the order in which they said something, as the kernel's queue has it: one
// that is not taken out of epoll's list keeps its old place there.
constexpr uint32_t kOnce = EPOLLIN | EPOLLONESHOT;
constexpr int kThreadsLookedAt = 4096;

constexpr uid_t kSeveralUsers = static_cast<uid_t>(-1);  // none
constexpr size_t kConnectionsOfProcessMax = 4096;
constexpr ptrdiff_t kConnectionsOfThreadMax = 16;  // a signal's handler that calls in a call has its own
constexpr size_t kNewcomersMax = 64;
constexpr ptrdiff_t kNewcomersOfUserMax = 32;

bool Is(pid_t tid, pid_t own_tid) {
  const auto numbers = ProcStatus(tid).Numbers("NSpid");
  return numbers.empty() ? tid == own_tid : static_cast<pid_t>(numbers.back()) == own_tid;
}

bool IsThreadOf(pid_t process, pid_t own_tid) {
  return own_tid > 0 && syscall(SYS_tgkill, process, own_tid, 0) == 0 && Is(own_tid, own_tid);
}

// The thread of that process that has the number itself, in its own pid namespace; 0: there is none.
pid_t FindThread(pid_t process, pid_t own_tid) {
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

// Whether descriptors come with the next message. They are not taken.
bool FilesCome(int socket) {
  char first;
  iovec piece = {&first, sizeof(first)};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  return recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT) >= 0 && (message.msg_flags & MSG_CTRUNC) != 0;
}

Status WhyGone() { return Status::Refuse(EINTR, "the client's thread ended in its call"); }

}  // namespace

// -- Connections ----------------------------------------------------------------------------------

void LibrarySession::StopListening() {
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener_.get(), nullptr) != 0) return;
  listens_ = false;
  listen_at_ = std::chrono::steady_clock::now() + kPause;
}

LibrarySession::Job LibrarySession::Accept() {
  if (closer_->of_strangers() >= kStrangersClosedMax) {
    StopListening();
    return nullptr;
  }
  Result<UnixPeer> peer = AcceptUnix(listener_.get(), SOCK_NONBLOCK);
  if (!peer.ok()) {
    if (OutOfDescriptors(peer.status())) StopListening();
    return nullptr;
  }
  // Who is not let in is closed elsewhere: what it has sent may be slow to close.
  const auto refuse = [&] {
    closer_->Close({}, std::move(peer->socket));
    return nullptr;
  };
  if (peer->who.pid == 0) return refuse();  // outside of our pid namespace
  auto known = FindPeer(*peer);
  if (!known.ok()) return refuse();
  uint64_t number = 0;
  ChannelPtr too_many;
  {
    MutexLock lock(mutex_);
    if (!MayConnect(**known)) return refuse();
    number = ++last_number_ + kFirstNumber;
    auto channel = std::make_shared<Channel>(std::move(peer->socket), number, peer->who, *known, closer_);
    channel->set_make_node(
        [this, caller = channel.get()](const client::Step& step) { return OpenFor(*caller, step); });
    epoll_event event = {.events = kOnce, .data = {.u64 = number}};
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, channel->socket(), &event) == 0) {
      ++(*known)->connections;
      ++users_[(*known)->user()].connections;
      channels_.emplace(number, channel);
      newcomers_.emplace(number, std::move(channel));
      too_many = OneNewcomerTooMany((*known)->user());
    }
  }
  if (too_many != nullptr) EndChannel(too_many)();  // it has no call
  // Its greeting and its first call, which may be there by now: they come before what others say next.
  Job job = Read(number);
  return job ? std::move(job) : Read(number);
}

LibrarySession::Job LibrarySession::Read(uint64_t number) {
  const ChannelPtr channel = FindChannel(number);
  if (channel == nullptr) return nullptr;
  // Who has not said hello has no file taken from it: it is closed with the socket.
  if (channel->tid() == 0 && FilesCome(channel->socket())) return EndChannel(channel);
  ReceivedPiece received = ReceivePiece(channel->socket(), message_, 2, false);
  ClientFiles files(*closer_, channel->whose(), std::move(received.files));
  epoll_event event = {.events = kOnce, .data = {.u64 = number}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, channel->socket(), &event);
  if (received.bytes == -EAGAIN) return nullptr;
  if (received.bytes < static_cast<ssize_t>(sizeof(Said)) || received.cut) return EndChannel(channel);
  try {
    return Handle(channel, std::span(message_).first(static_cast<size_t>(received.bytes)), std::move(files));
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
  ClientFiles files(*closer_, channel->whose(), std::move(received.files));
  Said said = {};
  if (received.bytes >= static_cast<ssize_t>(sizeof(Said))) std::memcpy(&said, message.data(), sizeof(said));
  // In the middle of a call it says nothing else.
  const bool expected = said.kind == say::kDone || said.kind == say::kInterrupt;
  Job job =
      expected && !received.cut
          ? Handle(channel, std::span(message).first(static_cast<size_t>(received.bytes)), std::move(files))
          : EndChannel(channel);
  if (job) job();
}

LibrarySession::Job LibrarySession::Handle(const ChannelPtr& channel, std::span<const std::byte> message,
                                           ClientFiles files) {
  Said said;
  std::memcpy(&said, message.data(), sizeof(said));
  const auto extra = message.subspan(sizeof(said));
  if (said.kind == say::kDone && channel->tid() != 0) {
    auto came = std::make_shared<ClientFiles>(std::move(files));
    auto bytes = std::make_shared<std::vector<std::byte>>(extra.begin(), extra.end());
    return [channel, said, came, bytes] {
      Channel::Jobs jobs;
      if (!channel->Done(said, *bytes, *came, &jobs)) channel->HangUp();
      for (const auto& job : jobs) job();
    };
  }
  if (said.kind == say::kIoctl && channel->tid() != 0 && files.size() == 1) {
    const FilePtr shown = FindByCookie(files.front());
    if (shown != nullptr && shown->number == said.file) {
      channel->Admit(said.file);
      auto job = HandleIoctl(channel, said, extra);
      files.TakeFront();  // ours, so that it closes at once; after the call has begun, which keeps it open
      return job ? *std::move(job) : EndChannel(channel);
    }
  }
  if (!files.empty()) return EndChannel(channel);
  if (channel->tid() == 0) return extra.empty() ? Hello(channel, said) : EndChannel(channel);
  if (said.kind == say::kIoctl) {
    auto job = HandleIoctl(channel, said, extra);
    return job ? *std::move(job) : EndChannel(channel);
  }
  if (said.kind == say::kInterrupt && extra.empty())
    return [channel, number = said.number] { channel->Interrupt(number); };
  if (said.kind == say::kRing && extra.empty()) return GiveRing(channel);
  if (said.kind == say::kOpen && extra.empty()) {
    ReleaseClosed();
    Open(channel, said.number);
    return nullptr;
  }
  return EndChannel(channel);
}

// A peer is found by its number while it is there: who connects later and has the number is the same.
Result<std::shared_ptr<Peer>> LibrarySession::FindPeer(const UnixPeer& who) {
  {
    MutexLock lock(mutex_);
    const auto found = peers_.find(who.who.pid);
    auto known = found != peers_.end() ? found->second.lock() : nullptr;
    if (known != nullptr && known->IsThere()) return known;
  }
  DXG_ASSIGN(auto made, Peer::At(who.socket, who.who));
  MutexLock lock(mutex_);
  std::erase_if(peers_, [](const auto& each) { return each.second.expired(); });
  peers_[who.who.pid] = made;
  return made;
}

bool LibrarySession::MayConnect(const Peer& peer) {
  const auto user = users_.find(peer.user());
  const size_t of_user = user == users_.end() ? 0 : user->second.connections;
  return channels_.size() < connections_max_ && of_user < connections_max_ - connections_max_ / 4 &&
         peer.connections < std::min(kConnectionsOfProcessMax, connections_max_ / 2);
}

LibrarySession::ChannelPtr LibrarySession::OneNewcomerTooMany(uid_t user) {
  const auto is_of_user = [user](const auto& each) { return each.second->peer()->user() == user; };
  if (std::count_if(newcomers_.begin(), newcomers_.end(), is_of_user) > kNewcomersOfUserMax)
    return std::find_if(newcomers_.begin(), newcomers_.end(), is_of_user)->second;
  return newcomers_.size() > kNewcomersMax ? newcomers_.begin()->second : nullptr;
}

LibrarySession::Job LibrarySession::Hello(const ChannelPtr& channel, const Said& said) {
  if (said.kind != say::kHello || said.code != preload::node::kVersion) return EndChannel(channel);
  unsigned different = 0;
  for (size_t i = 0; i < secret_.size(); ++i)
    different |= static_cast<unsigned>(secret_[i]) ^ static_cast<unsigned>(said.secret[i]);
  if (different != 0) return EndChannel(channel);
  const pid_t process = channel->peer()->process();
  if (IsThreadOf(process, said.tid)) return Welcome(channel, said.tid) ? nullptr : EndChannel(channel);
  // A process of another pid namespace may have thousands of threads to look at. Meanwhile nothing else is
  // read of it.
  epoll_event nothing = {.events = 0, .data = {.u64 = channel->number()}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, channel->socket(), &nothing);
  return [this, channel, process, own_tid = said.tid] {
    const pid_t tid = FindThread(process, own_tid);
    if (tid == 0 || !Welcome(channel, tid)) return EndChannel(channel)();
    epoll_event event = {.events = kOnce, .data = {.u64 = channel->number()}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, channel->socket(), &event);
  };
}

bool LibrarySession::Welcome(const ChannelPtr& channel, pid_t tid) {
  if (!channel->peer()->HasThread(tid)) return false;
  MutexLock lock(mutex_);
  if (newcomers_.erase(channel->number()) == 0) return false;
  // The number may be that of a thread that died in its call, which would reach this one.
  const auto calls = calls_by_tid_.find(tid);
  if (calls != calls_by_tid_.end() && calls->second.of != channel->peer()) return false;
  const auto [first, last] = by_tid_.equal_range(tid);
  if (std::distance(first, last) >= kConnectionsOfThreadMax) return false;
  channel->set_tid(tid);
  by_tid_.emplace(tid, channel);
  return true;
}

LibrarySession::Job LibrarySession::EndChannel(const ChannelPtr& channel) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, channel->socket(), nullptr);
  channel->HangUp();
  Ring* const ring = channel->ring();
  if (ring != nullptr) {
    ring->Retire();
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, ring->bell(), nullptr);  // the client may have it still
  }
  MutexLock lock(mutex_);
  newcomers_.erase(channel->number());
  if (channels_.erase(channel->number()) != 0) {
    if (ring != nullptr) {
      --rings_;
      --channel->peer()->rings;
      --users_[channel->peer()->user()].rings;
    }
    --channel->peer()->connections;
    const auto user = users_.find(channel->peer()->user());
    --user->second.connections;
    if (user->second.connections == 0 && user->second.files == 0) users_.erase(user);
  }
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

void LibrarySession::BeginCallBy(const Channel& channel) {
  MutexLock lock(mutex_);
  Calls& calls = calls_by_tid_[channel.tid()];
  calls.of = channel.peer();
  const uid_t user = channel.caller().uid;
  calls.user = calls.count == 0 || calls.user == user ? user : kSeveralUsers;
  ++calls.count;
}

void LibrarySession::EndCallBy(const Channel& channel) {
  MutexLock lock(mutex_);
  const auto calls = calls_by_tid_.find(channel.tid());
  if (--calls->second.count == 0) calls_by_tid_.erase(calls);
}

// -- Calls ----------------------------------------------------------------------------------------

void LibrarySession::Open(const ChannelPtr& channel, uint32_t number) {
  auto call = channel->IsThere() ? channel->Begin(number) : nullptr;
  if (call == nullptr) return channel->HangUp();
  node_->Open(std::make_unique<LibraryOpen>(*this, channel, std::move(call)));
}

std::optional<LibrarySession::Job> LibrarySession::HandleIoctl(const ChannelPtr& channel, const Said& said,
                                                               std::span<const std::byte> in, bool by_ring) {
  const bool carries_struct = (said.flags & preload::node::flag::kWithoutStruct) == 0;
  const bool is_read = (_IOC_DIR(said.code) & _IOC_WRITE) != 0;
  if (in.size() != (carries_struct ? _IOC_SIZE(said.code) : 0) || (carries_struct && !is_read))
    return std::nullopt;
  // Who reaches into its memory asks again, each time (MayReach).
  if (!by_ring || !channel->WasThere()) {
    if (!channel->IsThere()) return std::nullopt;
  }
  auto call = channel->Begin(said.number, said.code, said.argument, by_ring);
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
      const bool is_it = shown.ok() && FindByCookie(shown->get()) == file;
      if (!is_it) {
        if (shown.ok()) closer_->Close(channel->whose(), *std::move(shown));
        return (*request)->Answer(-EBADF, {});
      }
      *shown = UniqueFd();  // before the client can close the file, and open another
      channel->Admit(file->number);
      node_->Ioctl(std::move(*request));
    };
    channel->Ask(std::move(errand));
  };
}

}  // namespace dxg::attach::library
