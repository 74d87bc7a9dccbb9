#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

// What the device may know and touch of a client: its memory and who it is. The only way from here into
// another process; tests put a made-up client in its piece.

namespace dxg::client {

// The thread group behind a caller, as it was when it opened the node.
struct Identity {
  pid_t tgid = 0;           // as seen from this process
  uint64_t start_time = 0;  // of the group's leader: tells a reused tgid apart
  pid_t own_pid = 0;        // the caller's pid in its own pid namespace
  uint64_t pid_namespace = 0;
  std::string name;  // the caller's task name

  bool SameProcess(const Identity& other) const {
    return tgid == other.tgid && start_time == other.start_time;
  }
};

// Bytes for one piece in the client.
struct WritePiece {
  uint64_t address;
  std::span<const std::byte> from;
};

// Where bytes of one piece in the client go.
struct ReadPiece {
  uint64_t address;
  std::span<std::byte> to;
};

// A client's address space as it was when this was made: it stays that one when the client executes another
// program, and keeps none of its memory alive. Writes reach pages that were made read-only since, as a
// device's would.
class AddressSpace {
 public:
  virtual ~AddressSpace() = default;
  virtual bool Read(uint64_t address, std::span<std::byte> to) = 0;
  virtual bool Write(uint64_t address, std::span<const std::byte> from) = 0;
  // Numbers of the page frames from that page on; needs CAP_SYS_ADMIN.
  virtual bool Frames(uint64_t address, std::span<uint64_t> frames) = 0;
  // It as a file in which a byte's offset is its address; negative where there is none.
  virtual int file() const { return -1; }
};

class Access {
 public:
  virtual ~Access() = default;
  // Copies to or from the client of thread `tid`, which waits in a call meanwhile. All or nothing as far as
  // the caller may rely on; false where any byte is not mapped or not allowed (the driver's EFAULT).
  virtual bool Read(pid_t tid, uint64_t address, std::span<std::byte> to) = 0;
  virtual bool Write(pid_t tid, uint64_t address, std::span<const std::byte> from) = 0;
  // Several reads in one go. False where any of them fails.
  virtual bool ReadPieces(pid_t tid, std::span<const ReadPiece> pieces) {
    return std::all_of(pieces.begin(), pieces.end(),
                       [&](const ReadPiece& piece) { return Read(tid, piece.address, piece.to); });
  }
  // Several writes in one go, in order; those before the first that fails are done.
  virtual bool WritePieces(pid_t tid, std::span<const WritePiece> pieces) = 0;
  // For memory that outlives the call. `address` and `size` are whole pages. None where a device could not
  // hold on to all of the range: not mapped, not writable (where that is asked for), or of a kind that cannot
  // be pinned.
  virtual std::unique_ptr<AddressSpace> Pin(pid_t tid, uint64_t address, uint64_t size, bool writable) = 0;
  // None where the thread is gone or not visible from here.
  virtual std::optional<Identity> Identify(pid_t tid) = 0;
  // Whether the thread belongs to that thread group. Asked for every call, so it must be cheap.
  virtual bool InGroup(pid_t tid, pid_t tgid) = 0;
  // The pid namespace of the thread: an identity of its own, or 0 where it cannot be known.
  virtual uint64_t PidNamespace(pid_t tid) = 0;
};

}  // namespace dxg::client
