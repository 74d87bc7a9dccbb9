#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/mutex.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "base/workers.h"
#include "cuse-dxg/attach/in_turn.h"
#include "cuse-dxg/attach/interrupts.h"
#include "cuse-dxg/attach/node.h"
#include "cuse-dxg/attach/node_mode.h"
#include "cuse-dxg/attach/requests.h"

struct fuse_session;
struct fuse_file_info;
struct fuse_buf;
struct fuse_pollhandle;

namespace dxg::attach {

// One connection to the kernel, CUSE or FUSE, and the workers that serve it.
//
//     kernel -> read by the worker whose turn it is -> libfuse decodes -> Handle... -> Node -> Answer, from
//     any thread
//
// The Node must be gone before the Session is: what it still holds unanswered is answered into the
// connection.
class Session {
 public:
  static constexpr int kWorkersDefault = 2;
  static constexpr int kWorkersMax = 64;

  // Makes the libfuse session whose operations call Handle... of the Session passed in.
  using MakeFuse = fuse_session* (*)(Session* session);
  static Result<std::unique_ptr<Session>> Create(MakeFuse make, const NodeMode& mode = {});
  ~Session();

  // Exactly one of these, before Start. `connection` is an open /dev/cuse, the /dev/fuse of a mount that
  // somebody has made, or one end of a socket pair where a test plays the kernel.
  Status Attach(UniqueFd connection);
  Status Mount(const std::string& path);
  // Closes the connection: each call that waits ends with an error. Where threads are still in requests of
  // it, nothing but the end of the process may follow.
  void Disconnect();

  // Starts the workers. `workers` is 1 to kWorkersMax: so many are kept, and there are more while requests
  // take long.
  Status Start(Node& node, int workers) DXG_EXCLUDES(mutex_);
  // Waits until the kernel has agreed to serve (INIT), or has hung up.
  Status WaitInitialized() DXG_EXCLUDES(mutex_);
  // No request reaches the Node any more once this has returned. Calls that still wait stay unanswered; their
  // clients get ECONNABORTED when the connection closes. Not from a worker.
  void Stop() DXG_EXCLUDES(mutex_);
  // Becomes readable when the kernel's side has ended by itself (unmounted, aborted).
  int ended_fd() const { return ended_fd_.get(); }

  Node& node() { return *node_; }
  Interrupts& interrupts() { return interrupts_; }
  const NodeMode& mode() const { return mode_; }

  // The session to which libfuse gives a request.
  static Session& Of(fuse_req* request);

  // Called by the operation tables in cuse.cc and fuse_file.cc.
  void HandleInitialized() DXG_EXCLUDES(mutex_);
  void HandleOpen(fuse_req* request);
  void HandleRelease(fuse_req* request, const fuse_file_info& file);
  void HandlePoll(fuse_req* request, const fuse_file_info& file, fuse_pollhandle* waiter);
  // `argument` is an address in the client, `flags` are FUSE_IOCTL_..., `in` is what the kernel has copied
  // in, and only valid now; `out_bytes_max` is what it would copy out.
  void HandleIoctl(fuse_req* request, const fuse_file_info& file, uint32_t code, const void* argument,
                   unsigned flags, std::span<const std::byte> in, size_t out_bytes_max);

 private:
  explicit Session(const NodeMode& mode) : mode_(mode) {}
  void Work() DXG_EXCLUDES(mutex_);
  bool ProcessUntilTurnIsLost(fuse_buf& buffer);
  enum class Read { kRequest, kNothing, kEnd };
  Read ReadOne(fuse_buf& buffer);
  bool NextRequest(fuse_buf& buffer, InTurn::Request& kept);
  bool Keep(const fuse_buf& buffer);
  bool MayBeMore();
  void WaitForRequests(bool wait);
  bool IsStranger(fuse_req* request, Caller* caller);
  void Ended(int error) DXG_EXCLUDES(mutex_);
  void WakeReader() DXG_EXCLUDES(mutex_);

  const NodeMode mode_;
  fuse_session* fuse_ = nullptr;
  Node* node_ = nullptr;
  Interrupts interrupts_;
  UniqueFd ended_fd_;

  Workers workers_;
  // Of the worker whose turn it is.
  InTurn in_turn_;
  bool waits_for_requests_ = true;     // the connection's read(2) waits until there is one
  uint32_t alone_ = 0;                 // requests since we looked whether the kernel has more
  std::atomic<pthread_t> reader_ = 0;  // 0: nobody reads
  std::atomic<bool> stranger_reported_ = false;

  Mutex mutex_;
  ConditionVariable changed_;
  bool initialized_ DXG_GUARDED_BY(mutex_) = false;
  bool ended_ DXG_GUARDED_BY(mutex_) = false;
};

}  // namespace dxg::attach
