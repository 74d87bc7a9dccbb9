#include "tests/conformance/world.h"

#include <unistd.h>

#include <cstring>
#include <stdexcept>

namespace dxg::conformance {
namespace {

// More than any test of this process makes, so that the last one's number means nothing here.
constexpr int kForeignObjects = 60;

}  // namespace

World::~World() {
  if (other_) other_->Send(0);
  for (GuardedMemory* room : descriptors_) {
    uint64_t number;
    std::memcpy(&number, room->bytes().data(), sizeof(number));
    if (number != ~0ull) close(static_cast<int>(number));
  }
}

d3dkmthandle World::Make(ObjectType type) {
  switch (type) {
    case ObjectType::kAdapter:
      return node.OpenAdapter(node.FirstLuid());
    case ObjectType::kDevice:
      return node.CreateDevice(node.FirstAdapter());
    case ObjectType::kContext:
      return node.CreateContext(Live(ObjectType::kDevice));
    case ObjectType::kAllocation: {
      Creation creation(Live(ObjectType::kDevice));
      node.Ioctl(LX_DXCREATEALLOCATION, creation.args, "CreateAllocation");
      return creation.infos[0].allocation;
    }
    case ObjectType::kResource: {
      Creation creation(Live(ObjectType::kDevice));
      creation.MakeShared();
      node.Ioctl(LX_DXCREATEALLOCATION, creation.args, "CreateAllocation");
      return creation.args.resource;
    }
    case ObjectType::kPagingQueue: {
      d3dkmt_createpagingqueue args = {};
      args.device = Live(ObjectType::kDevice);
      node.Ioctl(LX_DXCREATEPAGINGQUEUE, args, "CreatePagingQueue");
      return args.paging_queue;
    }
    case ObjectType::kMonitoredFence:
    case ObjectType::kSemaphore: {
      d3dkmt_createsynchronizationobject2 args = {};
      args.device = Live(ObjectType::kDevice);
      args.info.type = type == ObjectType::kSemaphore ? _D3DDDI_SEMAPHORE : _D3DDDI_MONITORED_FENCE;
      if (type == ObjectType::kSemaphore)
        args.info.semaphore = {.max_count = 100, .initial_count = 50};
      else
        args.info.flags.value = sync_flags::kShared;
      node.Ioctl(LX_DXCREATESYNCHRONIZATIONOBJECT, args, "CreateSynchronizationObject");
      return args.sync_object;
    }
    case ObjectType::kHwQueue: {
      d3dkmt_createcontextvirtual context = {};
      context.device = Live(ObjectType::kDevice);
      context.flags.value = context_flags::kHwQueues;
      node.Ioctl(LX_DXCREATECONTEXTVIRTUAL, context, "CreateContextVirtual");
      d3dkmt_createhwqueue args = {};
      args.context = context.context;
      node.Ioctl(LX_DXCREATEHWQUEUE, args, "CreateHwQueue");
      return args.queue;
    }
  }
  throw std::logic_error("no such type");
}

d3dkmthandle World::Live(ObjectType type) {
  const auto found = live_.find(type);
  return found != live_.end() ? found->second : live_[type] = Make(type);
}

d3dkmthandle World::Stale(ObjectType type) {
  const d3dkmthandle handle = Make(type);
  switch (type) {
    case ObjectType::kAdapter:
      node.CloseAdapter(handle);
      break;
    case ObjectType::kDevice:
      node.DestroyDevice(handle);
      break;
    case ObjectType::kContext:
      node.DestroyContext(handle);
      break;
    case ObjectType::kAllocation:
    case ObjectType::kResource: {
      d3dkmt_destroyallocation2 args = {};
      args.device = Live(ObjectType::kDevice);
      if (type == ObjectType::kResource) {
        args.resource = handle;
      } else {
        args.allocations = Address(&handle);
        args.alloc_count = 1;
      }
      node.Ioctl(LX_DXDESTROYALLOCATION2, args, "DestroyAllocation2");
      break;
    }
    case ObjectType::kPagingQueue: {
      d3dddi_destroypagingqueue args = {handle};
      node.Ioctl(LX_DXDESTROYPAGINGQUEUE, args, "DestroyPagingQueue");
      break;
    }
    case ObjectType::kMonitoredFence:
    case ObjectType::kSemaphore: {
      d3dkmt_destroysynchronizationobject args = {handle};
      node.Ioctl(LX_DXDESTROYSYNCHRONIZATIONOBJECT, args, "DestroySynchronizationObject");
      break;
    }
    case ObjectType::kHwQueue: {
      d3dkmt_destroyhwqueue args = {handle};
      node.Ioctl(LX_DXDESTROYHWQUEUE, args, "DestroyHwQueue");
      break;
    }
  }
  return handle;
}

d3dkmthandle World::Foreign(ObjectType type) {
  other_ = std::make_unique<Peer>([type](Peer& parent) {
    World own;
    d3dkmthandle last = Handle(0);
    for (int i = 0; i < kForeignObjects; ++i) last = own.Make(type);
    parent.Send(last.v);
    parent.Receive();
  });
  return Handle(static_cast<uint32_t>(other_->Receive()));
}

// Adapters are in a table of their own, so the same number may be an adapter and something else: take one
// that is not.
d3dkmthandle World::OfOtherType(ObjectType type) {
  if (type == ObjectType::kAllocation) return Live(ObjectType::kPagingQueue);
  if (type == ObjectType::kContext || type == ObjectType::kResource || type == ObjectType::kPagingQueue ||
      type == ObjectType::kMonitoredFence || type == ObjectType::kSemaphore || type == ObjectType::kHwQueue)
    return Live(ObjectType::kDevice);
  if (type == ObjectType::kDevice && ContextsNeedNoPrivateData()) return Live(ObjectType::kContext);
  const bool adapter_wanted = type == ObjectType::kAdapter;
  d3dkmthandle other;
  do other = Make(adapter_wanted ? ObjectType::kDevice : ObjectType::kAdapter);
  while (adapter_wanted ? node.IsAdapter(other) : node.IsDevice(other));
  return other;
}

GuardedMemory& World::Room(size_t bytes) {
  rooms_.push_back(std::make_unique<GuardedMemory>(bytes));
  return *rooms_.back();
}

uint64_t World::ListOf(ObjectType type) {
  const d3dkmthandle handle = Live(type);
  GuardedMemory& room = Room(sizeof(handle));
  std::memcpy(room.bytes().data(), &handle, sizeof(handle));
  return room.address();
}

uint64_t World::RoomForDescriptor() {
  GuardedMemory& room = Room(sizeof(uint64_t));
  const uint64_t none = ~0ull;
  std::memcpy(room.bytes().data(), &none, sizeof(none));
  descriptors_.push_back(&room);
  return room.address();
}

int World::NewEvent() {
  events_.push_back(std::make_unique<Event>());
  return events_.back()->fd();
}

int World::ShareOne(ObjectType type) {
  d3dkmt_shareobjects args = {};
  args.object_count = 1;
  args.objects = ListOf(type);
  args.shared_handle = RoomForDescriptor();
  node.Ioctl(LX_DXSHAREOBJECTS, args, "ShareObjects");
  uint64_t number;
  std::memcpy(&number, descriptors_.back()->bytes().data(), sizeof(number));
  return static_cast<int>(number);
}

}  // namespace dxg::conformance
