#include "cuse-dxg/preload/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "cuse-dxg/preload/room.h"
#include "cuse-dxg/preload/thread_ring.h"

// All system calls here go around the functions of the C library that a program may have in other versions,
// and that are points of cancellation: ioctl(2) is none.

namespace dxg::preload::node {
namespace {

constexpr int kHighNumber = 900;  // above what programs count their descriptors by, below the usual limit
constexpr int kThreadsMax = 4096;
constexpr int kFilesShown = 8;
constexpr uint32_t kCallsBeforeRing = 3;  // a thread that makes a few needs none
constexpr int kDescriptorsKnown = 65536;

char name[kNameBytes + 1];  // empty: there is no device process
char secret[kSecretBytes];
pthread_key_t at_thread_end;

// A thread's connection. `tid` tells a thread from one that has the same memory or a copy of it: a child of
// vfork() or clone() has its own.
struct Mine {
  pid_t tid;
  int socket;  // 0: none; a connection has a high number
  ino_t inode;
  bool busy;                   // a signal's handler calls while its thread is in a call
  uint32_t calls, calls_here;  // since it began, and on this connection
  int slot;
  // Files whose descriptor the device process has seen on this connection.
  uint64_t shown[kFilesShown];
  uint32_t shown_next;
  ThreadRing ring;
};
thread_local Mine mine __attribute__((tls_model("initial-exec")));

// All of the process, for a child of fork(): it must not keep its parent's connections open.
struct Slot {
  int taken;
  int socket;
  ino_t inode;
  int bell;  // of its ring, or 0
};
Slot slots[kThreadsMax];
uint8_t known[kDescriptorsKnown / 8];

pid_t Tid() { return static_cast<pid_t>(syscall(SYS_gettid)); }

// A program may close descriptors that it did not open, and the number may be another file's by now.
bool IsStill(int socket, ino_t inode) {
  struct stat info;
  return syscall(SYS_fstat, socket, &info) == 0 && S_ISSOCK(info.st_mode) && info.st_ino == inode;
}
bool InodeOf(int socket, ino_t* inode) {
  struct stat info;
  if (syscall(SYS_fstat, socket, &info) != 0) return false;
  *inode = info.st_ino;
  return true;
}

socklen_t AddressOf(const char* text, size_t length, sockaddr_un* address) {
  memset(address, 0, sizeof(*address));
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path + 1, text, length);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
}

// Moves a descriptor out of the way. The new one, or -errno.
int Raise(int made) {
  int high = fcntl(made, F_DUPFD_CLOEXEC, kHighNumber);
  if (high < 0) high = fcntl(made, F_DUPFD_CLOEXEC, 3);  // the limit is low
  const int error = errno;
  Close(made);
  return high < 0 ? -error : high;
}

int MakeSocket() {
  const int made = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  return made < 0 ? -errno : Raise(made);
}

// A new connection that has said hello, or -errno.
int Connect() {
  int made = MakeSocket();
  if (made == -EMFILE) {
    const Room room;
    made = MakeSocket();
  }
  if (made < 0) return made;
  sockaddr_un address;
  const socklen_t bytes = AddressOf(name, kNameBytes, &address);
  long connected;
  do {
    // Safety: the interface's way.
    connected = syscall(SYS_connect, made, reinterpret_cast<sockaddr*>(&address), bytes);
  } while (connected != 0 && errno == EINTR);
  Said hello = {};
  hello.kind = say::kHello;
  hello.code = kVersion;
  hello.tid = Tid();
  memcpy(hello.secret, secret, sizeof(secret));
  if (connected == 0 &&
      syscall(SYS_sendto, made, &hello, sizeof(hello), MSG_NOSIGNAL, nullptr, 0) == sizeof(hello))
    return made;
  Close(made);
  return -ENOTCONN;  // as a node whose server has ended
}

int TakeSlot(int socket, ino_t inode) {
  for (int i = 0; i < kThreadsMax; ++i) {
    int free = 0;
    if (!__atomic_compare_exchange_n(&slots[i].taken, &free, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
      continue;
    slots[i].inode = inode;
    slots[i].bell = 0;
    __atomic_store_n(&slots[i].socket, socket, __ATOMIC_RELEASE);
    return i;
  }
  return -1;
}

void Forget(Mine* of) {
  if (of->socket != 0 && of->slot >= 0) {
    __atomic_store_n(&slots[of->slot].socket, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&slots[of->slot].taken, 0, __ATOMIC_RELEASE);
  }
  of->socket = 0;
  of->slot = -1;
  UnmapRing(&of->ring);
}

// As Forget, and closes what is still ours: where the socket is, the bell is.
void Leave(Mine* of) {
  const int socket = of->socket, bell = of->ring.page != nullptr ? of->ring.bell : 0;
  const bool ours = IsStill(socket, of->inode);
  Forget(of);
  if (!ours) return;
  Close(socket);
  if (bell != 0) Close(bell);
}

void EndThread(void*) {
  if (mine.socket == 0 || mine.tid != Tid()) return;
  Leave(&mine);
}

void StartInChild() {
  for (Slot& slot : slots) {
    if (slot.taken != 0 && slot.socket != 0 && IsStill(slot.socket, slot.inode)) {
      Close(slot.socket);
      if (slot.bell != 0) Close(slot.bell);
    }
    slot = {};
  }
  mine = {};
}

}  // namespace

int Close(int descriptor) { return static_cast<int>(syscall(SYS_close, descriptor)); }

Connection::Connection() {
  const pid_t tid = Tid();
  if (mine.busy || (mine.socket != 0 && mine.tid != tid)) {
    socket_ = Connect();
    return;
  }
  // Where the call takes no descriptor, none is looked at.
  checked_ = !IsAwake(mine.ring);
  if (checked_ && mine.socket != 0 && !IsStill(mine.socket, mine.inode)) Forget(&mine);
  if (mine.socket == 0 && !Begin(tid)) return;
  mine.busy = true;
  kept_ = true;
  socket_ = mine.socket;
  number_ = ++mine.calls;
  if (++mine.calls_here == kCallsBeforeRing) AskRing();
}

// Before the socket is used. Where it is another file's by now, there is a new one.
bool Connection::CheckSocket() {
  if (checked_) return true;
  checked_ = true;
  if (IsStill(mine.socket, mine.inode)) return true;
  Forget(&mine);
  return Begin(mine.tid);
}

Connection::~Connection() {
  if (!kept_) {
    if (socket_ >= 0) Close(socket_);
    return;
  }
  if (broken_) Leave(&mine);
  mine.busy = false;
}

bool Connection::Shows(uint64_t file) {
  if (!kept_) return false;
  for (const uint64_t each : mine.shown)
    if (each == file) return true;
  mine.shown[mine.shown_next++ % kFilesShown] = file;
  return false;
}

int Connection::Send(const Said& said, const void* extra, size_t extra_bytes, int file) {
  if (!CheckSocket()) return socket_;
  iovec pieces[2] = {{const_cast<Said*>(&said), sizeof(said)}, {const_cast<void*>(extra), extra_bytes}};
  msghdr header = {};
  header.msg_iov = pieces;
  header.msg_iovlen = extra_bytes != 0 ? 2 : 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (file >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    cmsghdr* const rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &file, sizeof(file));
  }
  long sent;
  do {
    sent = syscall(SYS_sendmsg, socket_, &header, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return 0;
  if (errno != EFAULT && errno != EBADF) broken_ = true;
  return errno == EPIPE ? -ECONNRESET : -errno;
}

long Connection::Receive(Told* told, void* out, size_t out_bytes, int flags, int* file, int* second) {
  iovec pieces[2] = {{told, sizeof(*told)}, {out, out_bytes}};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];  // has room for two
  msghdr header = {};
  header.msg_iov = pieces;
  header.msg_iovlen = out_bytes != 0 ? 2 : 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  const long received = syscall(SYS_recvmsg, socket_, &header, flags);
  *file = -1;
  if (received < 0) {
    if (errno != EINTR && errno != EFAULT) broken_ = true;
    return -errno;
  }
  const cmsghdr* const rights = CMSG_FIRSTHDR(&header);
  if (rights != nullptr && rights->cmsg_type == SCM_RIGHTS) {
    memcpy(file, CMSG_DATA(rights), sizeof(*file));
    if (second != nullptr && rights->cmsg_len >= CMSG_LEN(2 * sizeof(int)))
      memcpy(second, CMSG_DATA(rights) + sizeof(int), sizeof(*second));
  }
  if (received < static_cast<long>(sizeof(*told))) {
    broken_ = true;
    return -ECONNABORTED;  // as a node whose server ends
  }
  return received - static_cast<long>(sizeof(*told));
}

// Where there is none to be had, all calls go by the socket.
void Connection::AskRing() {
  if (!FindStack(&mine.ring)) return;
  Said ask = {};
  ask.kind = say::kRing;
  if (Send(ask, nullptr, 0, -1) != 0) return;
  Told told;
  int memory = -1, bell = -1;
  long received;
  do {
    received = Receive(&told, nullptr, 0, MSG_CMSG_CLOEXEC, &memory, &bell);
  } while (received == -EINTR);
  const int high = bell >= 0 ? Raise(bell) : -1;
  const bool mapped = memory >= 0 && high >= 0 && MapRing(&mine.ring, memory, high);
  if (memory >= 0) Close(memory);
  if (!mapped && high >= 0) Close(high);
  if (mapped && mine.slot >= 0) slots[mine.slot].bell = high;
}

Connection::By Connection::CallByRing(const Said& said, void* memory, size_t in_bytes, size_t room,
                                      Told* told) {
  bool rings = false;
  if (!kept_ || broken_ || !PutCall(&mine.ring, said, memory, in_bytes, room, &rings)) return By::kNothing;
  const auto is_still = [this] { return checked_ || IsStill(mine.socket, mine.inode); };
  if (rings && is_still()) RingBell(mine.ring);
  if (AwaitAnswer(&mine.ring, told, memory, room)) return By::kRing;
  broken_ = !is_still();
  checked_ = true;
  return broken_ ? By::kGone : By::kSocket;
}

long Connection::ReceiveInto(void* to, size_t bytes) {
  const long looked = Next(to, bytes, MSG_PEEK);
  char rest;
  const long taken = Next(&rest, sizeof(rest), MSG_TRUNC);
  if (looked == -EFAULT && taken == static_cast<long>(bytes)) return -EFAULT;
  if (looked == static_cast<long>(bytes) && taken == looked) return 0;
  broken_ = true;
  return -ECONNABORTED;
}

long Connection::Next(void* to, size_t bytes, int flags) {
  long received;
  do {
    received = syscall(SYS_recvfrom, socket_, to, bytes, flags, nullptr, nullptr);
  } while (received < 0 && errno == EINTR);
  return received < 0 ? -errno : received;
}

bool Connection::Begin(pid_t tid) {
  ino_t inode = 0;
  socket_ = Connect();
  if (socket_ < 0 || !InodeOf(socket_, &inode)) return false;
  memset(mine.shown, 0, sizeof(mine.shown));
  mine.calls_here = 0;
  mine.tid = tid;
  mine.inode = inode;
  mine.slot = TakeSlot(socket_, inode);
  mine.socket = socket_;
  pthread_setspecific(at_thread_end, &mine);
  return true;
}

// Gives a descriptor of the node its address.
bool GiveName(int descriptor, uint64_t number, unsigned access) {
  char text[64];
  char* at = text;
  memcpy(at, kFilePrefix, sizeof(kFilePrefix) - 1);
  at += sizeof(kFilePrefix) - 1;
  memcpy(at, name, kNameBytes);
  at += kNameBytes;
  *at++ = '-';
  char digits[24];
  int count = 0;
  do {
    digits[count++] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  while (count > 0) *at++ = digits[--count];
  *at++ = '-';
  *at++ = static_cast<char>('0' + access % 4);
  sockaddr_un address;
  const socklen_t bytes = AddressOf(text, static_cast<size_t>(at - text), &address);
  return bind(descriptor, reinterpret_cast<sockaddr*>(&address), bytes) == 0;  // Safety: the interface's way
}

void Remember(int descriptor) {
  if (descriptor >= 0 && descriptor < kDescriptorsKnown)
    __atomic_fetch_or(&known[descriptor / 8], static_cast<uint8_t>(1u << descriptor % 8), __ATOMIC_RELAXED);
}

bool MayBeNode(int descriptor) {
  return descriptor >= 0 && descriptor < kDescriptorsKnown &&
         (__atomic_load_n(&known[descriptor / 8], __ATOMIC_RELAXED) >> descriptor % 8 & 1) != 0;
}

bool Served() { return name[0] != '\0'; }

FileName NameOf(int descriptor) {
  sockaddr_un address;
  socklen_t bytes = sizeof(address);
  constexpr size_t kPrefix = sizeof(kFilePrefix) - 1;
  const int error = errno;
  // Safety: the interface's way.
  const long got = syscall(SYS_getsockname, descriptor, reinterpret_cast<sockaddr*>(&address), &bytes);
  errno = error;
  const size_t text = offsetof(sockaddr_un, sun_path) + 1;
  if (got != 0 || bytes <= text + kPrefix + kNameBytes + 3 || bytes > sizeof(address) ||
      address.sun_family != AF_UNIX || address.sun_path[0] != '\0' ||
      memcmp(address.sun_path + 1, kFilePrefix, kPrefix) != 0 ||
      memcmp(address.sun_path + 1 + kPrefix, name, kNameBytes) != 0)
    return {0, 0};
  const char* at = address.sun_path + 1 + kPrefix + kNameBytes + 1;
  const char* const end = address.sun_path + (bytes - offsetof(sockaddr_un, sun_path));
  uint64_t number = 0;
  while (at < end && *at >= '0' && *at <= '9') number = number * 10 + static_cast<uint64_t>(*at++ - '0');
  return {number, end - at == 2 ? at[1] - '0' : O_RDWR};
}

void Load() {
  const char* const wanted = getenv(kVariable);
  if (wanted == nullptr || strlen(wanted) != kNameBytes + 1 + kSecretBytes || wanted[kNameBytes] != ':')
    return;
  memcpy(name, wanted, kNameBytes);
  memcpy(secret, wanted + kNameBytes + 1, kSecretBytes);
  pthread_key_create(&at_thread_end, EndThread);
  pthread_atfork(nullptr, nullptr, StartInChild);
}

}  // namespace dxg::preload::node
