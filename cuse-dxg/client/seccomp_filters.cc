#include "cuse-dxg/client/seccomp_filters.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/container.h"
#include "base/page.h"
#include "base/proc_status.h"
#include "base/unix_socket.h"

namespace dxg::client {
namespace {

// What helps where the filter is the container's, and where it is the program's. Both were tried
// (docs/containers.md).
std::string OutOfTheFilter() {
  return InContainer() ? "start the container with --security-opt seccomp=unconfined"
                       : "start cuse-dxg outside of that filter";
}
std::string PutAside() {
  return InContainer()
             ? "start the container as root with --security-opt seccomp=unconfined --cap-add SYS_ADMIN "
               "--cap-add SYS_PTRACE"
             : "run cuse-dxg as root, outside of any filter";
}

uint64_t MountsOf(pid_t pid) {
  struct stat mounts;
  return stat(fmt::format("/proc/{}/ns/mnt", pid).c_str(), &mounts) == 0 ? mounts.st_ino : 0;
}

// A process, its parent, and so on, as far as this pid namespace goes.
std::vector<pid_t> AncestorsOf(pid_t process) {
  constexpr size_t kMax = 64;
  std::vector<pid_t> ancestors;
  while (process > 0 && ancestors.size() < kMax) {
    ancestors.push_back(process);
    process = std::atoi(ProcStatus(process).Field("PPid").value_or("").c_str());
  }
  return ancestors;
}

// Whether a thread's filters, which are as many as `own`, began as ours did, and so are ours. That is so for
// descendants of the program that was forked from a process with our filters, and for those of an ancestor of
// ours that has as many. A process whose ancestors have ended is known by the program's private /dev: nobody
// else gets into that namespace but with the rights of the user who has made it.
bool IsOfFamily(pid_t tid, pid_t tgid, const SeccompFilters& own, const Family& family) {
  const std::vector<pid_t> ours = AncestorsOf(getpid());
  for (const pid_t process : AncestorsOf(tgid)) {
    if (process == family.program) return true;
    if (std::find(ours.begin(), ours.end(), process) != ours.end()) {
      if (FiltersOf(process) == own) return true;
      break;
    }
  }
  return family.mounts != 0 && MountsOf(tid) == family.mounts;
}

// -- The trial --------------------------------------------------------------------------------------

// In the order of a visit. Shared with the child, which may end in each.
enum Trial : int {
  kPage,
  kSocketPair,
  kSend,
  kReceive,
  kMap,
  kAdvise,
  kLimit,
  kMove,
  kClose,
  kUnmap,
  kAllDone
};
constexpr std::array<const char*, kAllDone> kTrialNames = {
    "mmap of a page",        "socketpair", "sendmsg",   "recvmsg with a descriptor",
    "mmap of shared memory", "madvise",    "prlimit64", "fcntl(F_DUPFD)",
    "close_range",           "munmap"};

struct TrialPage {
  std::atomic<int> at;
};

bool IsClosed(int descriptor) { return fcntl(descriptor, F_GETFD) < 0 && errno == EBADF; }

bool Receive(int socket, int* number) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  char byte = 0;
  iovec data = {&byte, 1};
  msghdr header = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
  if (syscall(SYS_recvmsg, socket, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) != 1 || byte != 1) return false;
  const cmsghdr* rights = CMSG_FIRSTHDR(&header);
  if (rights == nullptr || rights->cmsg_type != SCM_RIGHTS) return false;
  std::memcpy(number, CMSG_DATA(rights), sizeof(*number));
  return true;
}

// In the child: makes the calls as a visit does, and looks whether they were made. Returns where one was not.
// Another thread may have held the allocator's lock when the child was made, so nothing is allocated here.
void MakeTrial(TrialPage* trial) {
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);  // no core of it
  std::signal(SIGALRM, SIG_DFL);
  alarm(2);  // somebody may hold a call, and never answer
  trial->at = kClose;
  syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, 0);  // copies of clients' descriptors

  trial->at = kPage;
  const long page =
      syscall(SYS_mmap, 0, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* bytes = reinterpret_cast<unsigned char*>(page);  // Safety: looked at only where mincore knows it
  unsigned char there = 0;
  if (page <= 0 || syscall(SYS_mincore, bytes, kPageBytes, &there) != 0) return;
  auto* sockets = reinterpret_cast<int*>(bytes);
  sockets[0] = sockets[1] = -1;

  trial->at = kSocketPair;
  if (syscall(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0 || sockets[0] < 0)
    return;

  trial->at = kSend;
  const int memory = memfd_create("trial", MFD_CLOEXEC);
  char byte = 1;
  iovec piece = {&byte, 1};
  if (memory < 0 || ftruncate(memory, kPageBytes) != 0 ||
      SendPieces(sockets[1], std::span(&piece, 1), std::span(&memory, 1), false) < 0)
    return;

  trial->at = kReceive;
  int number = -1;
  struct stat sent, received;
  if (!Receive(sockets[0], &number) || fstat(memory, &sent) != 0 || fstat(number, &received) != 0 ||
      sent.st_ino != received.st_ino || sent.st_dev != received.st_dev)
    return;

  trial->at = kMap;
  const long mapped = syscall(SYS_mmap, page, kPageBytes, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_NORESERVE | MAP_FIXED, number, 0);
  if (mapped != page) return;
  bytes[0] = 7;
  char written = 0;
  if (pread(memory, &written, 1, 0) != 1 || written != 7) return;

  trial->at = kAdvise;  // which may be refused
  (void)syscall(SYS_madvise, page, kPageBytes, MADV_HUGEPAGE);
  (void)syscall(SYS_madvise, page, kPageBytes, MADV_DONTDUMP);

  trial->at = kLimit;
  rlimit old = {0, 0};
  if (syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, &old) != 0 || old.rlim_max == 0 ||
      syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &old, nullptr) != 0)
    return;

  trial->at = kMove;
  const auto moved = static_cast<int>(syscall(SYS_fcntl, memory, F_DUPFD_CLOEXEC, number + 1));
  if (moved <= number) return;

  trial->at = kClose;
  if (syscall(SYS_close_range, moved, moved, 0) != 0 && (errno != ENOSYS || syscall(SYS_close, moved) != 0))
    return;
  if (!IsClosed(moved)) return;

  trial->at = kUnmap;
  if (syscall(SYS_munmap, page, kPageBytes) != 0 || syscall(SYS_mincore, bytes, kPageBytes, &there) == 0)
    return;
  trial->at = kAllDone;
}

Status Trial() {
  void* shared = mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return Status::Refuse(EPERM, "no page for a trial: {}", std::strerror(errno));
  auto* trial = new (shared) TrialPage{kPage};
  // Not fork(): ThreadSanitizer's handler of it starts a thread, which lives on where a filter ends only the
  // thread that calls.
  const auto child = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  if (child == 0) {
    MakeTrial(trial);
    _exit(0);
  }
  int status = 0;
  pid_t waited = -1;
  while (child > 0 && (waited = waitpid(child, &status, 0)) < 0 && errno == EINTR) {
  }
  const int at = trial->at;
  munmap(shared, kPageBytes);
  if (child < 0 || waited != child)
    return Status::Refuse(EPERM, "the trial of the filter did not run: {}", std::strerror(errno));
  if (at == kAllDone) return Status::Ok();
  const char* what = WIFSIGNALED(status) ? "ends or holds a process that calls" : "does not let through";
  return Status::Refuse(EPERM, "it {} {}", what, kTrialNames[static_cast<size_t>(at)]);
}

}  // namespace

std::optional<SeccompFilters> FiltersOf(pid_t tid) {
  const ProcStatus status(tid);
  const std::string mode = status.Field("Seccomp").value_or("");
  if (mode.empty()) return std::nullopt;
  const std::string count = status.Field("Seccomp_filters").value_or("-1");
  return SeccompFilters{std::atoi(mode.c_str()), std::atoll(count.c_str())};
}

Family FamilyOf(pid_t program) { return {program, MountsOf(program)}; }

Status TryVisitCalls() { return Trial(); }

Status MayBeVisitedFiltered(pid_t tid, pid_t tgid, const SeccompFilters& filters, const Family& family) {
  const SeccompFilters own = FiltersOf(gettid()).value_or(SeccompFilters{});
  const std::string begin = fmt::format(
      "thread {} runs under a seccomp filter, which could kill it for a call of ours, and this process may "
      "not "
      "put filters aside",
      tid);
  if (own.mode == 0 || (own.count >= 0 && filters.count > own.count))
    return Status::Refuse(
        EPERM,
        "{}. The program has closed a sandbox of its own ({} filters; cuse-dxg has {}): {}. "
        "Memory that was mapped before the sandbox closed keeps working",
        begin, filters.count, own.mode == 0 ? 0 : own.count, PutAside());
  if (filters.count < 0 || own.count < 0)
    return Status::Refuse(
        EPERM, "{}. This kernel does not say whether cuse-dxg has the same one (Linux 5.9 does): {}", begin,
        OutOfTheFilter());
  if (filters != own || !IsOfFamily(tid, tgid, own, family))
    return Status::Refuse(
        EPERM,
        "{}. It is not known to be the filter of cuse-dxg, which did not start the program: "
        "start it by 'cuse-dxg run', or {}",
        begin, PutAside());
  // Kept where it passed: else the reason may pass, such as no process for the trial.
  static std::atomic<bool> passed = false;
  if (passed) return Status::Ok();
  const Status tried = TryVisitCalls();
  passed = tried.ok();
  if (tried.ok()) return Status::Ok();
  return Status::Refuse(EPERM, "{}. cuse-dxg has the same filter, and {}: {}", begin, tried.why(),
                        OutOfTheFilter());
}

}  // namespace dxg::client
