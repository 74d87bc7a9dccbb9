// The open files of a LibrarySession, and which channel a caller waits in.

#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/unix_socket.h"
#include "cuse-dxg/attach/library/delivery.h"
#include "cuse-dxg/attach/library/requests.h"
#include "cuse-dxg/attach/library/session.h"

namespace dxg::attach::library {
namespace {

// The kernel's number of a socket, which no other one ever has; 0: it is none. A file system of the client's,
// which could say any number, or nothing for ever, is not asked: what is no socket is refused before.
uint64_t CookieOf(int descriptor) {
#ifndef SO_COOKIE
  constexpr int SO_COOKIE = 57;  // of Linux 4.12
#endif
  uint64_t cookie = 0;
  socklen_t bytes = sizeof(cookie);
  return getsockopt(descriptor, SOL_SOCKET, SO_COOKIE, &cookie, &bytes) == 0 ? cookie : 0;
}

// It is part of the descriptor's address, which anybody could take before whoever knew it.
uint64_t RandomNumber() {
  uint64_t number = 0;
  DXG_CHECK(getrandom(&number, sizeof(number), 0) == sizeof(number));
  return number;
}

}  // namespace

uint64_t LibrarySession::NewFileNumber() {
  for (;;) {
    const uint64_t number = RandomNumber();
    if (number >= kFirstNumber && !files_.contains(number)) return number;
  }
}

bool LibrarySession::HasRoom(const Peer& opener) {
  return open_files_ <= files_max_.of_all && opener.files <= files_max_.of_process &&
         users_[opener.user()].files <= files_max_.of_user;
}

Result<std::pair<UniqueFd, uint64_t>> LibrarySession::AddFile(uint64_t file, const Channel& channel) {
  auto added = std::make_shared<File>();
  added->whose = channel.whose();
  added->opener = channel.peer();
  added->file = file;
  bool has_room = false;
  {
    MutexLock lock(mutex_);
    ++open_files_;  // until it is released
    ++added->opener->files;
    ++users_[added->opener->user()].files;
    has_room = HasRoom(*added->opener);
  }
  Result<std::pair<UniqueFd, UniqueFd>> ends = Status::Refuse(EMFILE, "it is one file too many");
  if (has_room) ends = MakeSocketPair(SOCK_STREAM);
  UniqueFd client;
  if (ends.ok()) {
    added->end = std::move(ends->first);
    client = std::move(ends->second);
    added->cookie = CookieOf(client.get());
    if (added->cookie == 0) client.reset();  // it could not be told from others
  }
  uint64_t number = 0;
  bool watched = false;
  if (client.valid()) {
    MutexLock lock(mutex_);
    number = added->number = NewFileNumber();
    epoll_event event = {.events = 0, .data = {.u64 = number}};  // of its end it is told in any case
    watched = epoll_ctl(closings_.get(), EPOLL_CTL_ADD, added->end.get(), &event) == 0;
    if (watched) {
      files_.emplace(number, added);
      by_cookie_.emplace(added->cookie, added);
    } else {
      added->closed = true;
      to_release_.push_back(added);
    }
  } else {
    MutexLock lock(mutex_);
    added->closed = true;
    to_release_.push_back(added);
  }
  if (!watched) {
    Wake();
    return Status::Refuse(
        EMFILE, "process {} has opened one file too many, or no descriptors are left for another (ulimit -n)",
        channel.peer()->process());
  }
  LookAtReadiness(number);
  return std::pair(std::move(client), number);
}

Result<std::pair<UniqueFd, uint64_t>> LibrarySession::OpenFor(const Channel& channel,
                                                              const client::Step& step) {
  Result<uint64_t> opened = Status::Refuse(EIO, "the node did not answer the open of an object's file");
  {
    const OpensFor token(step.token);
    node_->Open(std::make_unique<ObjectOpen>(channel.caller(), &opened));
  }
  if (!opened.ok()) return std::move(opened).status();
  return AddFile(*opened, channel);
}

LibrarySession::FilePtr LibrarySession::BeginCallOf(uint64_t number) {
  MutexLock lock(mutex_);
  const auto found = files_.find(number);
  if (found == files_.end() || found->second->closed) return nullptr;
  ++found->second->calls;
  return found->second;
}

void LibrarySession::EndCallOf(const FilePtr& file) {
  {
    MutexLock lock(mutex_);
    if (--file->calls != 0 || !file->closed) return;
    to_release_.push_back(file);
  }
  Wake();
}

LibrarySession::FilePtr LibrarySession::FindByCookie(int descriptor) {
  const uint64_t cookie = CookieOf(descriptor);
  MutexLock lock(mutex_);
  const auto found = cookie != 0 ? by_cookie_.find(cookie) : by_cookie_.end();
  return found == by_cookie_.end() ? nullptr : found->second;
}

// A socket can be read, with 0 bytes, from the moment on at which nothing more can come. It can be written
// from the beginning.
void LibrarySession::LookAtReadiness(uint64_t number) {
  const FilePtr file = BeginCallOf(number);
  if (file == nullptr) return;
  const uint32_t ready = node_->Poll(file->file, std::make_unique<FileWaiter>(*this, number));
  if ((ready & POLLIN) != 0) shutdown(file->end.get(), SHUT_WR);
  EndCallOf(file);
}

void LibrarySession::ReleaseClosed() {
  std::vector<FilePtr> ended;
  {
    MutexLock lock(mutex_);
    ended.swap(to_release_);
    epoll_event events[32];
    for (int count; (count = epoll_wait(closings_.get(), events, std::size(events), 0)) > 0;) {
      for (int i = 0; i < count; ++i) {
        const uint64_t number = events[i].data.u64;  // epoll_event is packed, so nothing may refer to it
        const auto found = files_.find(number);
        if (found == files_.end()) continue;
        const FilePtr file = found->second;
        epoll_ctl(closings_.get(), EPOLL_CTL_DEL, file->end.get(), nullptr);
        by_cookie_.erase(file->cookie);
        files_.erase(found);
        file->closed = true;
        if (file->calls == 0) ended.push_back(file);
      }
    }
  }
  for (const FilePtr& file : ended) {
    node_->Release(file->file);
    {
      MutexLock lock(mutex_);
      --open_files_;
      --file->opener->files;
      const auto user = users_.find(file->opener->user());
      --user->second.files;
      if (user->second.connections == 0 && user->second.files == 0) users_.erase(user);
    }
    // A client that has sent files to its own descriptor has them closed with ours.
    int unread = 0;
    if (file->end.valid() && (ioctl(file->end.get(), FIONREAD, &unread) != 0 || unread != 0))
      closer_->Close(file->whose, std::move(file->end));
  }
}

std::vector<LibrarySession::ChannelPtr> LibrarySession::CallersOf(pid_t tid) {
  std::vector<ChannelPtr> channels;
  MutexLock lock(mutex_);
  const auto [first, last] = by_tid_.equal_range(tid);
  for (auto each = first; each != last; ++each) channels.push_back(each->second);
  return channels;
}

LibrarySession::ChannelPtr LibrarySession::FindCaller(const client::Waiting& at) {
  const std::vector<ChannelPtr> of_thread = CallersOf(at.tid);
  const auto found = std::find_if(of_thread.begin(), of_thread.end(), [&](const ChannelPtr& channel) {
    return channel->WaitsIn(at.code, at.argument);
  });
  return found == of_thread.end() ? nullptr : *found;
}

}  // namespace dxg::attach::library
