// What of a client's thread a LibrarySession may be used for, whatever it says.

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "cuse-dxg/attach/library/session.h"

namespace dxg::attach::library {
namespace {

constexpr size_t kGroupsMax = 65536;  // NGROUPS_MAX

}  // namespace

std::optional<LibrarySession::Calls> LibrarySession::CallsOf(pid_t tid) {
  MutexLock lock(mutex_);
  const auto calls = calls_by_tid_.find(tid);
  return calls == calls_by_tid_.end() ? std::nullopt : std::optional(calls->second);
}

bool LibrarySession::MayReach(pid_t tid) {
  const auto calls = CallsOf(tid);
  return calls && calls->of->HasThread(tid) && (!passes_rights_ || calls->user == geteuid());
}

// A thread that has executed a program which may do more than its user belongs to root, in /proc.
bool LibrarySession::HasItsOwnRights(pid_t tid) {
  struct stat info;
  const auto calls = CallsOf(tid);
  return calls && stat(fmt::format("/proc/{}", tid).c_str(), &info) == 0 && info.st_uid == calls->user &&
         calls->of->HasThread(tid);
}

std::optional<client::Credentials> LibrarySession::CredentialsOf(pid_t tid) {
  const std::vector<ChannelPtr> channels = CallersOf(tid);
  const auto caller = std::find_if(channels.begin(), channels.end(),
                                   [](const ChannelPtr& each) { return each->current() != nullptr; });
  if (caller == channels.end()) return std::nullopt;
  const Caller who = (*caller)->caller();
  client::Credentials credentials = {.user = who.uid, .group = who.gid, .groups = {}};
  std::vector<gid_t> groups(kGroupsMax);
  auto bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  if (getsockopt((*caller)->socket(), SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) == 0) {
    groups.resize(bytes / sizeof(gid_t));
    credentials.groups = std::move(groups);
  }
  return credentials;
}

}  // namespace dxg::attach::library
