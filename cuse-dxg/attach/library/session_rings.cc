// The rings of a LibrarySession: calls that come without a system call.

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "cuse-dxg/attach/library/session.h"

namespace dxg::attach::library {
namespace {

using preload::node::Said;
namespace say = preload::node::say;

constexpr int kCallsOfAwakeMax = 64;  // before everybody else is looked at
constexpr int kPutOffsMax = 64;       // calls on rings before an event
constexpr size_t kRingsOfProcessMax = 1024;

}  // namespace

LibrarySession::ChannelPtr LibrarySession::FindChannel(uint64_t number) {
  MutexLock lock(mutex_);
  const auto found = channels_.find(number);
  return found == channels_.end() ? nullptr : found->second;
}

// Who is refused makes all its calls by the socket.
bool LibrarySession::MayHaveRing(const Peer& peer) {
  const auto user = users_.find(peer.user());
  const size_t of_user = user == users_.end() ? 0 : user->second.rings;
  return rings_ < rings_max_ && of_user < rings_max_ - rings_max_ / 4 &&
         peer.rings < std::min(kRingsOfProcessMax, rings_max_ / 2);
}

LibrarySession::Job LibrarySession::GiveRing(const ChannelPtr& channel) {
  if (channel->ring() != nullptr || channel->current() != nullptr) return EndChannel(channel);
  Result<std::unique_ptr<Ring>> made = Status::Refuse(EMFILE, "it is one ring too many");
  bool may = false;
  {
    MutexLock lock(mutex_);
    may = MayHaveRing(*channel->peer());
  }
  if (may) made = Ring::Make();
  epoll_event event = {.events = EPOLLIN | EPOLLET, .data = {.u64 = channel->number() | kBell}};
  if (!made.ok() || epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, (*made)->bell(), &event) != 0) {
    channel->GiveRing(nullptr, EMFILE);
    return nullptr;
  }
  {
    MutexLock lock(mutex_);
    ++rings_;
    ++channel->peer()->rings;
    ++users_[channel->peer()->user()].rings;
  }
  channel->GiveRing(*std::move(made), 0);
  return nullptr;
}

LibrarySession::Job LibrarySession::TakeCall(const ChannelPtr& channel) {
  Ring* const ring = channel->ring();
  if (ring == nullptr || ring->retired() || !ring->HasCall()) return nullptr;
  Said said;
  size_t bytes = 0;
  if (!ring->Take(&said, message_, &bytes) || said.kind != say::kIoctl) return EndChannel(channel);
  awake_.Add(channel);
  try {
    auto job = HandleIoctl(channel, said, std::span(message_).first(bytes), true);
    return job ? *std::move(job) : EndChannel(channel);
  } catch (const std::bad_alloc&) {
    return EndChannel(channel);
  }
}

LibrarySession::Job LibrarySession::NextOnRings() {
  if (awake_.empty() || put_off_.has_value()) return nullptr;
  const bool others_first = calls_of_awake_ >= kCallsOfAwakeMax;
  const ChannelPtr caller = others_first ? nullptr : awake_.Wait();
  if (caller == nullptr) {
    calls_of_awake_ = 0;
    return nullptr;
  }
  ++calls_of_awake_;
  return TakeCall(caller);
}

// A call that was put on a ring has not rung a bell where we are awake. So it is looked for before what
// happened after it, the close of its file for one, as it would stand before that in the kernel's queue.
std::optional<epoll_event> LibrarySession::NextEvent(int patience, Job* first) {
  epoll_event event;
  if (put_off_.has_value()) {
    event = *std::exchange(put_off_, std::nullopt);
  } else {
    const int count = epoll_wait(epoll_.get(), &event, 1, patience);
    DXG_CHECK(count >= 0 || errno == EINTR);
    if (count <= 0) return std::nullopt;
    put_offs_ = 0;
  }
  const ChannelPtr caller = put_offs_ < kPutOffsMax ? awake_.Find() : nullptr;
  if (caller == nullptr) return event;
  put_off_ = event;
  ++put_offs_;
  *first = TakeCall(caller);
  return std::nullopt;
}

}  // namespace dxg::attach::library
