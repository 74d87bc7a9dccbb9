// A Level Zero program for whatever driver the loader finds: all kinds of allocations, a command list with
// copies, fills, barriers and events, and the waits for it. It knows nothing of cuse-dxg.
//
// What the CPU writes has to be read back right. Copies and fills are for the GPU: each must be either right
// or not done at all, and prints "done" or "not executed". Exit status: 0 if nothing was wrong.
#include <level_zero/ze_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

namespace {

constexpr size_t kBytes = 1u << 16;
constexpr uint64_t kSecondsMax = 60'000'000'000;  // ns

#define CHECK(condition) Check((condition), #condition, __LINE__)
void Check(bool holds, const char* what, int line) {
  if (holds) return;
  fprintf(stderr, "level_zero.cc:%d: not so: %s\n", line, what);
  exit(1);
}

#define SUCCEEDS(call) Succeeds((call), #call, __LINE__)
void Succeeds(ze_result_t result, const char* what, int line) {
  if (result == ZE_RESULT_SUCCESS) return;
  fprintf(stderr, "level_zero.cc:%d: %s is 0x%x\n", line, what, static_cast<unsigned>(result));
  exit(1);
}

struct Session {
  ze_driver_handle_t driver = nullptr;
  ze_device_handle_t device = nullptr;
  ze_context_handle_t context = nullptr;
  ze_command_queue_handle_t queue = nullptr;
  uint32_t group = 0;
};

uint32_t ComputeGroup(ze_device_handle_t device) {
  uint32_t count = 0;
  SUCCEEDS(zeDeviceGetCommandQueueGroupProperties(device, &count, nullptr));
  std::vector<ze_command_queue_group_properties_t> groups(count);
  for (auto& group : groups) group.stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_GROUP_PROPERTIES;
  SUCCEEDS(zeDeviceGetCommandQueueGroupProperties(device, &count, groups.data()));
  for (uint32_t i = 0; i < count; ++i) {
    if ((groups[i].flags & ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COMPUTE) != 0) return i;
  }
  CHECK(!"a device that computes");
  return 0;
}

Session Open() {
  Session session;
  SUCCEEDS(zeInit(ZE_INIT_FLAG_GPU_ONLY));
  uint32_t count = 1;
  SUCCEEDS(zeDriverGet(&count, &session.driver));
  CHECK(count == 1);
  SUCCEEDS(zeDeviceGet(session.driver, &count, &session.device));
  ze_device_properties_t properties{};
  properties.stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES;
  SUCCEEDS(zeDeviceGetProperties(session.device, &properties));
  printf("device: %s\n", properties.name);
  CHECK(properties.type == ZE_DEVICE_TYPE_GPU);
  ze_context_desc_t context{ZE_STRUCTURE_TYPE_CONTEXT_DESC, nullptr, 0};
  SUCCEEDS(zeContextCreate(session.driver, &context, &session.context));
  session.group = ComputeGroup(session.device);
  ze_command_queue_desc_t queue{};
  queue.stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC;
  queue.ordinal = session.group;
  queue.mode = ZE_COMMAND_QUEUE_MODE_ASYNCHRONOUS;
  SUCCEEDS(zeCommandQueueCreate(session.context, session.device, &queue, &session.queue));
  return session;
}

struct Memory {
  void* host = nullptr;
  void* device = nullptr;
  void* shared = nullptr;
};

Memory Allocate(const Session& session) {
  Memory memory;
  ze_host_mem_alloc_desc_t host{};
  host.stype = ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC;
  ze_device_mem_alloc_desc_t device{};
  device.stype = ZE_STRUCTURE_TYPE_DEVICE_MEM_ALLOC_DESC;
  SUCCEEDS(zeMemAllocHost(session.context, &host, kBytes, 64, &memory.host));
  SUCCEEDS(zeMemAllocDevice(session.context, &device, kBytes, 64, session.device, &memory.device));
  SUCCEEDS(zeMemAllocShared(session.context, &device, &host, kBytes, 64, session.device, &memory.shared));
  const struct {
    void* address;
    ze_memory_type_t type;
  } all[] = {{memory.host, ZE_MEMORY_TYPE_HOST},
             {memory.device, ZE_MEMORY_TYPE_DEVICE},
             {memory.shared, ZE_MEMORY_TYPE_SHARED}};
  for (const auto& one : all) {
    ze_memory_allocation_properties_t properties{};
    properties.stype = ZE_STRUCTURE_TYPE_MEMORY_ALLOCATION_PROPERTIES;
    SUCCEEDS(zeMemGetAllocProperties(session.context, one.address, &properties, nullptr));
    CHECK(properties.type == one.type);
  }
  return memory;
}

// Of memory that the CPU can read: each byte is the one or the other, all alike.
void Either(const char* step, const void* memory, unsigned char before, unsigned char after) {
  const auto* bytes = static_cast<const unsigned char*>(memory);
  CHECK(bytes[0] == before || bytes[0] == after);
  for (size_t i = 0; i < kBytes; ++i) CHECK(bytes[i] == bytes[0]);
  printf("%s: %s\n", step, bytes[0] == after ? "done" : "not executed");
}

struct Events {
  ze_event_pool_handle_t pool = nullptr;
  ze_event_handle_t copied = nullptr, filled = nullptr;
};

ze_event_handle_t NewEvent(const Events& events, uint32_t index) {
  ze_event_desc_t desc{};
  desc.stype = ZE_STRUCTURE_TYPE_EVENT_DESC;
  desc.index = index;
  desc.signal = ZE_EVENT_SCOPE_FLAG_HOST;
  desc.wait = ZE_EVENT_SCOPE_FLAG_HOST;
  ze_event_handle_t event = nullptr;
  SUCCEEDS(zeEventCreate(events.pool, &desc, &event));
  return event;
}

Events NewEvents(Session session) {
  Events events;
  ze_event_pool_desc_t desc{};
  desc.stype = ZE_STRUCTURE_TYPE_EVENT_POOL_DESC;
  desc.flags = ZE_EVENT_POOL_FLAG_HOST_VISIBLE;
  desc.count = 2;
  SUCCEEDS(zeEventPoolCreate(session.context, &desc, 1, &session.device, &events.pool));
  events.copied = NewEvent(events, 0);
  events.filled = NewEvent(events, 1);
  return events;
}

void RunList(const Session& session, const Memory& memory, const Events& events) {
  ze_command_list_desc_t desc{};
  desc.stype = ZE_STRUCTURE_TYPE_COMMAND_LIST_DESC;
  desc.commandQueueGroupOrdinal = session.group;
  ze_command_list_handle_t list = nullptr;
  SUCCEEDS(zeCommandListCreate(session.context, session.device, &desc, &list));
  const unsigned char color = 0x5A;
  SUCCEEDS(zeCommandListAppendMemoryCopy(list, memory.device, memory.host, kBytes, nullptr, 0, nullptr));
  SUCCEEDS(zeCommandListAppendBarrier(list, nullptr, 0, nullptr));
  ze_event_handle_t copied = events.copied;
  SUCCEEDS(zeCommandListAppendMemoryCopy(list, memory.shared, memory.device, kBytes, copied, 0, nullptr));
  SUCCEEDS(
      zeCommandListAppendMemoryFill(list, memory.host, &color, sizeof color, kBytes, nullptr, 1, &copied));
  SUCCEEDS(zeCommandListAppendBarrier(list, nullptr, 0, nullptr));
  SUCCEEDS(zeCommandListAppendSignalEvent(list, events.filled));
  SUCCEEDS(zeCommandListClose(list));
  ze_fence_desc_t fence_desc{ZE_STRUCTURE_TYPE_FENCE_DESC, nullptr, 0};
  ze_fence_handle_t fence = nullptr;
  SUCCEEDS(zeFenceCreate(session.queue, &fence_desc, &fence));
  SUCCEEDS(zeCommandQueueExecuteCommandLists(session.queue, 1, &list, fence));
  SUCCEEDS(zeFenceHostSynchronize(fence, kSecondsMax));
  SUCCEEDS(zeCommandQueueSynchronize(session.queue, kSecondsMax));
  // What a queue writes itself, and not a kernel of its copies.
  SUCCEEDS(zeEventHostSynchronize(events.filled, kSecondsMax));
  SUCCEEDS(zeFenceDestroy(fence));
  SUCCEEDS(zeCommandListDestroy(list));
}

}  // namespace

int main() {
  const Session session = Open();
  const Memory memory = Allocate(session);
  memset(memory.host, 0x11, kBytes);
  memset(memory.shared, 0x22, kBytes);
  const Events events = NewEvents(session);
  SUCCEEDS(zeEventHostSignal(events.filled));
  SUCCEEDS(zeEventQueryStatus(events.filled));
  SUCCEEDS(zeEventHostReset(events.filled));
  CHECK(zeEventQueryStatus(events.filled) == ZE_RESULT_NOT_READY);
  RunList(session, memory, events);
  Either("fill", memory.host, 0x11, 0x5A);
  Either("copy", memory.shared, 0x22, 0x11);
  SUCCEEDS(zeEventDestroy(events.copied));
  SUCCEEDS(zeEventDestroy(events.filled));
  SUCCEEDS(zeEventPoolDestroy(events.pool));
  for (void* address : {memory.host, memory.device, memory.shared})
    SUCCEEDS(zeMemFree(session.context, address));
  SUCCEEDS(zeCommandQueueDestroy(session.queue));
  SUCCEEDS(zeContextDestroy(session.context));
  printf("all right\n");
  return 0;
}
