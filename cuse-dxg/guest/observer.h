#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/status.h"
#include "proto/contract/contract.h"

namespace dxg::guest {

// Memory of the client that a call names: an allocation's, where its process has it.
struct NamedMemory {
  uint64_t address;  // in the client
  uint64_t bytes;
  uint32_t allocation;
};

// What an observer learns of a call that was answered. Times are of CLOCK_MONOTONIC.
struct CallReport {
  const contract::CallRow* row;  // null where the code is of no call
  uint32_t code;
  pid_t tid;
  const contract::Message* request;  // null where nothing was decoded
  const contract::Message* reply;
  const Status* status;
  uint64_t duration_ns;
  uint64_t begin_ns = 0;
  pid_t pid = 0;           // of the process that opened the descriptor; 0: it is a shared object's
  bool inherited = false;  // the thread is of another process
  // Of what was not decoded: where it is in the client, and the bytes there, where the kernel handed them in.
  uint64_t argument = 0;
  std::span<const std::byte> raw = {};
  std::span<const uint64_t> addresses = {};  // in the client, in the order of row->addresses
  // Of CreateAllocation: the client's own memory that it gives; of Lock2: where the allocation shows. Only
  // where an observer wants it.
  std::span<const NamedMemory> memory = {};
  // Of a call with a descriptor: the number of what it is of, SharedObject::number, or 0 where it is of none.
  std::optional<uint64_t> shared_object = {};
};

// What it learns of an open description of the node.
struct FileReport {
  enum class What : uint8_t { kOpen, kOpenShared, kClose };
  What what;
  uint64_t file;               // a number that no other one has; 0 of an open that was refused
  pid_t tid;                   // who opens; of a close that is not known, and is 0
  pid_t pid;                   // 0: it is a shared object's
  std::string_view name = {};  // of the process
  int error = 0;               // why an open was refused, a positive errno
  std::string_view why = {};
  uint64_t at_ns = 0;
};

// What it learns of an adapter.
struct AdapterReport {
  enum class What : uint8_t { kArrived, kStopped, kRemoved };
  What what;
  uint64_t luid;
  bool compute_only = false;
  uint32_t interface_version = 0;
  uint64_t at_ns = 0;
};

// What it learns when an eventfd of a client's is signalled.
struct SignalReport {
  pid_t pid;         // of the process that gave it
  uint32_t process;  // the same at the host
  int fd;            // the number that it gave
  uint32_t object;  // a handle of it: what the event is of, a fence, a CPU notification, a context or a queue
  uint64_t value;   // of a wait for a fence
  uint64_t at_ns = 0;
};

// Sees what happens go by; runs on the thread that answers and must be quick.
class CallObserver {
 public:
  virtual ~CallObserver() = default;
  virtual void OnCall(const CallReport& report) = 0;
  virtual void OnFile(const FileReport& /*report*/) {}
  virtual void OnAdapter(const AdapterReport& /*report*/) {}
  // Just before it is signalled; perhaps with locks of the host held.
  virtual void OnSignal(const SignalReport& /*report*/) {}
  virtual bool wants_memory() const { return false; }
};

}  // namespace dxg::guest
