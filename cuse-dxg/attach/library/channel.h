#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <unordered_set>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "cuse-dxg/attach/library/closer.h"
#include "cuse-dxg/attach/library/peer.h"
#include "cuse-dxg/attach/library/ring.h"
#include "cuse-dxg/attach/node.h"
#include "cuse-dxg/client/delivery.h"
#include "cuse-dxg/preload/node_protocol.h"

namespace dxg::attach::library {

// A call of a client's thread, from its message to its answer: what is to happen when the thread is
// interrupted or dies meanwhile.
struct Pending {
  uint32_t number = 0;
  uint32_t code = 0;
  uint64_t argument = 0;
  bool by_ring = false;  // how it came, and how its answer may go
  // The channel's mutex guards what follows.
  std::function<void()> interrupted;
  std::function<bool()> killed;
  bool was_interrupted = false;
  bool answered = false;
};

// What a thread is asked to do in the course of its call, one step after the other.
struct Errand {
  using Done = std::function<void(Result<std::vector<uint64_t>>)>;
  using Took = std::function<void(Result<UniqueFd>)>;
  std::vector<client::Step> steps;
  Done done;
  // Instead of steps: a copy of that descriptor of the client's, or of the one that its call is on.
  int take = 0;
  bool show = false;
  Took took;
  // Or bytes of the client's memory at `address`: to be sent here, or to be stored there.
  uint64_t address = 0;
  size_t bytes = 0;
  std::span<const std::byte> stored = {};  // stays until it is done
  std::function<void(Result<std::vector<std::byte>>)> copied;
  std::vector<uint64_t> results = {};
};

// The connection of one thread of a client. What comes from it is the client's word: who it is, is the
// kernel's. It is never waited for: where its socket has no room, it does not read, which the library always
// does, and it is let go.
class Channel {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kLately{1};
  using Jobs = std::vector<std::function<void()>>;  // to be run without the lock
  // Makes the open file that a kGiveNode gives: the client's end, and the file's number.
  using MakeNode = std::function<Result<std::pair<UniqueFd, uint64_t>>(const client::Step& step)>;

  // `who` has connected, which is `peer`.
  Channel(UniqueFd socket, uint64_t number, const ucred& who, std::shared_ptr<Peer> peer,
          std::shared_ptr<Closer> closer)
      : socket_(std::move(socket)),
        number_(number),
        who_(who),
        peer_(std::move(peer)),
        closer_(std::move(closer)) {}
  // What the client has sent and nobody has read goes with the socket.
  ~Channel() { closer_->Close(whose(), std::move(socket_)); }
  // Before it is used.
  void set_make_node(MakeNode make_node) { make_node_ = std::move(make_node); }

  int socket() const { return socket_.get(); }
  uint64_t number() const { return number_; }
  const std::shared_ptr<Peer>& peer() const { return peer_; }
  // Whether its thread is there, which it may not be any more.
  bool IsThere() {
    const bool is_there = peer_->HasThread(tid_);
    seen_ = is_there ? Clock::now() : Clock::time_point();
    return is_there;
  }
  // Whether it was, so lately that its number cannot be another's: that comes again after all the others.
  bool WasThere() const { return Clock::now() - seen_.load() < kLately; }
  // 0 until it has said hello.
  pid_t tid() const { return tid_; }
  void set_tid(pid_t tid) { tid_ = tid; }
  // Whose the files are that come here.
  Closer::Whose whose() const {
    return {.process = tid_ != 0 ? peer_->start_time() << 22 | static_cast<uint64_t>(peer_->process()) : 0,
            .user = peer_->user()};
  }
  Closer& closer() const { return *closer_; }
  // Null: it has none.
  Ring* ring() const { return ring_; }
  // The answer to kRing, once: with one, or without for that reason (an errno).
  void GiveRing(std::unique_ptr<Ring> ring, int error) DXG_EXCLUDES(mutex_);
  Caller caller() const { return {.tid = tid_, .uid = who_.uid, .gid = who_.gid}; }

  // Files that this connection has shown the descriptor of.
  bool Has(uint64_t file) DXG_EXCLUDES(mutex_);
  void Admit(uint64_t file) DXG_EXCLUDES(mutex_);

  // A call begins. Null: another one is under way.
  std::shared_ptr<Pending> Begin(uint32_t number, uint32_t code = 0, uint64_t argument = 0,
                                 bool by_ring = false) DXG_EXCLUDES(mutex_);
  std::shared_ptr<Pending> current() DXG_EXCLUDES(mutex_);
  // Whether its thread waits in that call. The last call of a thread that has ended has its answer, and the
  // thread's number may be another's by now.
  bool WaitsIn(uint32_t code, uint64_t argument) DXG_EXCLUDES(mutex_);
  // It ends: its answer is sent, and what it waited with is dropped. False: it was answered before.
  bool Answer(Pending& call, const preload::node::Told& told, std::span<const std::byte> out, int file)
      DXG_EXCLUDES(mutex_);

  void Ask(Errand errand) DXG_EXCLUDES(mutex_);
  // The answer to what was asked last. False: nobody has asked, or the answer makes no sense.
  bool Done(const preload::node::Said& said, std::span<const std::byte> extra, ClientFiles& files, Jobs* jobs)
      DXG_EXCLUDES(mutex_);
  // The one of that number has had a signal.
  void Interrupt(uint32_t number) DXG_EXCLUDES(mutex_);
  // The thread is dead, or cannot be answered any more. True: its call has heard it, or has ended.
  bool Kill(Pending& call) DXG_EXCLUDES(mutex_);
  // What the call is to do then. True: it had a signal before.
  bool OnInterrupt(Pending& call, std::function<void()> interrupted) DXG_EXCLUDES(mutex_);
  void OnKilled(Pending& call, std::function<bool()> killed) DXG_EXCLUDES(mutex_);
  // The client's end is closed, or the channel is to be closed. What is under way ends with `why`.
  void End(const Status& why, Jobs* jobs) DXG_EXCLUDES(mutex_);
  void HangUp();

 private:
  bool SendStep(Jobs* jobs) DXG_REQUIRES(mutex_);
  bool SendCopy(const Errand& errand) DXG_REQUIRES(mutex_);
  bool Send(const preload::node::Told& told, std::span<const std::byte> out, int file) DXG_REQUIRES(mutex_);
  bool SendFiles(const preload::node::Told& told, std::span<const std::byte> out, std::span<const int> files)
      DXG_REQUIRES(mutex_);
  void Fail(const Status& why, Jobs* jobs) DXG_REQUIRES(mutex_);
  void FinishStep(Result<uint64_t> result, Jobs* jobs) DXG_REQUIRES(mutex_);

  UniqueFd socket_;  // as long as it lives
  const uint64_t number_;
  const ucred who_;
  const std::shared_ptr<Peer> peer_;
  const std::shared_ptr<Closer> closer_;
  MakeNode make_node_;
  std::atomic<Clock::time_point> seen_ = Clock::time_point();
  std::atomic<Ring*> ring_ = nullptr;  // kept_ring_, from GiveRing on
  std::atomic<pid_t> tid_ = 0;         // set before anybody else knows the channel

  Mutex mutex_;
  std::unique_ptr<Ring> kept_ring_ DXG_GUARDED_BY(mutex_);
  std::unordered_set<uint64_t> files_ DXG_GUARDED_BY(mutex_);
  std::shared_ptr<Pending> current_ DXG_GUARDED_BY(mutex_);
  std::deque<Errand> errands_ DXG_GUARDED_BY(mutex_);
  uint32_t asked_ DXG_GUARDED_BY(mutex_) = 0;
  bool waits_ DXG_GUARDED_BY(mutex_) = false;  // for the client, which was asked for something
  bool again_ DXG_GUARDED_BY(mutex_) = false;  // the step was sent a second time
  bool ended_ DXG_GUARDED_BY(mutex_) = false;
};

}  // namespace dxg::attach::library
