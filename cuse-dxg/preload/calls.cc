#include "cuse-dxg/preload/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cuse-dxg/preload/connection.h"
#include "cuse-dxg/preload/room.h"

namespace dxg::preload::node {
namespace {

int64_t Map(const Told& ask, int file) {
  void* const where = reinterpret_cast<void*>(ask.address);  // Safety: the device process knows what is there
  const int flags = MAP_SHARED | MAP_NORESERVE | (ask.address && ask.replace ? MAP_FIXED : 0);
  void* const mapped = mmap(where, ask.size, PROT_READ | (ask.writable ? PROT_WRITE : 0), flags, file,
                            static_cast<off_t>(ask.offset));
  if (mapped == MAP_FAILED) return -errno;
  madvise(mapped, ask.size, MADV_HUGEPAGE);  // refused where there are none to be had
  madvise(mapped, ask.size, MADV_DONTDUMP);
  return reinterpret_cast<int64_t>(mapped);
}

// Does what is asked. The result, or -errno.
int64_t Do(const Told& ask, int* file) {
  const bool needs_file =
      ask.kind == tell::kMap || ask.kind == tell::kGiveFile || ask.kind == tell::kGiveNode;
  if (needs_file && *file < 0) return -EMFILE;
  switch (ask.kind) {
    case tell::kMap:
      return Map(ask, *file);
    case tell::kUnmap:
      // Safety: as in Map.
      return munmap(reinterpret_cast<void*>(ask.address), ask.size) == 0 ? 0 : -errno;
    case tell::kGiveNode:
      if (!GiveName(*file, ask.file, ask.writable ? O_RDWR : O_RDONLY)) return -errno;
      Remember(*file);
      [[fallthrough]];
    case tell::kGiveFile: {
      const int given = *file;
      *file = -1;
      return given;
    }
    case tell::kCloseFile:
      return Close(static_cast<int>(ask.address)) == 0 ? 0 : -errno;
    default:
      return -ENOSYS;
  }
}

// Copies between the program's memory and a message. Where the memory is not there, the kernel says so.
bool Copy(Connection& connection, const Told& ask, Said* done) {
  void* const memory = reinterpret_cast<void*>(ask.address);  // Safety: for the kernel
  if (ask.kind == tell::kLoad) {
    const int error = connection.Send(*done, memory, ask.size, -1);
    if (error != -EFAULT) return error == 0;
    done->error = EFAULT;
  } else {
    const long error = connection.ReceiveInto(memory, ask.size);
    if (error < 0 && error != -EFAULT) return false;
    if (error < 0) done->error = EFAULT;
  }
  return connection.Send(*done, nullptr, 0, -1) == 0;
}

// One thing that the device process asks for in the course of a call. False: the connection is of no use.
bool Serve(Connection& connection, const Told& ask, int file, int descriptor, bool* needs_room) {
  Said done = {};
  done.kind = say::kDone;
  done.number = ask.number;
  int sent = -1;
  if (ask.kind == tell::kLoad || ask.kind == tell::kStore) return Copy(connection, ask, &done);
  *needs_room = ask.kind == tell::kMap && file < 0 && !*needs_room;
  if (*needs_room) {
    done.flags = flag::kAgain;
  } else if (ask.kind == tell::kShowFile) {
    sent = descriptor;
  } else if (ask.kind == tell::kTakeFile) {
    sent = static_cast<int>(ask.address);
  } else {
    const int64_t result = Do(ask, &file);
    const bool failed = result < 0 && result > -4096;
    done.error = failed ? static_cast<int32_t>(-result) : 0;
    done.argument = failed ? 0 : static_cast<uint64_t>(result);
    if (file >= 0) Close(file);
  }
  int error = connection.Send(done, nullptr, 0, sent);
  if (error == -EBADF && sent >= 0) {
    done.error = EBADF;
    error = connection.Send(done, nullptr, 0, -1);
  }
  return error == 0;
}

// What was asked for last could not come, for want of a number: with room for it, it can.
long ReceiveWithRoom(Connection& connection, Told* told, void* out, size_t out_bytes, int* file) {
  const Room room;
  return connection.Receive(told, out, out_bytes, MSG_CMSG_CLOEXEC, file);
}

}  // namespace

int Open(int flags) {
  Connection connection;
  if (connection.error() != 0) return connection.error();
  Said said = {};
  said.kind = say::kOpen;
  said.number = connection.number();
  said.flags = static_cast<uint32_t>(flags);
  if (const int error = connection.Send(said, nullptr, 0, -1); error != 0) return error;
  Told told;
  int file;
  long received;
  do {
    received = connection.Receive(&told, nullptr, 0, flags & O_CLOEXEC ? MSG_CMSG_CLOEXEC : 0, &file);
  } while (received == -EINTR);
  if (received < 0) return static_cast<int>(received);
  if (told.result < 0) return told.result;
  if (file < 0) return -EMFILE;
  if (!GiveName(file, told.file, static_cast<unsigned>(flags) & O_ACCMODE)) {
    const int error = errno;
    Close(file);
    return -error;
  }
  if (flags & O_NONBLOCK) fcntl(file, F_SETFL, O_NONBLOCK);
  Remember(file);
  return file;
}

int32_t Ioctl(int descriptor, uint64_t file, unsigned long code, unsigned long argument) {
  Connection connection;
  if (connection.error() != 0) return connection.error();
  const auto code32 = static_cast<uint32_t>(code);
  const size_t bytes = _IOC_SIZE(code32);
  void* const memory = reinterpret_cast<void*>(argument);  // Safety: for the kernel
  size_t out = (_IOC_DIR(code32) & _IOC_READ) != 0 ? bytes : 0;
  Said said = {};
  said.kind = say::kIoctl;
  said.number = connection.number();
  said.file = file;
  said.argument = argument;
  said.code = code32;
  const bool reads = (_IOC_DIR(code32) & _IOC_WRITE) != 0 && bytes != 0;
  if (!reads) said.flags = flag::kWithoutStruct;
  // A descriptor that goes along keeps the file open until the call begins there.
  const int shown = connection.Shows(file) ? -1 : descriptor;
  Told answer;
  const auto by = shown >= 0
                      ? Connection::By::kNothing
                      : connection.CallByRing(said, memory, reads ? bytes : 0, reads ? out : 0, &answer);
  if (by == Connection::By::kRing) return answer.result;
  int error = by == Connection::By::kGone ? -ECONNABORTED : 0;
  if (by == Connection::By::kNothing)
    error = connection.Send(said, reads ? memory : nullptr, reads ? bytes : 0, shown);
  if (error == -EFAULT) {
    said.flags = flag::kWithoutStruct;
    error = connection.Send(said, nullptr, 0, shown);
  }
  if (error != 0) return error;
  if (said.flags & flag::kWithoutStruct) out = 0;
  for (bool interrupted = false, needs_room = false;;) {
    Told told;
    int came;
    const long received = needs_room ? ReceiveWithRoom(connection, &told, memory, out, &came)
                                     : connection.Receive(&told, memory, out, MSG_CMSG_CLOEXEC, &came);
    if (received == -EINTR) {
      if (interrupted) continue;
      interrupted = true;
      Said interrupt = {};
      interrupt.kind = say::kInterrupt;
      interrupt.number = connection.number();
      connection.Send(interrupt, nullptr, 0, -1);
      continue;
    }
    if (received < 0) return static_cast<int32_t>(received);  // EFAULT: the struct cannot be written
    if (told.kind == tell::kAnswer) return told.result;
    if (!Serve(connection, told, came, descriptor, &needs_room)) return -ECONNABORTED;
  }
}

}  // namespace dxg::preload::node
