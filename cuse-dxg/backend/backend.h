#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cuse-dxg/status.h"
#include "proto/contract/contract.h"

// The guest's way to its host, whatever that host is: a simulator in this process, in another one, a VMBus channel.

namespace dxg {

// An adapter as the back-end presents it, once both ends agree that it works.
struct HostAdapter {
  uint64_t luid = 0;           // the guest's name for it, what clients see
  uint64_t host_luid = 0;      // the host's, for QueryStatistics
  uint64_t address = 0;        // the back-end's, for HostCall
  uint32_t host_handle = 0;    // stands for the client's adapter handle in commands
  uint32_t interface_version = 40;  // of the VMBus protocol; older hosts send shorter answers
  bool compute_only = false;
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
  virtual void DeviceStateChanged() = 0;
};

// One command on its way. All it points to lives until the completion runs.
struct HostCall {
  const contract::HostCommand* command;
  uint32_t process;        // the host's handle of the process on whose behalf; 0: none
  uint64_t adapter;        // HostAdapter::address; 0 for global commands
  const google::protobuf::Message* request;
  google::protobuf::Message* reply;
};

// Runs exactly once, in Submit or later, on any thread. The Status is the transport's: EOVERFLOW for an answer that is
// too short, EAGAIN for a full ring, ENODEV for a lost channel. What the host thinks of the command is in the reply.
struct Completion {
  void (*run)(void* context, Status transport);
  void* context;
};

class Backend {
 public:
  virtual ~Backend() = default;
  // Presents the adapters that are there (AdapterArrived for each, before it returns) and all later events.
  virtual Status Start(BackendEvents* events) = 0;
  // Never blocks.
  virtual void Submit(const HostCall& call, Completion completion) = 0;
};

}  // namespace dxg
