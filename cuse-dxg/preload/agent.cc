// libdxg-preload.so: a thread in the client that maps memory and takes descriptors for the daemon, where
// nobody can do that from outside: a debugger traces the client, and a thread has one tracer.
//
// It is loaded into programs that know nothing of it, so it leaves few traces: no symbol is exported, nothing
// but the C library is linked, signals are blocked in its thread, and its one descriptor is close-on-exec and
// has a high number. What a program can notice: it has a second thread from the start (unshare(CLONE_NEWUSER)
// is refused to such).

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cuse-dxg/preload/protocol.h"
#include "cuse-dxg/preload/room.h"

namespace {

using dxg::preload::AgentAnswer;
using dxg::preload::AgentAsk;
using dxg::preload::AgentHello;

using namespace dxg::preload::kind;

constexpr int kHighNumber = 900;  // above what programs count their descriptors by, below the usual limit
constexpr size_t kStackBytes = 64 * 1024;  // the deepest frame is a few hundred bytes

char path[sizeof(sockaddr_un::sun_path)];  // empty: not wanted in this process
int connection = -1;
ino_t connection_inode;

// A program may close descriptors that it did not open, and the number may be another file's by now.
bool IsStillOurs() {
  struct stat info;
  return fstat(connection, &info) == 0 && S_ISSOCK(info.st_mode) && info.st_ino == connection_inode;
}

// The descriptor that came along, or -1.
int FileOf(msghdr* header) {
  const cmsghdr* rights = CMSG_FIRSTHDR(header);
  if (!rights || rights->cmsg_type != SCM_RIGHTS) return -1;
  int file;
  memcpy(&file, CMSG_DATA(rights), sizeof(file));
  return file;
}

AgentAnswer Answer(int64_t result) {
  if (result == -1) return {errno, 0, 0};
  return {0, 0, static_cast<uint64_t>(result)};
}

AgentAnswer Map(const AgentAsk& ask, int file) {
  void* const where = reinterpret_cast<void*>(ask.address);  // Safety: the daemon knows what is there
  const int flags = MAP_SHARED | MAP_NORESERVE | (ask.address && ask.replace ? MAP_FIXED : 0);
  void* const mapped = mmap(where, ask.size, PROT_READ | (ask.writable ? PROT_WRITE : 0), flags, file,
                            static_cast<off_t>(ask.offset));
  const AgentAnswer answer =
      mapped == MAP_FAILED ? Answer(-1) : AgentAnswer{0, 0, reinterpret_cast<uint64_t>(mapped)};
  if (mapped != MAP_FAILED) {
    madvise(mapped, ask.size, MADV_HUGEPAGE);  // refused where there are none to be had
    madvise(mapped, ask.size, MADV_DONTDUMP);
  }
  close(file);
  return answer;
}

AgentAnswer Do(const AgentAsk& ask, int file) {
  const bool needs_file = ask.kind == kMap || ask.kind == kGiveFile;
  if (needs_file && file < 0) return {EMFILE, 0, 0};
  switch (ask.kind) {
    case kMap:
      return Map(ask, file);
    case kUnmap:
      return Answer(munmap(reinterpret_cast<void*>(ask.address), ask.size));  // Safety: as in Map
    case kGiveFile:
      return Answer(file);
    case kGiveNode:
      return Answer(open(dxg::preload::kNodePath, (ask.writable ? O_RDWR : O_RDONLY) | O_CLOEXEC));
    case kCloseFile:
      return Answer(close(static_cast<int>(ask.address)));
    default:
      return {ENOSYS, 0, 0};
  }
}

// One step. False: the end.
bool Serve() {
  AgentAsk ask;
  iovec bytes = {&ask, sizeof(ask)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr header = {};
  header.msg_iov = &bytes;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  int ready;
  do {
    if (!IsStillOurs()) return false;
    pollfd readable = {connection, POLLIN, 0};
    ready = poll(&readable, 1, -1);
  } while (ready < 0 && errno == EINTR);
  if (!IsStillOurs()) return false;
  int file = -1;
  {
    const dxg::preload::Room room(connection);
    if (recvmsg(connection, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) != sizeof(ask)) return false;
    file = FileOf(&header);
    if (ask.kind == kGiveFile && room.Has(file)) {
      close(file);
      file = -1;
    }
  }
  const AgentAnswer answer = Do(ask, file);
  return IsStillOurs() && send(connection, &answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer);
}

void* Run(void* said_hello) {
  prctl(PR_SET_NAME, "dxg-preload");
  const AgentHello hello = {dxg::preload::kVersion, static_cast<int32_t>(syscall(SYS_gettid))};
  const bool said = send(connection, &hello, sizeof(hello), MSG_NOSIGNAL) == sizeof(hello);
  sem_post(static_cast<sem_t*>(said_hello));
  if (said) {
    while (Serve()) {
    }
  }
  if (IsStillOurs()) close(connection);
  return nullptr;
}

bool Connect() {
  const int socket_made = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (socket_made < 0) return false;
  const timeval patience = {2, 0};  // a daemon that does not answer must not keep programs from starting
  setsockopt(socket_made, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path, sizeof(path));
  int high = -1;
  if (connect(socket_made, reinterpret_cast<sockaddr*>(&address), sizeof(address)) ==
      0) {  // Safety: the interface's way
    high = fcntl(socket_made, F_DUPFD_CLOEXEC, kHighNumber);
    if (high < 0) high = fcntl(socket_made, F_DUPFD_CLOEXEC, 3);  // the limit is low
  }
  close(socket_made);
  struct stat info;
  if (high < 0 || fstat(high, &info) != 0) return false;
  connection = high;
  connection_inode = info.st_ino;
  return true;
}

// A failure leaves the program as it would be without us; what it misses, the daemon tells it.
void Start() {
  const int error = errno;
  if (Connect()) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, kStackBytes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // inherited by the thread
    pthread_t thread;
    sem_t said_hello;  // before the program's first call, or the daemon would take it for a program without
                       // an agent
    sem_init(&said_hello, 0, 0);
    if (pthread_create(&thread, &attributes, Run, &said_hello) == 0) {
      sem_wait(&said_hello);
    } else {
      close(connection);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_attr_destroy(&attributes);
  }
  errno = error;
}

// The parent's thread is not in the child; the parent's connection is, and would outlive the parent.
void StartInChild() {
  if (connection >= 0 && IsStillOurs()) close(connection);
  connection = -1;
  Start();
}

__attribute__((constructor)) void LoadAgent() {
  const char* wanted = getenv(dxg::preload::kSocketVariable);
  if (!wanted || strlen(wanted) >= sizeof(path)) return;
  strcpy(path, wanted);
  Start();
  pthread_atfork(nullptr, nullptr, StartInChild);
}

}  // namespace
