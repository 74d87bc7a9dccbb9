// What the compiler and the C++ library take from a newer glibc than 2.31, by the names and versions that
// glibc has had since before and still has. The linker calls these instead: --wrap NAME for each
// (CMakeLists.txt). A test reads what the program asks for (tests/conformance/portable/check.py).

#include <pthread.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>

// Before 2.34 these were in libpthread and librt, under these versions. Programs linked before that still
// find them, in libc.
#define DXG_OLD(name, version) __asm__(".symver old_" #name "," #name "@" version)

extern "C" {

using MainFunction = int (*)(int, char**, char**);
using Function = void (*)();

int old___libc_start_main(MainFunction main, int argc, char** argv, Function init, Function fini,
                          Function rtld_fini, void* stack_end);
int old_pthread_key_create(pthread_key_t* key, void (*destructor)(void*));
int old_pthread_key_delete(pthread_key_t key);
void* old_pthread_getspecific(pthread_key_t key);
int old_pthread_setspecific(pthread_key_t key, const void* value);
int old_pthread_kill(pthread_t thread, int signal);
int old_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                       void* argument);
int old_pthread_join(pthread_t thread, void** result);
int old_pthread_detach(pthread_t thread);
int old_pthread_once(pthread_once_t* once, void (*routine)());
int old_pthread_mutex_trylock(pthread_mutex_t* mutex);
int old_timer_create(clockid_t clock, sigevent* event, timer_t* timer);
int old_timer_delete(timer_t timer);
int old_timer_settime(timer_t timer, int flags, const itimerspec* value, itimerspec* old);
DXG_OLD(__libc_start_main, "GLIBC_2.2.5");
DXG_OLD(pthread_key_create, "GLIBC_2.2.5");
DXG_OLD(pthread_key_delete, "GLIBC_2.2.5");
DXG_OLD(pthread_getspecific, "GLIBC_2.2.5");
DXG_OLD(pthread_setspecific, "GLIBC_2.2.5");
DXG_OLD(pthread_kill, "GLIBC_2.2.5");
DXG_OLD(pthread_create, "GLIBC_2.2.5");
DXG_OLD(pthread_join, "GLIBC_2.2.5");
DXG_OLD(pthread_detach, "GLIBC_2.2.5");
DXG_OLD(pthread_once, "GLIBC_2.2.5");
DXG_OLD(pthread_mutex_trylock, "GLIBC_2.2.5");
DXG_OLD(timer_create, "GLIBC_2.3.3");
DXG_OLD(timer_delete, "GLIBC_2.3.3");
DXG_OLD(timer_settime, "GLIBC_2.3.3");

// Always several: the C++ library then counts references atomically.
char __wrap___libc_single_threaded = 0;

int __wrap_pthread_key_create(pthread_key_t* key, void (*destructor)(void*)) {
  return old_pthread_key_create(key, destructor);
}
int __wrap_pthread_key_delete(pthread_key_t key) { return old_pthread_key_delete(key); }
void* __wrap_pthread_getspecific(pthread_key_t key) { return old_pthread_getspecific(key); }
int __wrap_pthread_setspecific(pthread_key_t key, const void* value) {
  return old_pthread_setspecific(key, value);
}
int __wrap_pthread_kill(pthread_t thread, int signal) { return old_pthread_kill(thread, signal); }
int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                          void* argument) {
  return old_pthread_create(thread, attributes, body, argument);
}
int __wrap_pthread_join(pthread_t thread, void** result) { return old_pthread_join(thread, result); }
int __wrap_pthread_detach(pthread_t thread) { return old_pthread_detach(thread); }
int __wrap_pthread_once(pthread_once_t* once, void (*routine)()) { return old_pthread_once(once, routine); }
int __wrap_pthread_mutex_trylock(pthread_mutex_t* mutex) { return old_pthread_mutex_trylock(mutex); }
int __wrap_timer_create(clockid_t clock, sigevent* event, timer_t* timer) {
  return old_timer_create(clock, event, timer);
}
int __wrap_timer_delete(timer_t timer) { return old_timer_delete(timer); }
int __wrap_timer_settime(timer_t timer, int flags, const itimerspec* value, itimerspec* old) {
  return old_timer_settime(timer, flags, value, old);
}

// Before 2.33 the program had these from a static part of glibc. On x86-64 the kernel's struct is glibc's.
int __wrap_stat(const char* path, struct stat* info) {
  return static_cast<int>(syscall(SYS_stat, path, info));
}
int __wrap_lstat(const char* path, struct stat* info) {
  return static_cast<int>(syscall(SYS_lstat, path, info));
}
int __wrap_fstat64(int fd, struct stat* info) { return static_cast<int>(syscall(SYS_fstat, fd, info)); }
int __wrap_fstat(int fd, struct stat* info) { return static_cast<int>(syscall(SYS_fstat, fd, info)); }

// Since 2.36; the C++ library's random_device has it.
unsigned __wrap_arc4random() {
  unsigned number = 0;
  while (getrandom(&number, sizeof(number), 0) != static_cast<ssize_t>(sizeof(number))) continue;
  return number;
}

// Before 2.34 the program itself had the functions that run its constructors, and handed them to glibc; a
// later glibc runs what it is handed, and finds constructors itself only where it is handed nothing.
using Constructor = void (*)(int, char**, char**);
extern Constructor __init_array_start[] __attribute__((visibility("hidden")));
extern Constructor __init_array_end[] __attribute__((visibility("hidden")));
void _init();

static void RunConstructors(int argc, char** argv, char** environment) {
  _init();
  const size_t count = static_cast<size_t>(__init_array_end - __init_array_start);
  for (size_t i = 0; i < count; ++i) __init_array_start[i](argc, argv, environment);
}
static void RunNothing() {}  // the loader runs destructors

int __wrap___libc_start_main(MainFunction main, int argc, char** argv, Function, Function, Function rtld_fini,
                             void* stack_end) {
  return old___libc_start_main(main, argc, argv, reinterpret_cast<Function>(RunConstructors), RunNothing,
                               rtld_fini, stack_end);
}

}  // extern "C"
