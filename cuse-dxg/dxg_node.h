#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "cuse-dxg/attach/node.h"
#include "cuse-dxg/backend/uio/uio_options.h"
#include "cuse-dxg/client/delivery.h"
#include "cuse-dxg/client/injector.h"
#include "cuse-dxg/trace/observers.h"

namespace dxg {

class ControlReply;  // proto/dxg/control.proto

// Options of the command line for what is behind the node. The attach modes do not see them.
struct NodeOptions {
  std::vector<std::string> profiles;  // adapter profiles, a name or a file each; none: the built-in default
  std::string scenario;               // that befalls them (docs/scenarios.md); empty: none
  std::string backend = "sim";
  vmbus::UioOptions vmbus;                   // of the back-end "vmbus"
  std::string shadow;                        // what answers are compared with, as `backend`; empty: nothing
  std::vector<std::string> shadow_profiles;  // of that, as `profiles`; none: the same
  int shadow_player = -1;                    // StartShadow's, which the device takes
  bool recorded_times = false;  // of the back-end "replay:FILE": answers take as long as they took
  int agents =
      -1;  // a listening socket for preload agents (client/agents.h), which the device takes; -1: none
  client::InjectorOptions injector;
  // Makes the way into clients, where that is not the injector's and the agents'; null: it is.
  std::function<std::unique_ptr<client::Delivery>()> make_delivery;
  std::function<std::unique_ptr<client::Access>()> make_access;  // to their memory; null: process_vm_readv
  std::string control;                                           // path of the control socket; empty: none
  int control_listener = -1;  // or that socket, which listens already and which the device takes; -1: none
  std::string trace_text;     // file for the text trace; "-" is stdout; empty: none
  std::string trace_json;     // the same as JSON objects
  trace::RecordOptions record;
  std::string node;  // "cuse /dev/dxg", "fuse /dev/dxg", "run"; for the recording
};

// Starts the other host's side of a shadow that is none of a recording: before this process gives up rights,
// which a node needs that is made there. Refused as MakeNode would refuse.
Status StartShadow(NodeOptions* options);

// Makes the node, with its guest driver and its back-end. Refused if the options name no usable host.
Result<std::unique_ptr<attach::Node>> MakeNode(const NodeOptions& options);

// The folders of the adapters' drivers in the driver store, one for each profile. Refused as MakeNode would
// refuse.
struct DriverStore {
  std::vector<std::string> folders;
  bool is_vendors = false;  // an adapter is one that somebody sells, so its libraries are looked for
};
Result<DriverStore> FindDriverStore(const NodeOptions& options);

// Lets those who observe that node finish what takes long, a moment at most: a shadow compares the rest. What
// comes later is not observed by them. `node` is one of MakeNode's.
void FinishObservers(attach::Node& node);

// What programs asked of that node so far, and how far it was done as by the real device. `node` is one of
// MakeNode's.
ControlReply ReportOf(attach::Node& node);

// Prints every call of the ABI and what this device does with it. Returns the exit status.
int PrintCalls(bool json);

// The same of the version.
int PrintVersion(bool json);

}  // namespace dxg
