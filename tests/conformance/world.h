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

// What bad calls are made with: objects of each type, alive, stale, foreign, and of another type.

namespace dxg::conformance {

enum class ObjectType {
  kAdapter,
  kDevice,
  kContext,
  kAllocation,
  kResource,
  kPagingQueue,
  kMonitoredFence,  // shared, so that it can be given away too
  kSemaphore,
  kHwQueue,
};

// A client with one object of each type, and ways to get bad ones.
class World {
 public:
  World() : node(OpenNode()) {}
  ~World();

  Node node;

  d3dkmthandle Live(ObjectType type);     // the same one each time
  d3dkmthandle Stale(ObjectType type);    // was one, and has been destroyed
  d3dkmthandle Foreign(ObjectType type);  // live in another process, unknown in this one
  d3dkmthandle OfOtherType(ObjectType type);
  // Zeroed memory that lives as long as the world and ends at an unmapped page.
  GuardedMemory& Room(size_t bytes);
  // The address of a list with one live object.
  uint64_t ListOf(ObjectType type);
  // Of a shared resource with one allocation and 32 bytes of private data.
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
