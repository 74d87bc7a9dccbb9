#include "cuse-dxg/tracer/descriptors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/kcmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

namespace dxg::tracer {
namespace {

constexpr unsigned kMask = STATX_TYPE | STATX_INO;

// What is known of it, without asking the node's own process.
bool Look(const std::string& path, struct statx* found) {
  return statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC, kMask, found) == 0;
}

bool IsSame(const struct statx& one, const struct statx& other) {
  if (S_ISCHR(one.stx_mode) && S_ISCHR(other.stx_mode))
    return one.stx_rdev_major == other.stx_rdev_major && one.stx_rdev_minor == other.stx_rdev_minor;
  return one.stx_dev_major == other.stx_dev_major && one.stx_dev_minor == other.stx_dev_minor &&
         one.stx_ino == other.stx_ino;
}

enum class Compared { kSame, kOther, kUnknown };

Compared Compare(pid_t one, int one_fd, pid_t other, int other_fd) {
  const long order = syscall(SYS_kcmp, one, other, KCMP_FILE, one_fd, other_fd);
  if (order < 0) return Compared::kUnknown;
  return order == 0 ? Compared::kSame : Compared::kOther;
}

std::string NameOf(pid_t tid) {
  std::string name;
  std::getline(std::ifstream(fmt::format("/proc/{}/comm", tid)), name);
  return name;
}

}  // namespace

bool NodePath::HasNameOf(std::string_view path) const {
  const auto last = [](std::string_view whole) { return whole.substr(whole.rfind('/') + 1); };
  return last(path) == last(path_);
}

bool NodePath::IsOf(pid_t tid, int fd) const {
  struct statx node, file;
  return fd >= 0 && Look(fmt::format("/proc/{}/fd/{}", tid, fd), &file) && Look(path_, &node) &&
         IsSame(node, file);
}

Descriptors::File Descriptors::Of(const Who& who, int fd) {
  const Key key{who.tgid, fd};
  last_threads_[who.tgid] = who.tid;
  if (!node_.IsOf(who.tid, fd)) {
    Drop(key, who.tid);
    return {};
  }
  const uint64_t file = Find(who, key, TraceMove::RECEIVED);
  return {file, files_.at(file).opener};
}

// Of a descriptor that is the node's.
uint64_t Descriptors::Find(const Who& who, const Key& key, TraceMove::Change how) {
  const auto known = files_of_.find(key);
  const uint64_t before = known == files_of_.end() ? 0 : known->second;
  if (before != 0 && files_.size() == 1) return before;

  std::vector<Key> gone;
  uint64_t found = 0;
  bool elsewhere = false;  // `before` has another descriptor, which is not this one
  for (const auto& [other, file] : files_of_) {
    if (other == key) continue;
    const pid_t other_tid = ThreadOf(other.first);
    if (!node_.IsOf(other_tid, other.second)) {
      gone.push_back(other);
      continue;
    }
    const Compared compared = Compare(who.tid, key.second, other_tid, other.second);
    if (compared == Compared::kSame) {
      found = file;
      break;
    }
    elsewhere |= compared == Compared::kOther && file == before;
  }
  std::vector<uint64_t> lost;  // whose last descriptor is not there any more: this may be one of them
  for (const Key& other : gone) Drop(other, who.tid, &lost);
  if (found == 0 && before != 0 && !elsewhere) found = before;
  if (found == 0 && !lost.empty()) found = lost.back();
  for (const uint64_t file : lost) {
    if (file != found) Close(file, who.tid);
  }
  if (found == before && found != 0) return found;
  Drop(key, who.tid);
  if (found == 0) {
    found = TellOpen(who, 0);
    Enter(key, found);
    return found;
  }
  Enter(key, found);
  TellMove(who, how, found, key.second);
  return found;
}

void Descriptors::Opened(const Who& who, int fd) {
  last_threads_[who.tgid] = who.tid;
  if (!node_.IsOf(who.tid, fd)) return;
  Sweep(who);
  Drop({who.tgid, fd}, who.tid);
  Enter({who.tgid, fd}, TellOpen(who, 0));
}

void Descriptors::OpenRefused(const Who& who, const std::string& path, int error) {
  if (path != node_.path()) return;
  Sweep(who);
  TellOpen(who, error);
}

void Descriptors::Duplicated(const Who& who, int from, int fd) {
  const auto source = files_of_.find({who.tgid, from});
  if (from == fd && source != files_of_.end()) return;
  if (source != files_of_.end() && node_.IsOf(who.tid, fd)) {
    const uint64_t file = source->second;
    Drop({who.tgid, fd}, who.tid);
    Enter({who.tgid, fd}, file);
    return TellMove(who, TraceMove::DUPLICATED, file, fd, from);
  }
  (void)Of(who, fd);
}

void Descriptors::Taken(const Who& who, int fd) {
  const Key key{who.tgid, fd};
  Drop(key, who.tid);
  if (node_.IsOf(who.tid, fd)) (void)Find(who, key, TraceMove::TAKEN);
}

void Descriptors::Forked(pid_t parent, pid_t child) {
  std::vector<std::pair<int, uint64_t>> inherited;
  for (auto at = files_of_.lower_bound({parent, INT32_MIN});
       at != files_of_.end() && at->first.first == parent; ++at)
    inherited.emplace_back(at->first.second, at->second);
  for (const auto& [fd, file] : inherited) Enter({child, fd}, file);
}

void Descriptors::Sweep(const Who& who) {
  std::vector<Key> gone;
  for (auto at = files_of_.lower_bound({who.tgid, INT32_MIN});
       at != files_of_.end() && at->first.first == who.tgid; ++at) {
    if (!node_.IsOf(who.tid, at->first.second)) gone.push_back(at->first);
  }
  for (const Key& key : gone) Drop(key, who.tid);
}

pid_t Descriptors::ThreadOf(pid_t tgid) const {
  const auto last = last_threads_.find(tgid);
  return last == last_threads_.end() ? tgid : last->second;
}

void Descriptors::ThreadEnded(const Who& who) {
  const auto last = last_threads_.find(who.tgid);
  if (last != last_threads_.end() && last->second == who.tid) last_threads_.erase(last);
}

void Descriptors::Ended(pid_t tgid) {
  std::vector<Key> gone;
  for (auto at = files_of_.lower_bound({tgid, INT32_MIN}); at != files_of_.end() && at->first.first == tgid;
       ++at)
    gone.push_back(at->first);
  for (const Key& key : gone) Drop(key, 0);
}

void Descriptors::Enter(const Key& key, uint64_t file) {
  files_of_[key] = file;
  files_.at(file).descriptors.insert(key);
}

void Descriptors::Drop(const Key& key, pid_t tid, std::vector<uint64_t>* keep) {
  const auto found = files_of_.find(key);
  if (found == files_of_.end()) return;
  const uint64_t file = found->second;
  files_of_.erase(found);
  Known& known = files_.at(file);
  known.descriptors.erase(key);
  if (!known.descriptors.empty()) return TellMove({tid, key.first}, TraceMove::CLOSED, file, key.second);
  if (keep != nullptr) return keep->push_back(file);
  Close(file, tid);
}

void Descriptors::Close(uint64_t file, pid_t tid) {
  TraceRecord record;
  record.set_pid(static_cast<uint32_t>(files_.at(file).opener));
  record.set_tid(static_cast<uint32_t>(tid));
  record.mutable_close()->set_file(file);
  files_.erase(file);
  tell_(record);
}

uint64_t Descriptors::TellOpen(const Who& who, int error) {
  TraceRecord record;
  record.set_pid(static_cast<uint32_t>(who.tgid));
  record.set_tid(static_cast<uint32_t>(who.tid));
  record.set_result(-error);
  record.mutable_open()->set_name(NameOf(who.tid));
  if (error == 0) {
    record.mutable_open()->set_file(++last_file_);
    files_[last_file_].opener = who.tgid;
  }
  tell_(record);
  return last_file_;
}

void Descriptors::TellMove(const Who& who, TraceMove::Change change, uint64_t file, int fd, int from) {
  TraceRecord record;
  record.set_pid(static_cast<uint32_t>(who.tgid));
  record.set_tid(static_cast<uint32_t>(who.tid));
  TraceMove& move = *record.mutable_moved();
  move.set_change(change);
  move.set_file(file);
  move.set_fd(fd);
  move.set_from_fd(from);
  tell_(record);
}

}  // namespace dxg::tracer
