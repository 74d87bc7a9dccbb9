#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/status.h"
#include "base/unique_fd.h"
#include "cuse-dxg/client/address_map.h"

// What the device may know and touch of a client: its memory and who it is. The only way from here into
// another process; tests put a made-up client in its piece.

namespace dxg::client {

// The thread group behind a caller, as it was when it opened the node.
struct Identity {
  pid_t tgid = 0;              // as seen from this process
  uint64_t start_time = 0;     // of the group's leader: tells a reused tgid apart
  pid_t own_pid = 0;           // the caller's pid in its own pid namespace
  uint64_t pid_namespace = 0;  // which that is; 0: not known
  std::string name;            // the caller's task name
  // Whose user namespace it is in, where that is not ours: of several around each other, the outermost.
  std::optional<uid_t> namespace_owner;
  // Whom what it costs counts for: that owner, who may have thousands of ids in there, or else the file
  // system user id of who asks (BelongsTo).
  uid_t user = 0;

  void BelongsTo(uid_t asker) { user = namespace_owner.value_or(asker); }
  bool SameProcess(const Identity& other) const {
    return tgid == other.tgid && start_time == other.start_time;
  }
  // Whether one knows the other by its own_pid: they are of one pid namespace.
  bool SharesNumbersWith(const Identity& other) const {
    return SameProcess(other) || (pid_namespace != 0 && pid_namespace == other.pid_namespace);
  }
};

// Bytes for one piece in the client.
struct WritePiece {
  uint64_t address;
  std::span<const std::byte> from;
};

// The pieces that one system call takes: below IOV_MAX, and on the stack.
inline constexpr size_t kPiecesAtOnce = 64;

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
  // The descriptor of a file whose offsets are the client's addresses; negative: there is none.
  virtual int file() const { return -1; }
  // The same for all that is pinned in one address space, and never another's; 0: not known.
  virtual uint64_t number() const { return 0; }
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
  // What the thread's process has mapped, to be asked for as long as it is kept. None where that cannot be
  // told.
  virtual std::unique_ptr<AddressMap> MapOf(pid_t /*tid*/) { return nullptr; }
  // None where the thread is gone or not visible from here.
  virtual std::optional<Identity> Identify(pid_t tid) = 0;
  // Whether the thread belongs to that thread group. Asked for every call, so it must be cheap.
  virtual bool InGroup(pid_t tid, pid_t tgid) = 0;
  // The pid namespace of the thread: an identity of its own, or 0 where it cannot be known.
  virtual uint64_t PidNamespace(pid_t tid) = 0;
  // A file of this machine, opened for reading and writing on behalf of that thread: only where the file's
  // own rights let it.
  virtual Result<UniqueFd> OpenFor(pid_t /*tid*/, const std::string& path) {
    return Status::Refuse(ENOENT, "{} is not there", path);
  }
};

}  // namespace dxg::client
