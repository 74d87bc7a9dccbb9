#pragma once

#include <sys/epoll.h>
#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "base/unix_socket.h"
#include "base/workers.h"
#include "cuse-dxg/attach/library/awake_rings.h"
#include "cuse-dxg/attach/library/channel.h"
#include "cuse-dxg/attach/node.h"
#include "cuse-dxg/client/credentials.h"
#include "cuse-dxg/client/delivery.h"

namespace dxg::attach::library {

// How many open files there may be: as a process's and a user's files in the guest (guest/account.h). Each of
// them costs a descriptor here.
struct FileLimits {
  size_t of_process = 4096;
  size_t of_user = 16384;
  size_t of_all = 0;  // 0: half of the descriptors that we may have
};

// The way for clients to meet us where no node can be made: a library in each of them takes their calls of
// /dev/dxg and says them here (preload/node_protocol.h). What the kernel does of a device file, this does: it
// knows which descriptor leads to which open file, by the other end of a socket pair; reports the last close
// as Release, before any later Open; and passes signals on.
//
//     client's thread --- connection ---> reader -> Channel -> LibraryCall -> Node -> Answer, from any thread
//     client's descriptor --- socket pair ---> reader: the last copy is closed -> Release
//
// The Node must be gone before the Session is.
class LibrarySession {
 public:
  static Result<std::unique_ptr<LibrarySession>> Create(FileLimits files = {});
  ~LibrarySession();

  // For the environment of programs: preload::node::kVariable's value.
  const std::string& place() const { return place_; }

  // Serves whoever connects, with so many workers and more while requests take long.
  Status Start(Node& node, int workers) DXG_EXCLUDES(mutex_);
  // No request reaches the Node any more once this has returned. Calls that still wait end when this object
  // does, with ECONNABORTED. Not from a worker.
  void Stop() DXG_EXCLUDES(mutex_);

  // Clients' memory: by the system calls for that where they work, else carried by the client's own thread.
  std::unique_ptr<client::Access> MakeAccess();
  // The way into clients: their own threads do what is asked, at the end of their calls. It may outlive the
  // session's Stop, not the session.
  std::unique_ptr<client::Delivery> MakeDelivery();

 private:
  friend class LibraryDelivery;
  friend class LibraryMemory;
  friend class LibraryOpen;
  friend class LibraryCall;
  friend class FileWaiter;

  static constexpr size_t kStrangersClosedMax = 64;        // sockets
  static constexpr std::chrono::milliseconds kPause{100};  // without a descriptor for who connects

  // An open file of the node. A client names it by its number.
  struct File {
    uint64_t number = 0;
    UniqueFd end;         // hangs up when the client's end has no descriptor any more
    uint64_t cookie = 0;  // of the client's end: the kernel's number of that socket
    uint64_t file = 0;    // the Node's name for it
    Closer::Whose whose;  // of who has opened it
    std::shared_ptr<Peer> opener;
    int calls = 0;
    bool closed = false;
  };
  // What counts for a user.
  struct User {
    size_t connections = 0, files = 0, rings = 0;
  };
  // Calls under way of a thread.
  struct Calls {
    std::shared_ptr<Peer> of;
    uid_t user = 0;  // whose the connection was when it was made
    int count = 0;
  };
  using FilePtr = std::shared_ptr<File>;
  using ChannelPtr = std::shared_ptr<Channel>;
  using Job = std::function<void()>;
  static constexpr uint64_t kFirstNumber = 16;   // of channels; below are our own descriptors'
  static constexpr uint64_t kBell = 1ull << 63;  // of a channel's bell: beside its number

  LibrarySession() = default;
  Status Listen();

  // -- The reader
  bool ServeUntilTurnIsLost() DXG_EXCLUDES(mutex_);
  // Something to be done without the turn; null: the session is over.
  Job Next() DXG_EXCLUDES(mutex_);
  Job Accept() DXG_EXCLUDES(mutex_);
  // Nobody who connects is heard until somebody has looked again.
  void StopListening();
  Job Read(uint64_t number) DXG_EXCLUDES(mutex_);
  // What waits on the rings at which we look ourselves, after a glance at them.
  Job NextOnRings() DXG_EXCLUDES(mutex_);
  // The next event, or none within that time. What was put on rings before it has happened comes first.
  std::optional<epoll_event> NextEvent(int patience, Job* first) DXG_EXCLUDES(mutex_);
  // The call on a channel's ring, if there is one.
  Job TakeCall(const ChannelPtr& channel) DXG_EXCLUDES(mutex_);
  Job GiveRing(const ChannelPtr& channel) DXG_EXCLUDES(mutex_);
  bool MayHaveRing(const Peer& peer) DXG_REQUIRES(mutex_);
  ChannelPtr FindChannel(uint64_t number) DXG_EXCLUDES(mutex_);
  // Reads what one connection says, beside the reader: for whoever waits for it.
  void Pump(const ChannelPtr& channel) DXG_EXCLUDES(mutex_);
  Job Handle(const ChannelPtr& channel, std::span<const std::byte> message, ClientFiles files)
      DXG_EXCLUDES(mutex_);
  // None: what was said makes no sense.
  std::optional<Job> HandleIoctl(const ChannelPtr& channel, const preload::node::Said& said,
                                 std::span<const std::byte> in, bool by_ring = false) DXG_EXCLUDES(mutex_);
  Job EndChannel(const ChannelPtr& channel) DXG_EXCLUDES(mutex_);
  // Null: it may speak from now on.
  Job Hello(const ChannelPtr& channel, const preload::node::Said& said) DXG_EXCLUDES(mutex_);
  // False: it may not.
  bool Welcome(const ChannelPtr& channel, pid_t tid) DXG_EXCLUDES(mutex_);
  Result<std::shared_ptr<Peer>> FindPeer(const UnixPeer& who) DXG_EXCLUDES(mutex_);
  bool MayConnect(const Peer& peer) DXG_REQUIRES(mutex_);
  // Who is to go where one more has connected that has not said hello.
  ChannelPtr OneNewcomerTooMany(uid_t user) DXG_REQUIRES(mutex_);
  void Open(const ChannelPtr& channel, uint32_t number) DXG_EXCLUDES(mutex_);

  // -- Open files
  // A new one, and the client's end of it. EMFILE: it is one too many, or there are no descriptors left.
  Result<std::pair<UniqueFd, uint64_t>> AddFile(uint64_t file, const Channel& channel) DXG_EXCLUDES(mutex_);
  Result<std::pair<UniqueFd, uint64_t>> OpenFor(const Channel& channel, const client::Step& step);
  // It stays open until EndCallOf; null: there is none of that number.
  FilePtr BeginCallOf(uint64_t number) DXG_EXCLUDES(mutex_);
  FilePtr FindByCookie(int descriptor) DXG_EXCLUDES(mutex_);
  // Whether the opener may have all that it has now.
  bool HasRoom(const Peer& opener) DXG_REQUIRES(mutex_);
  uint64_t NewFileNumber() DXG_REQUIRES(mutex_);
  void LookAtReadiness(uint64_t number) DXG_EXCLUDES(mutex_);
  // Whose last descriptor is closed. Before each Open.
  void ReleaseClosed() DXG_EXCLUDES(mutex_);
  void EndCallOf(const FilePtr& file) DXG_EXCLUDES(mutex_);

  // -- Calls
  // Who reaches into a thread of a client asks these first. A client's thread need not stand in its call: it
  // may have executed a program that has more rights than it had, and another process says its calls.
  //
  // Whether it has a call under way, is there still, and the kernel looks at its rights whenever we reach
  // into it, or there are none that it could gain.
  bool MayReach(pid_t tid) DXG_EXCLUDES(mutex_);
  // Whether it has a call under way, is there still, and has no more rights than whoever has connected: of an
  // address space that was opened before, which stays the same whatever it executes then.
  bool HasItsOwnRights(pid_t tid) DXG_EXCLUDES(mutex_);
  // As which user and in which groups it has connected; none if it has no call under way.
  std::optional<client::Credentials> CredentialsOf(pid_t tid) DXG_EXCLUDES(mutex_);
  std::optional<Calls> CallsOf(pid_t tid) DXG_EXCLUDES(mutex_);
  void BeginCallBy(const Channel& channel) DXG_EXCLUDES(mutex_);
  void EndCallBy(const Channel& channel) DXG_EXCLUDES(mutex_);
  ChannelPtr FindCaller(const client::Waiting& at) DXG_EXCLUDES(mutex_);
  // The same by the thread alone, which has one call at a time but for handlers of signals in a call.
  std::vector<ChannelPtr> CallersOf(pid_t tid) DXG_EXCLUDES(mutex_);
  // Runs on the reader, soon.
  void Post(Job job) DXG_EXCLUDES(mutex_);
  void Wake();
  void TellDying() DXG_EXCLUDES(mutex_);

  const std::shared_ptr<Closer> closer_ = std::make_shared<Closer>();
  size_t connections_max_ = 0, rings_max_ = 0;
  bool passes_rights_ = false;  // the kernel lets us reach into whomever
  FileLimits files_max_;
  std::string place_, secret_;
  UniqueFd listener_, epoll_, closings_, wake_;
  Node* node_ = nullptr;
  Workers workers_;
  bool listens_ = true;                                        // of the reader
  std::chrono::steady_clock::time_point listen_at_, look_at_;  // the same: the next times to do so
  int closings_put_off_ = 0;                                   // the same
  std::vector<std::byte> message_;                             // the same
  AwakeRings awake_;                                           // the same
  int calls_of_awake_ = 0;                                     // the same: since somebody else was looked at
  std::optional<epoll_event> put_off_;                         // the same: what comes after calls on rings
  int put_offs_ = 0;                                           // the same

  Mutex mutex_;
  uint64_t last_number_ DXG_GUARDED_BY(mutex_) = 0;  // of channels
  std::unordered_map<uint64_t, ChannelPtr> channels_ DXG_GUARDED_BY(mutex_);
  std::multimap<pid_t, ChannelPtr> by_tid_ DXG_GUARDED_BY(mutex_);
  std::unordered_map<uint64_t, FilePtr> files_ DXG_GUARDED_BY(mutex_);
  std::unordered_map<uint64_t, FilePtr> by_cookie_ DXG_GUARDED_BY(mutex_);
  std::vector<FilePtr> to_release_ DXG_GUARDED_BY(mutex_);
  std::map<uint64_t, ChannelPtr> newcomers_ DXG_GUARDED_BY(mutex_);  // who have not said hello
  std::unordered_map<pid_t, std::weak_ptr<Peer>> peers_ DXG_GUARDED_BY(mutex_);
  std::unordered_map<uid_t, User> users_ DXG_GUARDED_BY(mutex_);
  std::unordered_map<pid_t, Calls> calls_by_tid_ DXG_GUARDED_BY(mutex_);
  size_t open_files_ DXG_GUARDED_BY(mutex_) = 0, rings_ DXG_GUARDED_BY(mutex_) = 0;
  std::list<Job> posted_ DXG_GUARDED_BY(mutex_);
  // Callers that died in a call, until that has heard it.
  std::list<std::pair<ChannelPtr, std::shared_ptr<Pending>>> dying_ DXG_GUARDED_BY(mutex_);
};

}  // namespace dxg::attach::library
