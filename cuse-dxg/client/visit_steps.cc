#include "cuse-dxg/client/visit_steps.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/kcmp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/page.h"
#include "base/status.h"
#include "cuse-dxg/client/event_file.h"
#include "cuse-dxg/client/process_vm.h"

namespace dxg::client {
namespace {

constexpr unsigned kPidfdThread = O_EXCL;  // PIDFD_THREAD, Linux 6.9; the headers may be older

// Safety: only the client follows it.
void* Remote(uint64_t address) { return reinterpret_cast<void*>(address); }

template <typename T>
bool ReadFrom(pid_t tid, uint64_t address, T* into) {
  return ProcessVm().Read(tid, address, std::as_writable_bytes(std::span(into, 1)));
}

template <typename T>
bool WriteTo(pid_t tid, uint64_t address, const T& from) {
  return ProcessVm().Write(tid, address, std::as_bytes(std::span(&from, 1)));
}

// By the leader of the group, where the kernel cannot name a thread: right only while the two share one
// table.
Result<UniqueFd> CopyByLeader(pid_t tid, pid_t tgid, int descriptor) {
  const Status own =
      Status::Refuse(EIO, "thread {} has descriptors of its own, and to copy one needs Linux 6.9", tid);
  // Before the copy: where the tables are one now, the thread waits and cannot part with it meanwhile.
  if (syscall(SYS_kcmp, tid, tgid, KCMP_FILES, 0, 0) > 0) return own;
  UniqueFd leader(static_cast<int>(syscall(SYS_pidfd_open, tgid, 0)));
  UniqueFd copy(leader.valid() ? static_cast<int>(syscall(SYS_pidfd_getfd, leader.get(), descriptor, 0))
                               : -1);
  if (!copy.valid())
    return Status::Refuse(
        errno == EBADF ? EBADF : EIO,
        "cannot copy descriptor {} of thread {}: {} (where the main thread has ended, this needs Linux 6.9)",
        descriptor, tid, std::strerror(errno));
  // A kernel without kcmp: the numbers at least mean the same inode, and of the one inode of all eventfds the
  // same eventfd. Asks no file system for news, which may be one that never answers.
  struct statx ours, theirs;
  const std::string theirs_path = fmt::format("/proc/{}/fd/{}", tid, descriptor);
  if (statx(copy.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &ours) != 0 ||
      statx(AT_FDCWD, theirs_path.c_str(), AT_STATX_DONT_SYNC, STATX_INO, &theirs) != 0 ||
      ours.stx_dev_major != theirs.stx_dev_major || ours.stx_dev_minor != theirs.stx_dev_minor ||
      ours.stx_ino != theirs.stx_ino)
    return own;
  if (EventFileId(fmt::format("/proc/self/fdinfo/{}", copy.get())) !=
      EventFileId(fmt::format("/proc/{}/fdinfo/{}", tid, descriptor)))
    return own;
  return copy;
}

// Whether the client has opened it, and it is of a kind that a node is. Says nothing of whose it is.
bool CanBeANode(int file) {
  struct statx info;
  const int flags = fcntl(file, F_GETFL);
  return flags >= 0 && (flags & O_PATH) == 0 &&
         statx(file, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &info) == 0 &&
         (S_ISCHR(info.stx_mode) || S_ISREG(info.stx_mode));
}

}  // namespace

// As it lies in the client's page. One write before a recvmsg, one read after it.
struct VisitSteps::Page {
  int sockets[2];
  msghdr header;
  iovec data;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  char byte;
  rlimit limit_to_be, limit;
};

Result<UniqueFd> CopyOf(pid_t tid, pid_t tgid, int descriptor) {
  UniqueFd thread(static_cast<int>(syscall(SYS_pidfd_open, tid, kPidfdThread)));
  if (!thread.valid()) return CopyByLeader(tid, tgid, descriptor);
  UniqueFd copy(static_cast<int>(syscall(SYS_pidfd_getfd, thread.get(), descriptor, 0)));
  if (!copy.valid())
    return Status::Refuse(errno, "cannot copy descriptor {} of thread {}: {}", descriptor, tid,
                          std::strerror(errno));
  return copy;
}

Status WhyNotTaken(const Status& why) {
  switch (-why.value()) {
    case EINTR:
      return why;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return Status::Refuse(ENOMEM, "{}", why.why());
    default:
      return Status::Refuse(EINVAL, "{}", why.why());
  }
}

Result<injector::NodeIdentity> IdentityOf(int file) {
  struct statx info;
  if (statx(file, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &info) != 0)
    return Status::Refuse(errno, "statx failed: {}", std::strerror(errno));
  if (S_ISCHR(info.stx_mode))
    return injector::NodeIdentity{makedev(info.stx_rdev_major, info.stx_rdev_minor), 0};
  return injector::NodeIdentity{makedev(info.stx_dev_major, info.stx_dev_minor), info.stx_ino};
}

Result<uint64_t> VisitSteps::Call(const char* what, long number, const Tracee::Arguments& arguments) {
  DXG_ASSIGN(const int64_t result, tracee_.Call(number, arguments));
  if (result < 0 && result >= -kErrnoMax)
    return Status::Refuse(static_cast<int>(-result), "{} in the client failed: {}", what,
                          std::strerror(static_cast<int>(-result)));
  return static_cast<uint64_t>(result);
}

Result<std::vector<uint64_t>> VisitSteps::Do(std::span<const injector::WireStep> steps,
                                             std::vector<UniqueFd> files) {
  std::vector<uint64_t> results;
  size_t next_file = 0;
  Status status;
  DXG_TRY(tracee_.BeginCalls());
  for (const injector::WireStep& step : steps) {
    UniqueFd file;
    if (step.has_file && next_file < files.size()) file = std::move(files[next_file++]);
    Result<uint64_t> result = DoOne(step, std::move(file));
    status = result.status();
    if (!result.ok()) break;
    results.push_back(*result);
  }
  CloseChannel();
  tracee_.EndCalls();
  if (!status.ok()) return status;
  return results;
}

Result<uint64_t> VisitSteps::DoOne(const injector::WireStep& step, UniqueFd file) {
  if (step.has_file && !file.valid())
    return Status::Refuse(EMFILE, "a file did not arrive in the injector (too many open files)");
  switch (step.kind) {
    case Step::Kind::kMap:
      return Map(step, file.get());
    case Step::Kind::kUnmap:
      return Call("munmap", SYS_munmap, {step.address, step.size});
    case Step::Kind::kGiveFile: {
      DXG_ASSIGN(const int number, GiveForGood(file.get()));
      return static_cast<uint64_t>(number);
    }
    case Step::Kind::kGiveNode:
      return GiveNode(step);
    case Step::Kind::kCloseFile:
      return Call("close", SYS_close, {step.address});
  }
  return Status::Refuse(EINVAL, "no step {}", static_cast<uint32_t>(step.kind));
}

Result<uint64_t> VisitSteps::Map(const injector::WireStep& step, int file) {
  DXG_ASSIGN(const int number, Give(file));
  to_close_.push_back(number);
  const uint64_t protection = PROT_READ | (step.writable ? PROT_WRITE : 0);
  const uint64_t flags = MAP_SHARED | MAP_NORESERVE | (step.address && step.replace ? MAP_FIXED : 0);
  DXG_ASSIGN(const uint64_t address,
             Call("mmap", SYS_mmap,
                  {step.address, step.size, protection, flags, static_cast<uint64_t>(number), step.offset}));
  // Where shared memory may have huge pages (shmem_enabled is "advise"), first touches cost a tenth; else it
  // is refused.
  (void)Call("madvise", SYS_madvise, {address, step.size, MADV_HUGEPAGE});
  // As the driver's mappings: a dump would read, and so make, every page of it.
  (void)Call("madvise", SYS_madvise, {address, step.size, MADV_DONTDUMP});
  return address;
}

// The node is opened anew by the very descriptor that the interrupted ioctl was made on: no path leads to it
// from here. By a copy of it, because to look into the client's own list of descriptors would take one more
// right. Another thread of the client may have put another file in its place, also one that the client could
// not open itself (O_PATH). We may have more rights, so the client gets what the daemon says was its own
// node.
Result<uint64_t> VisitSteps::GiveNode(const injector::WireStep& step) {
  DXG_ASSIGN(UniqueFd copy, CopyOf(tracee_.tid(), tgid_, tracee_.descriptor()));
  const Status another =
      Status::Refuse(EBADF, "descriptor {} is not the node that its call was made on", tracee_.descriptor());
  if (!CanBeANode(copy.get())) return another;
  const std::string path = fmt::format("/proc/self/fd/{}", copy.get());
  UniqueFd file(open(path.c_str(), (step.writable ? O_RDWR : O_RDONLY) | O_CLOEXEC));
  if (!file.valid())
    return Status::Refuse(errno, "cannot open the client's node anew: {}", std::strerror(errno));
  DXG_ASSIGN(const injector::NodeIdentity node, IdentityOf(file.get()));
  if (!reached_us_(node)) return another;
  DXG_ASSIGN(const int number, GiveForGood(file.get()));
  return static_cast<uint64_t>(number);
}

// In room that we made, a number would be beyond the client's own limit.
Result<int> VisitSteps::GiveForGood(int file) {
  DXG_ASSIGN(const int number, Give(file));
  if (!room_.made() || number < room_.first()) return number;
  to_close_.push_back(number);
  return Status::Refuse(EMFILE, "the client has too many open files");
}

Result<int> VisitSteps::Give(int file) {
  DXG_TRY(OpenChannel());
  Result<int> number = Pass(file);
  if (number.status().value() != -EMFILE || room_.made()) return number;
  DXG_TRY(room_.Make());
  DXG_TRY(MoveSockets());
  return Pass(file);
}

Result<int> VisitSteps::Pass(int file) {
  const std::byte byte{1};
  // Without waiting: it may be another socket by now, of which another thread of the client takes nothing.
  iovec piece = {const_cast<std::byte*>(&byte), 1};  // Safety: only read from
  if (const ssize_t sent = SendPieces(sender_.get(), std::span(&piece, 1), std::span(&file, 1), false);
      sent != 1)
    return Status::Refuse(EIO, "a file cannot be sent to the client: {}",
                          std::strerror(static_cast<int>(-sent)));

  Page page = {};
  page.header = {.msg_iov = static_cast<iovec*>(Remote(page_ + offsetof(Page, data))),
                 .msg_iovlen = 1,
                 .msg_control = Remote(page_ + offsetof(Page, control)),
                 .msg_controllen = sizeof(page.control)};
  page.data = {Remote(page_ + offsetof(Page, byte)), 1};
  if (!WriteTo(tracee_.tid(), page_, page))
    return Status::Refuse(EFAULT, "the client's page for a message is gone");
  Result<uint64_t> got = Call(
      "recvmsg", SYS_recvmsg,
      {static_cast<uint64_t>(sockets_[0]), page_ + offsetof(Page, header), MSG_CMSG_CLOEXEC | MSG_DONTWAIT});
  switch (-got.status().value()) {
    case EAGAIN:  // the message is in ours
    case ENOTSOCK:
    case ENOTCONN:
      return Status::Refuse(EIO,
                            "another thread of the client has put a file of its own in a socket's place");
    default:
      break;
  }
  if (!got.ok()) return got.status();
  if (*got != 1 || !ReadFrom(tracee_.tid(), page_, &page))
    return Status::Refuse(EIO, "the client did not get the message with a file");
  cmsghdr rights;
  int number;
  std::memcpy(&rights, page.control, sizeof(rights));
  std::memcpy(&number, page.control + CMSG_LEN(0), sizeof(number));
  if (page.header.msg_controllen < CMSG_LEN(sizeof(int)) || rights.cmsg_type != SCM_RIGHTS)
    return Status::Refuse(EMFILE, "the client has too many open files");
  return number;
}

Status VisitSteps::OpenChannel() {
  if (page_) return Status::Ok();
  DXG_ASSIGN(page_,
             Call("mmap", SYS_mmap,
                  {0, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ~uint64_t{0}, 0}));
  Status opened = OpenSockets();
  if (opened.value() != -EMFILE) return opened;
  DXG_TRY(room_.Make());
  DXG_TRY(OpenSockets());
  return MoveSockets();
}

Status VisitSteps::OpenSockets() {
  DXG_TRY(Call("socketpair", SYS_socketpair,
               {AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, page_ + offsetof(Page, sockets)})
              .status());
  if (!ReadFrom(tracee_.tid(), page_ + offsetof(Page, sockets), &sockets_))
    return Status::Refuse(EFAULT, "the client's page for a message is gone");
  to_close_.insert(to_close_.end(), sockets_, sockets_ + 2);
  DXG_ASSIGN(sender_, CopyOf(tracee_.tid(), tgid_, sockets_[1]));
  return Status::Ok();
}

// Into the room that was made, so that the numbers below are the client's.
Status VisitSteps::MoveSockets() {
  for (int& socket : sockets_) {
    if (socket >= room_.first()) continue;
    DXG_ASSIGN(const uint64_t moved,
               Call("fcntl", SYS_fcntl,
                    {static_cast<uint64_t>(socket), F_DUPFD_CLOEXEC, static_cast<uint64_t>(room_.first())}));
    std::erase(to_close_, socket);
    to_close_.push_back(static_cast<int>(moved));
    (void)tracee_.Call(SYS_close, {static_cast<uint64_t>(socket)});
    socket = static_cast<int>(moved);
  }
  return Status::Ok();
}

Result<rlimit> VisitSteps::SetLimit(const rlimit* limit) {
  const uint64_t to_be = page_ + offsetof(Page, limit_to_be), old = page_ + offsetof(Page, limit);
  if (limit != nullptr && !WriteTo(tracee_.tid(), to_be, *limit))
    return Status::Refuse(EFAULT, "the client's page for a message is gone");
  DXG_TRY(Call("prlimit", SYS_prlimit64, {0, RLIMIT_NOFILE, limit != nullptr ? to_be : 0, old}).status());
  rlimit was;
  if (!ReadFrom(tracee_.tid(), old, &was))
    return Status::Refuse(EFAULT, "the client's page for a message is gone");
  return was;
}

void VisitSteps::CloseChannel() {
  CloseAll();
  room_.GiveBack();
  sender_.reset();
  if (const uint64_t page = std::exchange(page_, 0)) (void)tracee_.Call(SYS_munmap, {page, kPageBytes});
}

// Neighbouring numbers by one call: they mostly are.
void VisitSteps::CloseAll() {
  std::sort(to_close_.begin(), to_close_.end());
  for (size_t at = 0; at < to_close_.size();) {
    size_t end = at + 1;
    while (end < to_close_.size() && to_close_[end] == to_close_[at] + static_cast<int>(end - at)) ++end;
    const auto first = static_cast<uint64_t>(to_close_[at]), last = static_cast<uint64_t>(to_close_[end - 1]);
    Result<int64_t> closed = tracee_.Call(SYS_close_range, {first, last, 0});
    if (closed.ok() && *closed == -ENOSYS) {  // before Linux 5.9
      for (uint64_t number = first; number <= last; ++number) (void)tracee_.Call(SYS_close, {number});
    }
    at = end;
  }
  to_close_.clear();
}

}  // namespace dxg::client
