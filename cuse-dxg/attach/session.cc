#include "cuse-dxg/attach/session.h"

#include <linux/fuse.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "cuse-dxg/attach/libfuse.h"

namespace dxg::attach {
namespace {

// Gets a worker out of its read(2) when the session stops. Ignored by default, so a stray one harms nobody.
constexpr int kWakeSignal = SIGURG;

void InstallWakeSignal() {
  struct sigaction wake = {};
  wake.sa_handler = [](int) {};  // and no SA_RESTART: read(2) has to return
  sigaction(kWakeSignal, &wake, nullptr);
}

void UnblockWakeSignal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, kWakeSignal);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

uint32_t OpcodeOf(const fuse_buf& buffer) {
  fuse_in_header header;
  std::memcpy(&header, buffer.mem, sizeof(header));  // libfuse has checked that there is a whole header
  return header.opcode;
}

// A release has to be complete before a later open is seen, so both are processed before anybody reads on.
bool IsInOrder(uint32_t opcode) {
  return opcode == FUSE_OPEN || opcode == FUSE_RELEASE || opcode == FUSE_INIT || opcode == CUSE_INIT;
}

}  // namespace

Result<std::unique_ptr<Session>> Session::Create(MakeFuse make) {
  std::unique_ptr<Session> session(new Session);
  session->ended_fd_ = UniqueFd(eventfd(0, EFD_CLOEXEC));
  if (!session->ended_fd_.valid())
    return Status::Refuse(errno, "no eventfd for the FUSE session: {}", std::strerror(errno));
  session->fuse_ = make(session.get());
  if (!session->fuse_)
    return Status::Refuse(ENOMEM, "libfuse refused to make a session (its message is above)");
  return session;
}

Session::~Session() {
  Stop();
  if (fuse_) fuse_session_destroy(fuse_);  // closes the connection
}

Status Session::Attach(UniqueFd connection) {
  // The documented way to give libfuse a connection that it did not open.
  const std::string name = fmt::format("/dev/fd/{}", connection.get());
  if (fuse_session_mount(fuse_, name.c_str()) != 0)
    return Status::Refuse(EBADF, "libfuse refused descriptor {} as a connection to the kernel",
                          connection.get());
  connection.release();
  return Status::Ok();
}

Status Session::Mount(const std::string& path) {
  if (fuse_session_mount(fuse_, path.c_str()) != 0)
    return Status::Refuse(
        EPERM, "cannot mount on {} (the reason is in the line of fusermount or mount above)", path);
  fcntl(fuse_session_fd(fuse_), F_SETFD, FD_CLOEXEC);
  return Status::Ok();
}

void Session::Unmount() { fuse_session_unmount(fuse_); }

void Session::Start(Node& node, int workers) {
  DXG_CHECK(workers >= 1 && workers <= kWorkersMax);
  DXG_CHECK(workers_.empty());
  InstallWakeSignal();
  node_ = &node;
  {
    MutexLock lock(mutex_);
    working_ = workers;
  }
  for (int i = 0; i < workers; ++i) workers_.emplace_back([this] { Work(); });
}

Status Session::WaitInitialized() {
  MutexLock lock(mutex_);
  while (!initialized_ && !ended_) changed_.Wait(mutex_);
  if (initialized_) return Status::Ok();
  return Status::Refuse(ENOTCONN, "the kernel closed the connection before the node was made");
}

void Session::Stop() {
  if (!fuse_) return;
  stopping_ = true;
  fuse_session_exit(fuse_);
  turn_.Stop();
  {
    // A signal sent between a worker's look at the exit flag and its read(2) is lost; so it is sent until all
    // are out.
    MutexLock lock(mutex_);
    while (working_ > 0) {
      WakeReader();
      changed_.WaitForNs(mutex_, 1'000'000);
    }
  }
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  interrupts_.Stop();
}

// A worker takes itself out of reader_ under mutex_ before it ends, so the thread that reader_ names exists.
void Session::WakeReader() {
  if (const pthread_t reader = reader_.load()) pthread_kill(reader, kWakeSignal);
}

void Session::Work() {
  UnblockWakeSignal();
  fuse_buf buffer = {};
  while (turn_.Take()) {
    if (!ProcessUntilTurnIsLost(buffer)) break;
  }
  std::free(buffer.mem);

  MutexLock lock(mutex_);
  pthread_t self = pthread_self();
  reader_.compare_exchange_strong(self, 0);
  --working_;
  changed_.NotifyAll();
}

// True: another worker reads now. False: the session is over.
bool Session::ProcessUntilTurnIsLost(fuse_buf& buffer) {
  for (;;) {
    reader_ = pthread_self();  // each time: Resume may have given the turn back after another worker had it
    const int bytes = fuse_session_receive_buf(fuse_, &buffer);
    if (stopping_) return false;
    if (bytes == -EINTR || bytes == -EAGAIN) continue;
    if (bytes <= 0) {
      Ended(-bytes);
      return false;
    }
    if (IsInOrder(OpcodeOf(buffer))) {
      fuse_session_process_buf(fuse_, &buffer);
      continue;
    }
    turn_.Offer();
    fuse_session_process_buf(fuse_, &buffer);
    if (!turn_.Resume()) return true;
  }
}

void Session::Ended(int error) {
  if (error) spdlog::error("reading from the kernel failed: {}; the node is gone", std::strerror(error));
  turn_.Stop();
  {
    MutexLock lock(mutex_);
    ended_ = true;
  }
  changed_.NotifyAll();
  const uint64_t one = 1;
  if (write(ended_fd_.get(), &one, sizeof(one)) != sizeof(one))
    spdlog::error("cannot report the end of the session");
}

void Session::HandleInitialized() {
  {
    MutexLock lock(mutex_);
    initialized_ = true;
  }
  changed_.NotifyAll();
}

// The kernel gives process ids as seen from the pid namespace in which the connection was made, and 0 for a
// process outside it. Serving such a client would mean to touch the memory of a process that we cannot name.
bool Session::IsStranger(fuse_req* request, Caller* caller) {
  const fuse_ctx* context = fuse_req_ctx(request);
  *caller = {.tid = context->pid, .uid = context->uid, .gid = context->gid};
  if (caller->tid != 0) return false;
  if (!stranger_reported_.exchange(true))
    spdlog::warn(
        "refused a client with EIO: it runs outside the pid namespace of this process, so its memory cannot "
        "be reached. Run cuse-dxg in the outer pid namespace, or inside the client's. (Reported once.)");
  fuse_reply_err(request, EIO);
  return true;
}

void Session::HandleOpen(fuse_req* request) {
  Caller caller;
  if (IsStranger(request, &caller)) return;
  node_->Open(std::make_unique<FuseOpenRequest>(*this, request, caller));
}

void Session::HandleRelease(fuse_req* request, const fuse_file_info& file) {
  node_->Release(file.fh);
  fuse_reply_err(request, 0);
}

void Session::HandlePoll(fuse_req* request, const fuse_file_info& file, fuse_pollhandle* waiter) {
  const uint32_t ready = node_->Poll(file.fh, waiter ? std::make_unique<FusePollWaiter>(waiter) : nullptr);
  fuse_reply_poll(request, ready);
}

void Session::HandleIoctl(fuse_req* request, const FuseIoctlRequest::Call& call) {
  Caller caller;
  if (IsStranger(request, &caller)) return;
  node_->Ioctl(std::make_unique<FuseIoctlRequest>(*this, request, caller, call));
}

}  // namespace dxg::attach
