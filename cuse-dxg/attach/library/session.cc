#include "cuse-dxg/attach/library/session.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/confinement/capabilities.h"
#include "base/unix_socket.h"
#include "base/wake_signal.h"
#include "cuse-dxg/attach/library/delivery.h"
#include "cuse-dxg/attach/library/memory.h"

namespace dxg::attach::library {
namespace {

using preload::node::Said;
using Clock = std::chrono::steady_clock;

constexpr uint64_t kListenerNumber = 0, kWakeNumber = 1, kClosingsNumber = 2;  // channels have higher ones
constexpr int kLook_ms = 20;    // at callers that die in a call
constexpr int kPutOffMax = 64;  // messages before a close is looked at in any case

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

}  // namespace

// -- Beginning and end ----------------------------------------------------------------------------

Result<std::unique_ptr<LibrarySession>> LibrarySession::Create(FileLimits files) {
  std::unique_ptr<LibrarySession> session(new LibrarySession());
  session->files_max_ = files;
  DXG_TRY(session->Listen());
  return session;
}

Status LibrarySession::Listen() {
  const std::string name = RandomDigits(preload::node::kNameBytes);
  secret_ = RandomDigits(preload::node::kSecretBytes);
  place_ = name + ":" + secret_;
  rlimit files = {.rlim_cur = 1024, .rlim_max = 1024};
  getrlimit(RLIMIT_NOFILE, &files);
  connections_max_ = files.rlim_cur / 4;
  passes_rights_ = (confinement::OwnCapabilities() & confinement::Only(CAP_SYS_PTRACE)) != 0;
  rings_max_ = files.rlim_cur / 16;
  if (files_max_.of_all == 0) files_max_.of_all = files.rlim_cur / 2;
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
  InstallWakeSignal();  // for the closer
  const auto serve = [this] {
    // Where another worker had the turn, that one's request takes long.
    node_->LookAtLongRequests();
    return ServeUntilTurnIsLost();
  };
  if (workers_.Start(workers, [this, serve] { workers_.Serve(serve); })) return Status::Ok();
  return Status::Refuse(EAGAIN, "no thread can be had to serve the node (ulimit -u, or the machine's limit)");
}

void LibrarySession::Stop() {
  workers_.Stop();
  Wake();
  {
    MutexLock lock(mutex_);
    for (const auto& [number, channel] : channels_) channel->HangUp();  // who waits for one waits no longer
  }
  workers_.Join();
  // What clients were asked for is not heard any more. Who waits for it holds them, and they him.
  Channel::Jobs jobs;
  std::vector<ChannelPtr> channels;
  {
    MutexLock lock(mutex_);
    for (const auto& [number, channel] : channels_) channels.push_back(channel);
  }
  for (const ChannelPtr& channel : channels) channel->End(Status::Refuse(EIO, "the device ends"), &jobs);
  for (const auto& job : jobs) job();
}

std::unique_ptr<client::Access> LibrarySession::MakeAccess() {
  return std::make_unique<LibraryMemory>(*this);
}

std::unique_ptr<client::Delivery> LibrarySession::MakeDelivery() {
  return std::make_unique<LibraryDelivery>(*this);
}

// -- The reader -----------------------------------------------------------------------------------

bool LibrarySession::ServeUntilTurnIsLost() {
  for (;;) {
    Job job = Next();
    if (!job) return false;
    workers_.turn().Offer();
    job();
    job = nullptr;
    if (!workers_.turn().Resume()) return true;
  }
}

LibrarySession::Job LibrarySession::Next() {
  for (;;) {
    if (workers_.stopping()) return nullptr;
    // In every round: who keeps us busy must not keep us from looking.
    const auto now = Clock::now();
    if (!listens_ && now >= listen_at_) listens_ = Watch(epoll_, listener_.get(), EPOLLIN, kListenerNumber);
    int patience = listens_ ? -1 : static_cast<int>(kPause.count());
    bool looks = false;
    {
      MutexLock lock(mutex_);
      looks = !dying_.empty() && now >= look_at_;
      if (!looks && !posted_.empty()) {
        Job job = std::move(posted_.front());
        posted_.pop_front();
        return job;
      }
      if (!dying_.empty()) patience = kLook_ms;
    }
    if (looks) {
      look_at_ = now + std::chrono::milliseconds(kLook_ms);
      return [this] { TellDying(); };
    }
    if (Job job = NextOnRings()) return job;
    Job first;
    const auto next = NextEvent(awake_.empty() ? patience : 0, &first);
    if (first) return first;
    if (!next.has_value()) continue;
    epoll_event event = *next;
    // What was said before a close comes before it, as a call of the kernel's keeps its file open. The close
    // is told again.
    epoll_event said;
    if (event.data.u64 == kClosingsNumber && closings_put_off_ < kPutOffMax &&
        epoll_wait(epoll_.get(), &said, 1, 0) == 1 && said.data.u64 != kClosingsNumber) {
      ++closings_put_off_;
      event = said;
    }
    if (event.data.u64 == kListenerNumber) {
      if (Job job = Accept()) return job;
    } else if (event.data.u64 == kWakeNumber) {
      uint64_t times;
      if (!workers_.stopping()) (void)!read(wake_.get(), &times, sizeof(times));
      ReleaseClosed();
    } else if (event.data.u64 == kClosingsNumber) {
      closings_put_off_ = 0;
      ReleaseClosed();
    } else if ((event.data.u64 & kBell) != 0) {
      const ChannelPtr rings = FindChannel(event.data.u64 & ~kBell);
      Job job = rings != nullptr ? TakeCall(rings) : nullptr;
      if (job) return job;
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

}  // namespace dxg::attach::library
