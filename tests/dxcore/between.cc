// Preloaded, it makes every ioctl of a program on /dev/dxg a call of libdxcore.so, so that a program that
// knows ioctls alone tests the library: which call each function makes, and what becomes of its result. The
// call itself is made by the program's descriptor, whose end has a meaning in the tests; the library's own
// leads nowhere. The program sees the driver's result. A status that is not what the library has to make of
// that result ends it. QueryAdapterInfo goes by: its texts have another layout in the library.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "cuse-dxg/dxcore/errno_status.h"
#include "proto/contract/thunks.gen.h"

namespace {

thread_local int inside = -1;  // the program's descriptor, while the library makes a call

using Thunk = int32_t (*)(void*);

const char* NameOf(unsigned long code) {
#define DXG_IF(name, number, ...) \
  if (code == (number)) return "D3DKMT" #name;
  DXG_FOR_EACH_THUNK(DXG_IF)
#undef DXG_IF
  return nullptr;
}

Thunk FindThunk(unsigned long code) {
  const char* const name = NameOf(code);
  if (!name) return nullptr;
  static void* const library = dlopen("libdxcore.so", RTLD_NOW | RTLD_LOCAL);
  const auto thunk = library ? reinterpret_cast<Thunk>(dlsym(library, name)) : nullptr;
  if (thunk) return thunk;
  fprintf(stderr, "dxcore-between: %s: %s\n", name, dlerror());
  abort();
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const int mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, int) : 0;
  va_end(rest);
  static bool is_open = false;
  if (inside >= 0 && is_open) {
    errno = ENOENT;
    return -1;
  }
  is_open |= inside >= 0;
  return static_cast<int>(syscall(SYS_openat, AT_FDCWD, inside < 0 ? path : "/dev/null", flags, mode));
}

extern "C" __attribute__((visibility("default"))) int ioctl(int file, unsigned long code, ...) noexcept {
  va_list rest;
  va_start(rest, code);
  void* const args = va_arg(rest, void*);
  va_end(rest);
  if (inside >= 0) return static_cast<int>(syscall(SYS_ioctl, inside, code, args));
  const Thunk thunk = file < 0 ? nullptr : FindThunk(code);
  if (!thunk) return static_cast<int>(syscall(SYS_ioctl, file, code, args));
  inside = file;
  const int before = errno;
  errno = 0;
  const int32_t status = thunk(args);
  inside = -1;
  const int error = errno;
  if (error == 0) {
    errno = before;
    return status;
  }
  if (status == dxg::dxcore::StatusOf(error)) {
    errno = error;
    return -1;
  }
  fprintf(stderr, "dxcore-between: %s gave %#x for errno %d (%s)\n", NameOf(code),
          static_cast<unsigned>(status), error, strerror(error));
  abort();
}

namespace {

// The library's descriptor is there before the first test counts them.
__attribute__((constructor)) void Load() {
  inside = 0;
  d3dkmt_enumadapters2 args = {};
  FindThunk(LX_DXENUMADAPTERS2)(&args);
  inside = -1;
}

}  // namespace
