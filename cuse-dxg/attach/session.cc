#include "cuse-dxg/attach/session.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "base/wake_signal.h"
#include "cuse-dxg/attach/libfuse.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
// libfuse frees the path of a mount only where it unmounts it, which whoever has the right does here.
// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name for it
extern "C" const char* __lsan_default_suppressions() { return "leak:fuse_session_mount\n"; }
#endif
#endif

namespace dxg::attach {
namespace {

template <class Header>
Header HeaderOf(std::span<const std::byte> request, size_t offset) {
  Header header;
  std::memcpy(&header, request.data() + offset, sizeof(header));
  return header;
}

uint32_t OpcodeOf(const fuse_buf& buffer) {
  fuse_in_header header;
  std::memcpy(&header, buffer.mem, sizeof(header));  // libfuse has checked that there is a whole header
  return header.opcode;
}

// A release has to be complete before a later open is seen, so both are processed before anybody reads on.
// Signals are for requests that may be waiting for their turn, and nobody waits for an answer to the rest.
bool IsInOrder(uint32_t opcode) {
  switch (opcode) {
    case FUSE_OPEN:
    case FUSE_RELEASE:
    case FUSE_INIT:
    case CUSE_INIT:
    case FUSE_INTERRUPT:
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_DESTROY:
      return true;
    default:
      return false;
  }
}

// Null where there is no memory for it: the kernel is told so.
template <class Made, class... Arguments>
std::unique_ptr<Made> MakeFor(fuse_req* request, Arguments&&... arguments) {
  try {
    return std::make_unique<Made>(std::forward<Arguments>(arguments)...);
  } catch (const std::bad_alloc&) {
    fuse_reply_err(request, ENOMEM);
    return nullptr;
  }
}

}  // namespace

Result<std::unique_ptr<Session>> Session::Create(MakeFuse make, const NodeMode& mode) {
  std::unique_ptr<Session> session(new Session(mode));
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

void Session::Disconnect() {
  if (fuse_session_fd(fuse_) < 0) return;
  // The number stays taken: threads that come back still answer to it.
  const UniqueFd nothing(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (dup3(nothing.get(), fuse_session_fd(fuse_), O_CLOEXEC) < 0) close(fuse_session_fd(fuse_));
}

Status Session::Start(Node& node, int workers) {
  DXG_CHECK(workers >= 1 && workers <= kWorkersMax);
  InstallWakeSignal();
  node_ = &node;
  if (workers_.Start(workers, [this] { Work(); })) return Status::Ok();
  return Status::Refuse(EAGAIN, "no thread can be had to serve the node (ulimit -u, or the machine's limit)");
}

Status Session::WaitInitialized() {
  MutexLock lock(mutex_);
  while (!initialized_ && !ended_) changed_.Wait(mutex_);
  if (initialized_) return Status::Ok();
  return Status::Refuse(ENOTCONN, "the kernel closed the connection before the node was made");
}

void Session::Stop() {
  if (!fuse_) return;
  workers_.Stop();
  fuse_session_exit(fuse_);
  // A signal sent between a worker's look at the exit flag and its read(2) is lost; so it is sent until all
  // are out.
  do {
    WakeReader();
  } while (!workers_.WaitEndedForNs(1'000'000));
  workers_.Join();
  interrupts_.Stop();
}

// A worker takes itself out of reader_ under mutex_ before it ends, so the thread that reader_ names exists.
void Session::WakeReader() {
  MutexLock lock(mutex_);
  if (const pthread_t reader = reader_.load()) pthread_kill(reader, WakeSignal());
}

void Session::Work() {
  UnblockWakeSignal();
  fuse_buf buffer = {};
  workers_.Serve([this, &buffer] {
    // Where another worker had the turn, that one's request takes long.
    node_->LookAtLongRequests();
    return ProcessUntilTurnIsLost(buffer);
  });
  std::free(buffer.mem);

  MutexLock lock(mutex_);
  pthread_t self = pthread_self();
  reader_.compare_exchange_strong(self, 0);
}

// True: another worker reads now. False: the session is over.
bool Session::ProcessUntilTurnIsLost(fuse_buf& buffer) {
  for (InTurn::Request kept;; kept.clear()) {
    reader_ = pthread_self();  // each time: Resume may have given the turn back after another worker had it
    if (!NextRequest(buffer, kept)) return false;
    fuse_buf taken = {};
    taken.size = kept.size();
    taken.mem = kept.data();
    workers_.turn().Offer();
    fuse_session_process_buf(fuse_, kept.empty() ? &buffer : &taken);
    if (!workers_.turn().Resume()) return true;
  }
}

// The next one to be processed without the turn, in `kept` or, if that stays empty, in `buffer`. Where the
// kernel has several, many are taken from it first, and then processed in turn. False: the session is over.
bool Session::NextRequest(fuse_buf& buffer, InTurn::Request& kept) {
  // While somebody waits for his turn, no more than this is read: others may ask without end meanwhile. What
  // is processed here, because it is in order, counts for several.
  constexpr int kReadsMax = 256, kReadsOfOneInOrder = 32;
  for (int reads = 0;; ++reads) {
    if (in_turn_.empty() || (!in_turn_.full() && reads < kReadsMax)) {
      const Read read = ReadOne(buffer);
      if (read == Read::kEnd) return false;
      if (read == Read::kRequest) {
        const uint32_t opcode = OpcodeOf(buffer);
        if (IsInOrder(opcode)) {
          fuse_session_process_buf(fuse_, &buffer);
          reads += kReadsOfOneInOrder;
        } else if ((in_turn_.empty() && !MayBeMore()) || !Keep(buffer)) {
          return true;
        }
        continue;
      }
    }
    if (!in_turn_.empty()) {
      kept = in_turn_.Take();
      return true;
    }
    WaitForRequests(true);
  }
}

Session::Read Session::ReadOne(fuse_buf& buffer) {
  for (;;) {
    if (workers_.stopping()) return Read::kEnd;
    const int bytes = fuse_session_receive_buf(fuse_, &buffer);
    if (workers_.stopping()) return Read::kEnd;
    if (bytes > 0) return Read::kRequest;
    if (bytes == -EAGAIN && !waits_for_requests_) return Read::kNothing;
    if (bytes == -EINTR || bytes == -EAGAIN) continue;
    Ended(-bytes);
    return Read::kEnd;
  }
}

// A look costs a system call, so who is alone is looked at now and then only.
bool Session::MayBeMore() {
  constexpr uint32_t kLookAtEach = 8;
  if (alone_++ % kLookAtEach != 0) return false;
  pollfd connection = {fuse_session_fd(fuse_), POLLIN, 0};
  if (poll(&connection, 1, 0) != 1 || connection.revents != POLLIN) return false;
  alone_ = 0;
  if (waits_for_requests_)
    WaitForRequests(false);  // a request that poll has seen may be gone: its client was killed
  return !waits_for_requests_;
}

void Session::WaitForRequests(bool wait) {
  const int connection = fuse_session_fd(fuse_);
  const int flags = fcntl(connection, F_GETFL);
  if (flags < 0 || fcntl(connection, F_SETFL, wait ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) != 0) return;
  waits_for_requests_ = wait;
}

// False: it is to be processed now.
bool Session::Keep(const fuse_buf& buffer) {
  // Safety: libfuse has read so many bytes to there.
  const std::span<const std::byte> request(static_cast<const std::byte*>(buffer.mem), buffer.size);
  const auto header = HeaderOf<fuse_in_header>(request, 0);
  uint64_t process = header.pid;  // of a thread, where the node cannot say
  if (header.opcode == FUSE_IOCTL && request.size() >= sizeof(header) + sizeof(fuse_ioctl_in))
    process = node_->ProcessOf(HeaderOf<fuse_ioctl_in>(request, sizeof(header)).fh);
  return in_turn_.Add(header.uid, process, request);
}

void Session::Ended(int error) {
  if (error) spdlog::error("reading from the kernel failed: {}; the node is gone", std::strerror(error));
  workers_.turn().Stop();
  {
    MutexLock lock(mutex_);
    ended_ = true;
  }
  changed_.NotifyAll();
  const uint64_t one = 1;
  if (write(ended_fd_.get(), &one, sizeof(one)) != sizeof(one))
    spdlog::error("cannot report the end of the session");
}

Session& Session::Of(fuse_req* request) { return *static_cast<Session*>(fuse_req_userdata(request)); }

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
  if (auto open = MakeFor<FuseOpenRequest>(request, *this, request, caller)) node_->Open(std::move(open));
}

void Session::HandleRelease(fuse_req* request, const fuse_file_info& file) {
  node_->Release(file.fh);
  fuse_reply_err(request, 0);
}

void Session::HandlePoll(fuse_req* request, const fuse_file_info& file, fuse_pollhandle* waiter) {
  std::unique_ptr<FusePollWaiter> sleeps;
  if (waiter != nullptr && !(sleeps = MakeFor<FusePollWaiter>(request, waiter)))
    return fuse_pollhandle_destroy(waiter);
  fuse_reply_poll(request, node_->Poll(file.fh, std::move(sleeps)));
}

void Session::HandleIoctl(fuse_req* request, const fuse_file_info& file, uint32_t code, const void* argument,
                          unsigned flags, std::span<const std::byte> in, size_t out_bytes_max) {
  Caller caller;
  if (IsStranger(request, &caller)) return;
  const FuseIoctlRequest::Call call = {.file = file.fh,
                                       .code = code,
                                       // Safety: an address in the client, never followed here.
                                       .argument = reinterpret_cast<uintptr_t>(argument),
                                       .kernel_copies = (flags & FUSE_IOCTL_UNRESTRICTED) == 0,
                                       .in = in,
                                       .out_bytes_max = out_bytes_max};
  if (auto ioctl = MakeFor<FuseIoctlRequest>(request, *this, request, caller, call))
    node_->Ioctl(std::move(ioctl));
}

}  // namespace dxg::attach
