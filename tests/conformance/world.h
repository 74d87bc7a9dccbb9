#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "tests/conformance/memory.h"
#include "tests/conformance/node.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/sync_client.h"

// Handles for bad calls: objects of each type that are alive, stale, foreign, or of another type.

namespace dxg::conformance {

enum class ObjectType {
  kAdapter,
  kDevice,
  kContext,
  kAllocation,
  kResource,
  kPagingQueue,
  kMonitoredFence,  // shared, so that calls that share it work too
  kSemaphore,
  kHwQueue,
};

// A client with one object of each type, and functions that return bad handles.
class World {
 public:
  World() : node(OpenNode()) {}
  ~World();

  Node node;

  d3dkmthandle Live(ObjectType type);     // the same one each time
  d3dkmthandle Stale(ObjectType type);    // of an object that was destroyed
  d3dkmthandle Foreign(ObjectType type);  // alive in another process, unknown in this one
  d3dkmthandle OfOtherType(ObjectType type);
  // Zeroed memory that ends at an unmapped page; freed with the world.
  GuardedMemory& Room(size_t bytes);
  // The address of a list with one live object.
  uint64_t ListOf(ObjectType type);
  // A descriptor of a shared resource with one allocation and 32 bytes of private data.
  int SharedDescriptor() { return ShareOne(ObjectType::kResource); }
  int SharedFenceDescriptor() { return ShareOne(ObjectType::kMonitoredFence); }
  // An eventfd that is closed with the world.
  int NewEvent();
  // Room for the number of a descriptor, which is closed with the world.
  uint64_t RoomForDescriptor();

 private:
  d3dkmthandle Make(ObjectType type);
  int ShareOne(ObjectType type);

  std::map<ObjectType, d3dkmthandle> live_;
  std::vector<std::unique_ptr<GuardedMemory>> rooms_;
  std::vector<GuardedMemory*> descriptors_;
  std::vector<std::unique_ptr<Event>> events_;
  std::unique_ptr<Peer> other_;
};

}  // namespace dxg::conformance
