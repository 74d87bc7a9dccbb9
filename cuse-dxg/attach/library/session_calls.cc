// What comes on the connections of a LibrarySession.

#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
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
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener_.get(), nullptr) == 0) listens_ = false;
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
  rlimit files = {.rlim_cur = 1024, .rlim_max = 1024};
  getrlimit(RLIMIT_NOFILE, &files);
  uint64_t number = 0;
  {
    MutexLock lock(mutex_);
    if (channels_.size() >= files.rlim_cur / 2) return refuse();  // the other half is for open files
    number = ++last_number_ + kFirstNumber;
    auto channel = std::make_shared<Channel>(std::move(peer->socket), number, peer->who, closer_);
    channel->set_make_node(
        [this, caller = channel.get()](const client::Step& step) { return OpenFor(*caller, step); });
    epoll_event event = {.events = kOnce, .data = {.u64 = number}};
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, channel->socket(), &event) == 0)
      channels_.emplace(number, std::move(channel));
  }
  // Its greeting and its first call, which may be there by now: they come before what others say next.
  Job job = Read(number);
  return job ? std::move(job) : Read(number);
}

LibrarySession::Job LibrarySession::Read(uint64_t number) {
  ChannelPtr channel;
  {
    MutexLock lock(mutex_);
    if (const auto found = channels_.find(number); found != channels_.end()) channel = found->second;
  }
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
      const bool is_it = shown.ok() && FindByCookie(shown->get()) == file;
      if (shown.ok() && !is_it) closer_->Close(channel->whose(), *std::move(shown));
      if (!is_it) return (*request)->Answer(-EBADF, {});
      *shown = UniqueFd();  // before the client can close the file, and open another
      channel->Admit(file->number);
      node_->Ioctl(std::move(*request));
    };
    channel->Ask(std::move(errand));
  };
}

}  // namespace dxg::attach::library
