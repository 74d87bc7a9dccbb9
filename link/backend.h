#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/status.h"
#include "proto/abi/interface.h"
#include "proto/contract/contract.h"

// The guest's way to its host, whatever that host is: a simulator in this process, in another one, a VMBus
// channel.

namespace dxg {

// An adapter as the back-end presents it, once both ends agree that it works.
struct HostAdapter {
  uint64_t luid = 0;         // the guest's name for it, what clients see
  uint64_t host_luid = 0;    // the host's, for QueryStatistics
  uint64_t address = 0;      // the back-end's, for HostCall
  uint32_t host_handle = 0;  // stands for the client's adapter handle in commands
  // Of the VMBus protocol; older hosts send shorter answers.
  uint32_t interface_version = kInterfaceVersionNewest;
  bool compute_only = false;
  bool async_messages = false;   // takes some commands without answering them
  bool map_guest_pages = false;  // takes a client's pages as page frame numbers, not as a memory list
};

// A part of the window in which the host shows its memory to the guest's CPU ("I/O space"). What the host
// names by an address of the window lies in one of these.
struct HostRegion {
  WindowAddress window_address;
  uint64_t size = 0;  // bytes, whole pages
  int file = -1;      // holds the region's bytes, from file_offset on; open as long as `keep` is held
  uint64_t file_offset = 0;
  std::shared_ptr<const void> keep;
  bool common = false;  // of all processes: each gets to see no more of it than it is owed
  // What the first 8 bytes say, so that a mapping of it can be recognized; 0: no such mark.
  uint64_t cookie = 0;
};

// Memory as pages of a file, which whoever gave it keeps open.
struct ClientFile {
  int descriptor;
  uint64_t offset;      // bytes, whole pages
  uint64_t number = 0;  // the same for all pages of one file, and never another's; 0: not known
};

// Memory of a client that the host works with: whole pages, which stay the client's.
class ClientPages {
 public:
  virtual ~ClientPages() = default;
  virtual uint64_t size() const = 0;  // bytes
  // `offset` is in bytes, and the range lies in the pages. False where the client no longer has them.
  virtual bool Read(uint64_t offset, std::span<std::byte> to) = 0;
  virtual bool Write(uint64_t offset, std::span<const std::byte> from) = 0;
  // The numbers of the page frames, from that page on, counted from 0. False: they are not known.
  virtual bool Frames(uint64_t page, std::span<uint64_t> frames) = 0;
  // The same pages for a host in another process, where there is such a way.
  virtual std::optional<ClientFile> file() const { return std::nullopt; }
};

// What the host tells without being asked.
class BackendEvents {
 public:
  virtual ~BackendEvents() = default;
  virtual void AdapterArrived(const HostAdapter& adapter) = 0;
  // Its channel is lost: it stays known, and nothing works on it any more.
  virtual void AdapterStopped(uint64_t luid) = 0;
  // The device is gone. Processes that have it open keep a stopped adapter.
  virtual void AdapterRemoved(uint64_t luid) = 0;
  // The execution state of some device changed; the guest's cached states are no longer to be believed.
  // `cookie` is the state_cookie of its CreateDevice.
  virtual void DeviceStateChanged(uint64_t cookie) = 0;
  // The event that the guest gave that number in a command: a wait is over, or a queue came to it. Comes on
  // any thread, also before the command's completion, and perhaps for an event that the guest has forgotten.
  virtual void GuestEvent(uint64_t event) = 0;
  // All of the host is gone and does not come back to this back-end: its adapters are removed, its fences
  // lost.
  virtual void HostLost() = 0;
};

// One command on its way. All it points to lives until the completion runs.
struct HostCall {
  const contract::CommandRow* command;
  uint32_t process;  // the host's handle of the process on whose behalf; 0: none
  uint64_t adapter;  // HostAdapter::address; 0 for global commands
  const google::protobuf::Message* request;
  google::protobuf::Message* reply;
  bool asynchronous = false;  // nobody wants an answer: it completes when it is on its way, in order with all
                              // that is submitted before and after it, and the reply stays empty
};

// Runs exactly once, in Submit or later, on any thread. The Status is the transport's: EOVERFLOW for an
// answer that is too short, EAGAIN for a full ring, ENODEV for a lost channel. What the host thinks of the
// command is in the reply.
struct Completion {
  void (*run)(void* context, Status transport);
  void* context;
};

class HostControl;

class Backend {
 public:
  virtual ~Backend() = default;
  // For those who want trouble (host_control.h); null where the host takes no such orders. Lives as long as
  // this.
  virtual HostControl* control() { return nullptr; }
  // Presents the adapters that are there (AdapterArrived for each, before it returns) and all later events.
  // ENODEV: there is no host, or it refuses; EINVAL: a profile that was asked for is none; EAGAIN: no thread.
  virtual Status Start(BackendEvents* events) = 0;
  // Ends it, also for calls that wait: they complete before this returns, and whatever is submitted from then
  // on, with ENODEV. The other questions find nothing.
  virtual void Stop() = 0;
  // Never blocks.
  virtual void Submit(const HostCall& call, Completion completion) = 0;

  // The region around an address that the host named; none where no memory of the host is there.
  virtual std::optional<HostRegion> FindRegion(WindowAddress address) = 0;
  // The region that most memory of that process is going to be in, where the back-end has one for each
  // process.
  virtual std::optional<HostRegion> HomeRegion(uint32_t process) = 0;

  // The region that is the memory of one allocation of a shared resource, by the host's name for the
  // resource; none where the host does not show it as a file.
  virtual std::optional<HostRegion> FindShared(uint32_t nt_handle, uint32_t allocation_index) = 0;

  // Gives the host a list of a client's pages and returns the list's number (on the VMBus: a GPADL). ENOMEM:
  // the host takes no more, or has no way to these; ENODEV: it is gone.
  virtual Result<uint32_t> AddClientPages(std::shared_ptr<ClientPages> pages) = 0;
  virtual void RemoveClientPages(uint32_t list) = 0;
  // The numbers of the page frames of such a list, from that page on, where the host takes pages by them
  // (HostAdapter::map_guest_pages). They stay where they are until the list is removed. False: they are not
  // known.
  virtual bool ClientFrames(uint32_t /*list*/, uint64_t /*page*/, std::span<uint64_t> /*frames*/) {
    return false;
  }
};

}  // namespace dxg
