// libdxg-node.so: /dev/dxg in a program that has no such node, where none can be made: without FUSE, mounts
// and namespaces. It stands before the C library's functions with which a program reaches a device, and
// speaks with the device process (connection.h).
//
// What does not pass here is not served: programs that are linked statically or make system calls themselves,
// and those that the loader starts without LD_PRELOAD because they have another user's rights.

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cuse-dxg/preload/calls.h"
#include "cuse-dxg/preload/connection.h"
#include "cuse-dxg/preload/names.h"

#define DXG_EXPORT extern "C" __attribute__((visibility("default")))

// The function of that name behind ours: the C library's, or that of another library like this one.
#define DXG_NEXT(name)                                                        \
  static __typeof__(&name) next_##name;                                       \
  static __typeof__(&name) Next_##name() {                                    \
    __typeof__(&name) next = __atomic_load_n(&next_##name, __ATOMIC_RELAXED); \
    if (next == nullptr) {                                                    \
      next = reinterpret_cast<__typeof__(&name)>(dlsym(RTLD_NEXT, #name));    \
      __atomic_store_n(&next_##name, next, __ATOMIC_RELAXED);                 \
    }                                                                         \
    return next;                                                              \
  }

namespace {

using dxg::preload::node::FileName;
using dxg::preload::node::MayBeNode;
using dxg::preload::node::NameOf;
using dxg::preload::node::Served;

int Result(int result) {
  if (result >= 0 || result < -4095) return result;  // a raw NTSTATUS is a result
  errno = -result;
  return -1;
}

// The folder of a relative path, with a slash at its end. False: it is none that leads to /dev.
bool IsDev(int folder) {
  char link[32] = "/proc/self/fd/";
  char target[8];
  if (folder == AT_FDCWD) {
    strcpy(link, "/proc/self/cwd");
  } else {
    snprintf(link + strlen(link), sizeof(link) - strlen(link), "%d", folder);
  }
  const int error = errno;
  const ssize_t length = readlink(link, target, sizeof(target));
  errno = error;
  return length == 4 && memcmp(target, "/dev", 4) == 0;
}

// Whether a path names the node. Slashes and dots that change nothing may be in it.
bool IsNode(int folder, const char* path) {
  if (!Served() || path == nullptr) return false;
  const size_t length = strlen(path);
  if (length < 3 || memcmp(path + length - 3, "dxg", 3) != 0) return false;
  bool absolute = path[0] == '/', in_dev = false;
  for (const char* at = path; *at != '\0';) {
    while (*at == '/') ++at;
    const char* const begin = at;
    while (*at != '\0' && *at != '/') ++at;
    const auto bytes = static_cast<size_t>(at - begin);
    if (bytes == 1 && *begin == '.') continue;
    if (bytes == 3 && memcmp(begin, "dxg", 3) == 0 && *at == '\0') return absolute ? in_dev : IsDev(folder);
    if (!absolute || in_dev || bytes != 3 || memcmp(begin, "dev", 3) != 0) return false;
    in_dev = true;
  }
  return false;
}

int OpenNode(int flags) {
  if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) return Result(-EEXIST);
  if (flags & O_DIRECTORY) return Result(-ENOTDIR);
  // A descriptor with which nothing can be done.
  if (flags & O_PATH) return static_cast<int>(syscall(SYS_openat, AT_FDCWD, "/dev/null", flags));
  return Result(dxg::preload::node::Open(flags));
}

// Whether it is a descriptor of the node.
FileName Known(int descriptor) { return MayBeNode(descriptor) ? NameOf(descriptor) : FileName{0, 0}; }

// A node can be neither read nor written. True: the call is answered, in `result`.
bool CannotBe(int access, int descriptor, long* result) {
  const FileName file = Known(descriptor);
  if (file.number == 0) return false;
  const bool may = file.access == O_RDWR || file.access == access;
  *result = -1;
  errno = may ? EINVAL : EBADF;
  return true;
}

template <class Stat>
void BecomeNode(Stat* info) {
  info->st_mode = S_IFCHR | 0666;
  info->st_nlink = 1;
  info->st_uid = 0;
  info->st_gid = 0;
  info->st_rdev = makedev(dxg::preload::node::kMajor, dxg::preload::node::kMinor);
  info->st_size = 0;
  info->st_blocks = 0;
}

template <class Stat>
int OfDescriptor(int result, int descriptor, Stat* info) {
  if (result == 0 && S_ISSOCK(info->st_mode) && Served() && NameOf(descriptor).number != 0) BecomeNode(info);
  return result;
}

// Whether the file that is asked for is the folder's descriptor.
__attribute__((noinline)) bool IsItself(const char* path, int flags) {
  return (flags & AT_EMPTY_PATH) != 0 && (path == nullptr || *path == '\0');
}

// What /dev/null is, but for its number.
template <class Stat>
int OfPath(int result, Stat* info) {
  if (result == 0) BecomeNode(info);
  return result;
}

constexpr char kLikeTheNode[] = "/dev/null";

// Before the program can change its environment.
__attribute__((constructor)) void LoadNode() { (void)Served(); }

}  // namespace

// -- Opening

DXG_NEXT(open)
DXG_NEXT(open64)
DXG_NEXT(openat)
DXG_NEXT(openat64)
DXG_NEXT(fopen)
DXG_NEXT(fopen64)

// The mode is there where a file may be made.
#define DXG_MODE(flags)                                        \
  mode_t mode = 0;                                             \
  if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) { \
    va_list rest;                                              \
    va_start(rest, flags);                                     \
    mode = va_arg(rest, mode_t);                               \
    va_end(rest);                                              \
  }

DXG_EXPORT int open(const char* path, int flags, ...) {
  if (IsNode(AT_FDCWD, path)) return OpenNode(flags);
  DXG_MODE(flags)
  return Next_open()(path, flags, mode);
}
DXG_EXPORT int open64(const char* path, int flags, ...) {
  if (IsNode(AT_FDCWD, path)) return OpenNode(flags);
  DXG_MODE(flags)
  return Next_open64()(path, flags, mode);
}
DXG_EXPORT int openat(int folder, const char* path, int flags, ...) {
  if (IsNode(folder, path)) return OpenNode(flags);
  DXG_MODE(flags)
  return Next_openat()(folder, path, flags, mode);
}
DXG_EXPORT int openat64(int folder, const char* path, int flags, ...) {
  if (IsNode(folder, path)) return OpenNode(flags);
  DXG_MODE(flags)
  return Next_openat64()(folder, path, flags, mode);
}
// What a compiler makes of the same without a mode, with _FORTIFY_SOURCE. The names are the C library's.
// NOLINTBEGIN(bugprone-reserved-identifier)
DXG_EXPORT int __open_2(const char* path, int flags) { return open(path, flags); }
DXG_EXPORT int __open64_2(const char* path, int flags) { return open64(path, flags); }
DXG_EXPORT int __openat_2(int folder, const char* path, int flags) { return openat(folder, path, flags); }
DXG_EXPORT int __openat64_2(int folder, const char* path, int flags) { return openat64(folder, path, flags); }
// NOLINTEND(bugprone-reserved-identifier)

static FILE* OpenStream(const char* mode) {
  const int access = strchr(mode, '+') ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY;
  const int descriptor = OpenNode(access | (strchr(mode, 'e') ? O_CLOEXEC : 0));
  return descriptor < 0 ? nullptr : fdopen(descriptor, mode);
}
DXG_EXPORT FILE* fopen(const char* path, const char* mode) {
  return IsNode(AT_FDCWD, path) ? OpenStream(mode) : Next_fopen()(path, mode);
}
DXG_EXPORT FILE* fopen64(const char* path, const char* mode) {
  return IsNode(AT_FDCWD, path) ? OpenStream(mode) : Next_fopen64()(path, mode);
}

// -- Calls

DXG_NEXT(ioctl)

DXG_EXPORT int ioctl(int descriptor, unsigned long code, ...) {
  va_list rest;
  va_start(rest, code);
  const unsigned long argument = va_arg(rest, unsigned long);
  va_end(rest);
  // Those of every file, which no driver sees.
  const bool of_kernel = code == FIOCLEX || code == FIONCLEX || code == FIONBIO || code == FIOASYNC;
  const FileName file = Served() && !of_kernel ? NameOf(descriptor) : FileName{0, 0};
  if (file.number == 0) return Next_ioctl()(descriptor, code, argument);
  dxg::preload::node::Remember(descriptor);
  const int error = errno;
  const int32_t result = dxg::preload::node::Ioctl(descriptor, file.number, code, argument);
  errno = error;
  return Result(result);
}

// -- Reading and writing

DXG_NEXT(read)
DXG_NEXT(write)
DXG_NEXT(pread)
DXG_NEXT(pread64)
DXG_NEXT(pwrite)
DXG_NEXT(pwrite64)
DXG_NEXT(readv)
DXG_NEXT(writev)

DXG_EXPORT ssize_t read(int descriptor, void* to, size_t bytes) {
  long result;
  return CannotBe(O_RDONLY, descriptor, &result) ? result : Next_read()(descriptor, to, bytes);
}
// NOLINTNEXTLINE(bugprone-reserved-identifier): the name is the C library's
DXG_EXPORT ssize_t __read_chk(int descriptor, void* to, size_t bytes, size_t room) {
  if (bytes > room) __builtin_trap();
  return read(descriptor, to, bytes);
}
DXG_EXPORT ssize_t write(int descriptor, const void* from, size_t bytes) {
  long result;
  return CannotBe(O_WRONLY, descriptor, &result) ? result : Next_write()(descriptor, from, bytes);
}
DXG_EXPORT ssize_t pread(int descriptor, void* to, size_t bytes, off_t offset) {
  long result;
  return CannotBe(O_RDONLY, descriptor, &result) ? result : Next_pread()(descriptor, to, bytes, offset);
}
DXG_EXPORT ssize_t pread64(int descriptor, void* to, size_t bytes, off64_t offset) {
  long result;
  return CannotBe(O_RDONLY, descriptor, &result) ? result : Next_pread64()(descriptor, to, bytes, offset);
}
DXG_EXPORT ssize_t pwrite(int descriptor, const void* from, size_t bytes, off_t offset) {
  long result;
  return CannotBe(O_WRONLY, descriptor, &result) ? result : Next_pwrite()(descriptor, from, bytes, offset);
}
DXG_EXPORT ssize_t pwrite64(int descriptor, const void* from, size_t bytes, off64_t offset) {
  long result;
  return CannotBe(O_WRONLY, descriptor, &result) ? result : Next_pwrite64()(descriptor, from, bytes, offset);
}
DXG_EXPORT ssize_t readv(int descriptor, const iovec* pieces, int count) {
  long result;
  return CannotBe(O_RDONLY, descriptor, &result) ? result : Next_readv()(descriptor, pieces, count);
}
DXG_EXPORT ssize_t writev(int descriptor, const iovec* pieces, int count) {
  long result;
  return CannotBe(O_WRONLY, descriptor, &result) ? result : Next_writev()(descriptor, pieces, count);
}

// -- What it is

DXG_NEXT(fstat)
DXG_NEXT(fstat64)
DXG_NEXT(stat)
DXG_NEXT(stat64)
DXG_NEXT(lstat)
DXG_NEXT(lstat64)
DXG_NEXT(fstatat)
DXG_NEXT(fstatat64)
DXG_NEXT(statx)
DXG_NEXT(access)
DXG_NEXT(faccessat)

DXG_EXPORT int fstat(int descriptor, struct stat* info) {
  return OfDescriptor(Next_fstat()(descriptor, info), descriptor, info);
}
DXG_EXPORT int fstat64(int descriptor, struct stat64* info) {
  return OfDescriptor(Next_fstat64()(descriptor, info), descriptor, info);
}
DXG_EXPORT int stat(const char* path, struct stat* info) {
  if (IsNode(AT_FDCWD, path)) return OfPath(Next_stat()(kLikeTheNode, info), info);
  return Next_stat()(path, info);
}
DXG_EXPORT int stat64(const char* path, struct stat64* info) {
  if (IsNode(AT_FDCWD, path)) return OfPath(Next_stat64()(kLikeTheNode, info), info);
  return Next_stat64()(path, info);
}
DXG_EXPORT int lstat(const char* path, struct stat* info) {
  if (IsNode(AT_FDCWD, path)) return OfPath(Next_lstat()(kLikeTheNode, info), info);
  return Next_lstat()(path, info);
}
DXG_EXPORT int lstat64(const char* path, struct stat64* info) {
  if (IsNode(AT_FDCWD, path)) return OfPath(Next_lstat64()(kLikeTheNode, info), info);
  return Next_lstat64()(path, info);
}
DXG_EXPORT int fstatat(int folder, const char* path, struct stat* info, int flags) {
  if (IsNode(folder, path)) return OfPath(Next_fstatat()(folder, kLikeTheNode, info, flags), info);
  const int result = Next_fstatat()(folder, path, info, flags);
  return IsItself(path, flags) ? OfDescriptor(result, folder, info) : result;
}
DXG_EXPORT int fstatat64(int folder, const char* path, struct stat64* info, int flags) {
  if (IsNode(folder, path)) return OfPath(Next_fstatat64()(folder, kLikeTheNode, info, flags), info);
  const int result = Next_fstatat64()(folder, path, info, flags);
  return IsItself(path, flags) ? OfDescriptor(result, folder, info) : result;
}
DXG_EXPORT int statx(int folder, const char* path, int flags, unsigned mask, struct statx* info) {
  const bool is_node = IsNode(folder, path);
  const int result = Next_statx()(folder, is_node ? kLikeTheNode : path, flags, mask, info);
  if (result == 0 && (is_node || (IsItself(path, flags) && S_ISSOCK(info->stx_mode) && Served() &&
                                  NameOf(folder).number != 0))) {
    info->stx_mode = S_IFCHR | 0666;
    info->stx_uid = 0;
    info->stx_gid = 0;
    info->stx_rdev_major = dxg::preload::node::kMajor;
    info->stx_rdev_minor = dxg::preload::node::kMinor;
  }
  return result;
}
DXG_EXPORT int access(const char* path, int how) {
  return Next_access()(IsNode(AT_FDCWD, path) && (how & X_OK) == 0 ? kLikeTheNode : path, how);
}
DXG_EXPORT int faccessat(int folder, const char* path, int how, int flags) {
  return Next_faccessat()(folder, IsNode(folder, path) && (how & X_OK) == 0 ? kLikeTheNode : path, how,
                          flags);
}

// The same of programs that were built with a glibc before 2.33. `version` is the struct's, of which there is
// one.
#define DXG_OLD_STAT(name, type)                                                                 \
  extern "C" int name(int version, const char* path, struct type* info);                         \
  DXG_NEXT(name)                                                                                 \
  DXG_EXPORT int name(int version, const char* path, struct type* info) {                        \
    if (IsNode(AT_FDCWD, path)) return OfPath(Next_##name()(version, kLikeTheNode, info), info); \
    return Next_##name()(version, path, info);                                                   \
  }
DXG_OLD_STAT(__xstat, stat)
DXG_OLD_STAT(__xstat64, stat64)
DXG_OLD_STAT(__lxstat, stat)
DXG_OLD_STAT(__lxstat64, stat64)

// NOLINTBEGIN(bugprone-reserved-identifier): the names are the C library's
extern "C" int __fxstat(int version, int descriptor, struct stat* info);
extern "C" int __fxstat64(int version, int descriptor, struct stat64* info);
DXG_NEXT(__fxstat)
DXG_NEXT(__fxstat64)
DXG_EXPORT int __fxstat(int version, int descriptor, struct stat* info) {
  return OfDescriptor(Next___fxstat()(version, descriptor, info), descriptor, info);
}
DXG_EXPORT int __fxstat64(int version, int descriptor, struct stat64* info) {
  return OfDescriptor(Next___fxstat64()(version, descriptor, info), descriptor, info);
}
// NOLINTEND(bugprone-reserved-identifier)
