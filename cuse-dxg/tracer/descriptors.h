#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/dxg/trace.pb.h"

namespace dxg::tracer {

// The node that a recording is of, as descriptors of it are told from others.
class NodePath {
 public:
  explicit NodePath(std::string path) : path_(std::move(path)) {}
  const std::string& path() const { return path_; }
  // Whether that name may lead to it: links of other names are found when they are used.
  bool HasNameOf(std::string_view path) const;
  // Whether that descriptor of the thread is of the node, under whatever name it was opened there.
  bool IsOf(pid_t tid, int fd) const;

 private:
  const std::string path_;
};

// Which open description of the node each descriptor of each process is. Opens and duplicates are told by the
// program's stops. What no stop tells is found when a descriptor is looked at: that it was closed, or came
// over a socket. Two descriptors are compared by kcmp(2), which needs no stop.
class Descriptors {
 public:
  // What was found, to be recorded before whatever the caller records next.
  using Tell = std::function<void(TraceRecord&)>;
  Descriptors(std::string node, Tell tell) : node_(std::move(node)), tell_(std::move(tell)) {}

  // A thread, and the process that it belongs to.
  struct Who {
    pid_t tid, tgid;
  };
  // The open description: its number, and the process that opened it. 0: it is not of the node.
  struct File {
    uint64_t number = 0;
    pid_t opener = 0;
  };
  File Of(const Who& who, int fd);

  bool MayBeNode(std::string_view path) const { return node_.HasNameOf(path); }
  // open() has returned.
  void Opened(const Who& who, int fd);
  void OpenRefused(const Who& who, const std::string& path, int error);
  // dup() and its kin have returned.
  void Duplicated(const Who& who, int from, int fd);
  // pidfd_getfd() has returned.
  void Taken(const Who& who, int fd);
  bool Has(const Who& who, int fd) const { return files_of_.contains({who.tgid, fd}); }

  void Forked(pid_t parent, pid_t child);
  // Finds out which descriptors of the process are left: after an exec, before an open.
  void Sweep(const Who& who);
  void ThreadEnded(const Who& who);
  void Ended(pid_t tgid);

 private:
  using Key = std::pair<pid_t, int>;  // a process, and its descriptor
  struct Known {
    pid_t opener;
    std::set<Key> descriptors;
  };

  // A thread of that process that lives, as far as is known: the first one may have ended before the others.
  pid_t ThreadOf(pid_t tgid) const;
  void Enter(const Key& key, uint64_t file);
  // The descriptor is another one, or none. Where it was the last of its description, that is closed, unless
  // it is in `keep`: it may be on its way.
  void Drop(const Key& key, pid_t tid, std::vector<uint64_t>* keep = nullptr);
  void Close(uint64_t file, pid_t tid);
  uint64_t Find(const Who& who, const Key& key, TraceMove::Change how);
  uint64_t TellOpen(const Who& who, int error);
  void TellMove(const Who& who, TraceMove::Change change, uint64_t file, int fd, int from = 0);

  const NodePath node_;
  const Tell tell_;
  std::map<Key, uint64_t> files_of_;
  std::map<uint64_t, Known> files_;
  std::map<pid_t, pid_t> last_threads_;  // of each process: who was looked at last
  uint64_t last_file_ = 0;
};

}  // namespace dxg::tracer
