#include "cuse-dxg/dxcore/node.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuse-dxg/dxcore/errno_status.h"

namespace dxg::dxcore {
namespace {

constexpr char kPath[] = "/dev/dxg";

int node = -1;  // atomic, and no lock: a child of fork() may be made while another thread holds one

int OpenNode() { return open(kPath, O_RDONLY | O_CLOEXEC); }

// The node's descriptor, opened if there is none; -1 with errno.
int Node() {
  int expected = __atomic_load_n(&node, __ATOMIC_ACQUIRE);
  if (expected >= 0) return expected;
  const int made = OpenNode();
  if (made < 0) return -1;
  expected = -1;
  if (__atomic_compare_exchange_n(&node, &expected, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
    return made;
  close(made);  // another thread was quicker
  return expected;
}

// A program may close descriptors that it did not open, and the number may be another file's by now.
bool IsNode(int file) {
  struct stat is, should;
  return fstat(file, &is) == 0 && stat(kPath, &should) == 0 && is.st_dev == should.st_dev &&
         is.st_ino == should.st_ino;
}

// Replaces the descriptor `old`, which was refused. False: there is no node to open.
bool OpenAnew(int old) {
  const int made = OpenNode();
  if (made < 0) return false;
  if (made == old) return true;  // somebody had closed it, and its number was the next free one
  if (IsNode(old)) {             // under its number, which other threads may be about to use
    dup3(made, old, O_CLOEXEC);
    close(made);
    return true;
  }
  int expected = old;
  if (!__atomic_compare_exchange_n(&node, &expected, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
    close(made);
  return true;
}

// A few refusals are statuses and no errno: such a result is none of -1 and the C library leaves it alone.
int32_t StatusOfResult(int result, int error) { return result == -1 ? StatusOf(error) : result; }

}  // namespace

int32_t Call(uint32_t code, void* args) {
  const int file = Node();
  if (file < 0) return DXG_STATUS_UNSUCCESSFUL;
  const int result = ioctl(file, code, args);
  return StatusOfResult(result, errno);
}

int32_t CallFirst(uint32_t code, void* args) {
  const int file = Node();
  if (file < 0) return DXG_STATUS_UNSUCCESSFUL;
  const int result = ioctl(file, code, args);
  const int error = errno;
  if (result == -1 && (error == ENOTTY || error == EBADF) && OpenAnew(file)) return Call(code, args);
  errno = error;
  return StatusOfResult(result, error);
}

void CloseNode() {
  const int file = __atomic_exchange_n(&node, -1, __ATOMIC_ACQ_REL);
  if (file >= 0 && IsNode(file)) close(file);
}

}  // namespace dxg::dxcore
