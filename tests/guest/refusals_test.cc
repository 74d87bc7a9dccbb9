// Two refusals at once, and limits. A row is a call with the checks that the guest makes of it, in the
// driver's order; where two of them fail, the first one says which errno the caller sees. Where a row names
// the limit of a list, exactly so many work and one more does not.
#include <array>
#include <ostream>
#include <vector>

#include "tests/guest/rig.h"

namespace dxg::guest {
namespace {

// What calls name, of one adapter.
struct Objects {
  uint32_t adapter = 0, device = 0, context = 0, hw_queue = 0, paging_queue = 0, allocation = 0, fence = 0;
};
using Object = uint32_t Objects::*;

constexpr uint32_t kNobody = 0x41234540;
constexpr uint64_t kNowhere = 8;

// A check: how to fail it. One field at a time, so that two of different fields can fail together.
struct Check {
  enum Kind { kBadHandle, kStopped, kBadPointer, kValue } kind;
  size_t offset;
  Object object = nullptr;  // kStopped: of the adapter that has stopped
  uint64_t value = 0;
  size_t width = 4;
  int error() const { return kind == kStopped ? -ENODEV : kind == kBadPointer ? -EFAULT : -EINVAL; }
};

Check BadHandle(size_t offset) { return {Check::kBadHandle, offset}; }
Check Stopped(size_t offset, Object object) { return {Check::kStopped, offset, object}; }
Check BadPointer(size_t offset) { return {Check::kBadPointer, offset, nullptr, kNowhere, 8}; }
Check Value(size_t offset, uint32_t value) { return {Check::kValue, offset, nullptr, value}; }

struct Limit {
  size_t offset;
  uint32_t most;
  bool by_message = false;  // a message takes fewer
};

struct Handle32 {
  size_t offset;
  Object object;
};

struct Row {
  const char* name;
  uint32_t code;
  size_t size;
  std::vector<Handle32> handles;  // live ones of the adapter that works
  std::vector<size_t> pointers;   // to zeros, enough for every list
  std::vector<std::pair<size_t, uint32_t>> values;
  std::vector<Check> checks;  // in the driver's order
  std::vector<Limit> limits = {};
  std::optional<Handle32> first_in_list =
      {};  // a list whose first handle is looked at; the offset of its pointer
};

void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

// In figures, not by their names in the contract: this is the test that notices when one of those changes.
constexpr uint32_t kListMax = 10240, kSyncListMax = 131072, kMessageMax = 131072;

#define AT(member) offsetof(Args, member)

std::vector<Row> Rows() {
  std::vector<Row> rows;
  {
    using Args = d3dddi_makeresident;
    rows.push_back({"MakeResident",
                    LX_DXMAKERESIDENT,
                    sizeof(Args),
                    {{AT(paging_queue), &Objects::paging_queue}},
                    {AT(allocation_list)},
                    {{AT(alloc_count), 1}},
                    {Value(AT(alloc_count), kListMax + 1), BadHandle(AT(paging_queue)),
                     Stopped(AT(paging_queue), &Objects::paging_queue), BadPointer(AT(allocation_list))},
                    {{AT(alloc_count), kListMax}}});
  }
  {
    using Args = d3dkmt_evict;
    rows.push_back({"Evict",
                    LX_DXEVICT,
                    sizeof(Args),
                    {{AT(device), &Objects::device}},
                    {AT(allocations)},
                    {{AT(alloc_count), 1}},
                    {Value(AT(alloc_count), kListMax + 1), BadHandle(AT(device)),
                     Stopped(AT(device), &Objects::device), BadPointer(AT(allocations))},
                    {{AT(alloc_count), kListMax}}});
  }
  {
    using Args = d3dkmt_offerallocations;
    rows.push_back(
        {"OfferAllocations",
         LX_DXOFFERALLOCATIONS,
         sizeof(Args),
         {{AT(device), &Objects::device}},
         {AT(allocations)},
         {{AT(allocation_count), 1}},
         {Value(AT(allocation_count), kListMax + 1), Value(AT(resources), 1), BadHandle(AT(device)),
          Stopped(AT(device), &Objects::device), BadPointer(AT(allocations))},
         {{AT(allocation_count), kListMax}}});
  }
  {
    using Args = d3dkmt_reclaimallocations2;
    rows.push_back(
        {"ReclaimAllocations2",
         LX_DXRECLAIMALLOCATIONS2,
         sizeof(Args),
         {{AT(paging_queue), &Objects::paging_queue}},
         {AT(allocations)},
         {{AT(allocation_count), 1}},
         {Value(AT(allocation_count), kListMax + 1), Value(AT(resources), 1), BadHandle(AT(paging_queue)),
          Stopped(AT(paging_queue), &Objects::paging_queue), BadPointer(AT(allocations))},
         {{AT(allocation_count), kListMax}}});
  }
  {
    using Args = d3dkmt_setallocationpriority;
    rows.push_back({"SetAllocationPriority",
                    LX_DXSETALLOCATIONPRIORITY,
                    sizeof(Args),
                    {{AT(device), &Objects::device}},
                    {AT(allocation_list), AT(priorities)},
                    {{AT(allocation_count), 1}},
                    {BadHandle(AT(device)), Stopped(AT(device), &Objects::device),
                     Value(AT(allocation_count), kMessageMax + 1), Value(AT(resource), 1),
                     BadPointer(AT(allocation_list)), BadPointer(AT(priorities))},
                    {{AT(allocation_count), kMessageMax, true}}});
  }
  {
    using Args = d3dkmt_getallocationpriority;
    rows.push_back({"GetAllocationPriority",
                    LX_DXGETALLOCATIONPRIORITY,
                    sizeof(Args),
                    {{AT(device), &Objects::device}},
                    {AT(allocation_list), AT(priorities)},
                    {{AT(allocation_count), 1}},
                    {BadHandle(AT(device)), Stopped(AT(device), &Objects::device),
                     Value(AT(allocation_count), kMessageMax + 1), Value(AT(resource), 1),
                     BadPointer(AT(allocation_list))},
                    {{AT(allocation_count), kMessageMax, true}}});
  }
  {
    using Args = d3dkmt_queryallocationresidency;
    rows.push_back({"QueryAllocationResidency",
                    LX_DXQUERYALLOCATIONRESIDENCY,
                    sizeof(Args),
                    {{AT(device), &Objects::device}},
                    {AT(allocations), AT(residency_status)},
                    {{AT(allocation_count), 1}},
                    {Value(AT(resource), 1), BadHandle(AT(device)), Stopped(AT(device), &Objects::device),
                     Value(AT(allocation_count), kMessageMax + 1), BadPointer(AT(allocations))},
                    {{AT(allocation_count), kMessageMax, true}}});
  }
  {
    using Args = d3dkmt_updategpuvirtualaddress;
    rows.push_back({"UpdateGpuVirtualAddress",
                    LX_DXUPDATEGPUVIRTUALADDRESS,
                    sizeof(Args),
                    {{AT(device), &Objects::device}},
                    {AT(operations)},
                    {{AT(num_operations), 1}},
                    {BadHandle(AT(device)), Stopped(AT(device), &Objects::device),
                     Value(AT(num_operations), 2049), BadPointer(AT(operations))},
                    {{AT(num_operations), 2048, true}}});
  }
  {
    using Args = d3dkmt_queryadapterinfo;
    rows.push_back({"QueryAdapterInfo",
                    LX_DXQUERYADAPTERINFO,
                    sizeof(Args),
                    {{AT(adapter), &Objects::adapter}},
                    {AT(private_data)},
                    {{AT(private_data_size), 8}},
                    {Value(AT(private_data_size), kMessageMax + 1), BadHandle(AT(adapter)),
                     Stopped(AT(adapter), &Objects::adapter), BadPointer(AT(private_data))},
                    {{AT(private_data_size), kMessageMax, true}}});
  }
  {
    using Args = d3dkmt_queryvideomemoryinfo;
    rows.push_back(
        {"QueryVideoMemoryInfo",
         LX_DXQUERYVIDEOMEMORYINFO,
         sizeof(Args),
         {{AT(adapter), &Objects::adapter}},
         {},
         {},
         {Value(AT(process), 1), BadHandle(AT(adapter)), Stopped(AT(adapter), &Objects::adapter)}});
  }
  {
    using Args = d3dkmt_changevideomemoryreservation;
    rows.push_back(
        {"ChangeVideoMemoryReservation",
         LX_DXCHANGEVIDEOMEMORYRESERVATION,
         sizeof(Args),
         {{AT(adapter), &Objects::adapter}},
         {},
         {},
         {Value(AT(process), 1), BadHandle(AT(adapter)), Stopped(AT(adapter), &Objects::adapter)}});
  }
  {
    using Args = d3dkmt_escape;
    rows.push_back({"Escape",
                    LX_DXESCAPE,
                    sizeof(Args),
                    {{AT(adapter), &Objects::adapter}},
                    {AT(priv_drv_data)},
                    {},
                    {BadHandle(AT(adapter)), Stopped(AT(adapter), &Objects::adapter),
                     Value(AT(priv_drv_data_size), kMessageMax + 1)}});
  }
  {
    using Args = d3dkmt_createcontextvirtual;
    rows.push_back({"CreateContextVirtual",
                    LX_DXCREATECONTEXTVIRTUAL,
                    sizeof(Args),
                    {{AT(device), &Objects::device}},
                    {AT(priv_drv_data)},
                    {},
                    {BadHandle(AT(device)), Stopped(AT(device), &Objects::device),
                     Value(AT(priv_drv_data_size), kMessageMax + 1)},
                    {{AT(priv_drv_data_size), kMessageMax, true}}});
  }
  {
    using Args = d3dkmt_createhwqueue;
    rows.push_back({"CreateHwQueue",
                    LX_DXCREATEHWQUEUE,
                    sizeof(Args),
                    {{AT(context), &Objects::context}},
                    {AT(priv_drv_data)},
                    {{AT(priv_drv_data_size), 8}},
                    {BadHandle(AT(context)), Stopped(AT(context), &Objects::context),
                     Value(AT(priv_drv_data_size), kMessageMax + 1), BadPointer(AT(priv_drv_data))},
                    {{AT(priv_drv_data_size), kMessageMax, true}}});
  }
  {
    using Args = d3dkmt_destroyallocation2;
    rows.push_back({"DestroyAllocation2",
                    LX_DXDESTROYALLOCATION2,
                    sizeof(Args),
                    {{AT(device), &Objects::device}},
                    {AT(allocations)},
                    {{AT(alloc_count), 1}},
                    {Value(AT(alloc_count), 1025), BadPointer(AT(allocations)), BadHandle(AT(device)),
                     Stopped(AT(device), &Objects::device)},
                    {},
                    Handle32{AT(allocations), &Objects::allocation}});
  }
  {
    using Args = d3dkmt_submitcommand;
    rows.push_back(
        {"SubmitCommand",
         LX_DXSUBMITCOMMAND,
         sizeof(Args),
         {{AT(broadcast_context), &Objects::context}},
         {AT(priv_drv_data), AT(history_buffer_array)},
         {{AT(broadcast_context_count), 1}, {AT(priv_drv_data_size), 8}, {AT(num_history_buffers), 1}},
         {Value(AT(broadcast_context_count), 65), Value(AT(priv_drv_data_size), kMessageMax + 1),
          Value(AT(num_history_buffers), 1025), Value(AT(num_primaries), 131073),
          BadHandle(AT(broadcast_context)), Stopped(AT(broadcast_context), &Objects::context),
          BadPointer(AT(history_buffer_array)), BadPointer(AT(priv_drv_data))},
         {{AT(broadcast_context_count), 64},
          {AT(num_history_buffers), 1024},
          {AT(priv_drv_data_size), kMessageMax, true}}});
  }
  {
    using Args = d3dkmt_submitcommandtohwqueue;
    rows.push_back({"SubmitCommandToHwQueue",
                    LX_DXSUBMITCOMMANDTOHWQUEUE,
                    sizeof(Args),
                    {{AT(hwqueue), &Objects::hw_queue}},
                    {AT(priv_drv_data), AT(written_primaries)},
                    {{AT(priv_drv_data_size), 8}, {AT(num_primaries), 1}},
                    {Value(AT(priv_drv_data_size), kMessageMax + 1), Value(AT(num_primaries), 131073),
                     BadHandle(AT(hwqueue)), Stopped(AT(hwqueue), &Objects::hw_queue),
                     BadPointer(AT(written_primaries)), BadPointer(AT(priv_drv_data))},
                    {{AT(priv_drv_data_size), kMessageMax, true}, {AT(num_primaries), 131072, true}}});
  }
  {
    using Args = d3dkmt_signalsynchronizationobject2;
    rows.push_back({"SignalSynchronizationObject",
                    LX_DXSIGNALSYNCHRONIZATIONOBJECT,
                    sizeof(Args),
                    {{AT(context), &Objects::context}},
                    {},
                    {{AT(object_count), 1}},
                    {Value(AT(context_count), 64), Value(AT(object_count), 33), BadHandle(AT(context)),
                     Stopped(AT(context), &Objects::context)},
                    {{AT(context_count), 63}, {AT(object_count), 32}}});
  }
  {
    using Args = d3dkmt_signalsynchronizationobjectfromcpu;
    rows.push_back(
        {"SignalSynchronizationObjectFromCpu",
         LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU,
         sizeof(Args),
         {{AT(device), &Objects::device}},
         {AT(objects), AT(fence_values)},
         {{AT(object_count), 1}},
         {Value(AT(object_count), 33), BadHandle(AT(device)), Stopped(AT(device), &Objects::device),
          BadPointer(AT(objects)), BadPointer(AT(fence_values))},
         {{AT(object_count), 32}}});
  }
  {
    using Args = d3dkmt_signalsynchronizationobjectfromgpu;
    rows.push_back({"SignalSynchronizationObjectFromGpu",
                    LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU,
                    sizeof(Args),
                    {{AT(context), &Objects::context}},
                    {AT(objects), AT(monitored_fence_values)},
                    {{AT(object_count), 1}},
                    {Value(AT(object_count), kSyncListMax + 1), BadHandle(AT(context)),
                     Stopped(AT(context), &Objects::context), BadPointer(AT(objects)),
                     BadPointer(AT(monitored_fence_values))},
                    {{AT(object_count), kSyncListMax, true}}});
  }
  {
    using Args = d3dkmt_signalsynchronizationobjectfromgpu2;
    rows.push_back(
        {"SignalSynchronizationObjectFromGpu2",
         LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2,
         sizeof(Args),
         {},
         {AT(objects), AT(contexts), AT(monitored_fence_values)},
         {{AT(object_count), 1}, {AT(context_count), 1}},
         {Value(AT(object_count), kSyncListMax + 1), Value(AT(context_count), kSyncListMax + 1),
          BadPointer(AT(contexts)), BadPointer(AT(objects)), BadPointer(AT(monitored_fence_values))},
         {{AT(object_count), kSyncListMax, true}, {AT(context_count), kSyncListMax, true}},
         Handle32{AT(contexts), &Objects::context}});
  }
  {
    using Args = d3dkmt_submitsignalsyncobjectstohwqueue;
    rows.push_back({"SubmitSignalSyncObjectsToHwQueue",
                    LX_DXSUBMITSIGNALSYNCOBJECTSTOHWQUEUE,
                    sizeof(Args),
                    {},
                    {AT(hwqueues), AT(objects), AT(fence_values)},
                    {{AT(hwqueue_count), 1}, {AT(object_count), 1}},
                    {Value(AT(hwqueue_count), 65), Value(AT(object_count), 33), BadPointer(AT(hwqueues)),
                     BadPointer(AT(objects)), BadPointer(AT(fence_values))},
                    {{AT(hwqueue_count), 64}, {AT(object_count), 32}},
                    Handle32{AT(hwqueues), &Objects::hw_queue}});
  }
  {
    using Args = d3dkmt_submitwaitforsyncobjectstohwqueue;
    rows.push_back({"SubmitWaitForSyncObjectsToHwQueue",
                    LX_DXSUBMITWAITFORSYNCOBJECTSTOHWQUEUE,
                    sizeof(Args),
                    {{AT(hwqueue), &Objects::hw_queue}},
                    {AT(objects), AT(fence_values)},
                    {{AT(object_count), 1}},
                    {Value(AT(object_count), 33), BadPointer(AT(objects)), BadPointer(AT(fence_values)),
                     BadHandle(AT(hwqueue)), Stopped(AT(hwqueue), &Objects::hw_queue)},
                    {{AT(object_count), 32}}});
  }
  {
    using Args = d3dkmt_waitforsynchronizationobject2;
    rows.push_back(
        {"WaitForSynchronizationObject",
         LX_DXWAITFORSYNCHRONIZATIONOBJECT,
         sizeof(Args),
         {{AT(context), &Objects::context}},
         {},
         {{AT(object_count), 1}},
         {Value(AT(object_count), 33), BadHandle(AT(context)), Stopped(AT(context), &Objects::context)},
         {{AT(object_count), 32}}});
  }
  {
    using Args = d3dkmt_waitforsynchronizationobjectfromcpu;
    rows.push_back(
        {"WaitForSynchronizationObjectFromCpu",
         LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU,
         sizeof(Args),
         {{AT(device), &Objects::device}},
         {AT(objects), AT(fence_values)},
         {{AT(object_count), 1}, {AT(async_event), 4}},
         {Value(AT(object_count), kSyncListMax + 1), Value(AT(async_event), 77), BadHandle(AT(device)),
          Stopped(AT(device), &Objects::device), BadPointer(AT(objects)), BadPointer(AT(fence_values))},
         {{AT(object_count), kSyncListMax, true}}});
  }
  {
    using Args = d3dkmt_waitforsynchronizationobjectfromgpu;
    rows.push_back({"WaitForSynchronizationObjectFromGpu",
                    LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU,
                    sizeof(Args),
                    {{AT(context), &Objects::context}},
                    {AT(objects), AT(monitored_fence_values)},
                    {{AT(object_count), 1}},
                    {Value(AT(object_count), kSyncListMax + 1), BadPointer(AT(objects)),
                     BadHandle(AT(context)), BadPointer(AT(monitored_fence_values)),
                     Stopped(AT(context), &Objects::context), Value(AT(object_count), 33)},
                    {{AT(object_count), 32}},
                    Handle32{AT(objects), &Objects::fence}});
  }
  return rows;
}

#undef AT

class RefusalsTest : public FenceTest, public testing::WithParamInterface<Row> {
 protected:
  static constexpr uint64_t kStoppedLuid = 0x1234;

  RefusalsTest() {
    HostAdapter info;
    info.luid = kStoppedLuid;
    info.address = 8;
    driver.AdapterArrived(info);
    d3dkmt_openadapterfromluid open{};
    std::memcpy(&open.adapter_luid, &info.luid, sizeof(info.luid));
    EXPECT_EQ(Call(file, 100, LX_DXOPENADAPTERFROMLUID, &open), 0);
    working.adapter = adapter;
    working.device = device;
    stopped.adapter = open.adapter_handle.v;
    stopped.device = CreateDevice(file, 100, stopped.adapter);
    for (Objects* each : {&working, &stopped}) Make(*each);
    driver.AdapterStopped(kStoppedLuid);
    host.after_answer = [this](const HostCall& call) {
      message_bytes = call.command->request_size(*call.request);
    };
    Fill();
  }
  // The base still ends the process, and the host still answers.
  ~RefusalsTest() override { host.after_answer = nullptr; }

  void Make(Objects& objects) {
    d3dkmt_createcontextvirtual made{};
    made.device.v = objects.device;
    ASSERT_EQ(Call(file, 100, LX_DXCREATECONTEXTVIRTUAL, &made), 0);
    objects.context = made.context.v;
    d3dkmt_createhwqueue queue{};
    queue.context.v = objects.context;
    ASSERT_EQ(Call(file, 100, LX_DXCREATEHWQUEUE, &queue), 0);
    objects.hw_queue = queue.queue.v;
    d3dkmt_createpagingqueue paging{};
    paging.device.v = objects.device;
    ASSERT_EQ(Call(file, 100, LX_DXCREATEPAGINGQUEUE, &paging), 0);
    objects.paging_queue = paging.paging_queue.v;
    d3dkmt_createsynchronizationobject2 fence{};
    fence.device.v = objects.device;
    fence.info.type = _D3DDDI_MONITORED_FENCE;
    ASSERT_EQ(Call(file, 100, LX_DXCREATESYNCHRONIZATIONOBJECT, &fence), 0);
    objects.fence = fence.sync_object.v;
    d3dddi_allocationinfo2 info{};
    d3dkmt_createallocation allocation{};
    allocation.device.v = objects.device;
    allocation.alloc_count = 1;
    allocation.allocation_info = reinterpret_cast<uint64_t>(&info);
    ASSERT_EQ(Call(file, 100, LX_DXCREATEALLOCATION, &allocation), 0);
    objects.allocation = info.allocation.v;
  }

  void Put(size_t offset, uint64_t value, size_t width) { std::memcpy(args.data() + offset, &value, width); }
  // A call that succeeds.
  void Fill() {
    const Row& row = GetParam();
    args.assign(row.size, std::byte{0});
    room.assign(size_t{1} << 21, std::byte{0});
    list.assign(size_t{1} << 18, 0);
    for (const auto& handle : row.handles) Put(handle.offset, working.*handle.object, 4);
    for (const size_t pointer : row.pointers) Put(pointer, reinterpret_cast<uint64_t>(room.data()), 8);
    for (const auto& [offset, value] : row.values) Put(offset, value, 4);
    if (!row.first_in_list) return;
    list[0] = working.*row.first_in_list->object;
    Put(row.first_in_list->offset, reinterpret_cast<uint64_t>(list.data()), 8);
  }
  void Fail(const Check& check) {
    Put(check.offset,
        check.kind == Check::kBadHandle ? kNobody
        : check.kind == Check::kStopped ? stopped.*check.object
                                        : check.value,
        check.width);
  }
  int32_t Do() {
    host.asked.clear();
    return StartRaw(file, 100, GetParam().code, reinterpret_cast<uint64_t>(args.data()), 0)->Wait();
  }
  int32_t DoWith(const Limit& limit, uint32_t count) {
    Fill();
    Put(limit.offset, count, 4);
    return Do();
  }

  Objects working, stopped;
  std::vector<std::byte> args, room;
  std::vector<uint32_t> list;
  uint32_t message_bytes = 0;  // of the last command, without the transport's header
};

TEST_P(RefusalsTest, EachCheckAloneIsRefusedAndTheHostNotAsked) {
  for (const Check& check : GetParam().checks) {
    Fill();
    Fail(check);
    EXPECT_EQ(Do(), check.error()) << "field at " << check.offset;
    EXPECT_TRUE(host.asked.empty());
    EXPECT_EQ(driver.events().size(), 0u);
  }
}

TEST_P(RefusalsTest, OfTwoTheFirstInTheDriversOrderIsSeen) {
  const auto& checks = GetParam().checks;
  for (size_t first = 0; first < checks.size(); ++first) {
    for (size_t second = first + 1; second < checks.size(); ++second) {
      if (checks[first].offset == checks[second].offset) continue;
      Fill();
      Fail(checks[second]);
      Fail(checks[first]);
      EXPECT_EQ(Do(), checks[first].error())
          << "fields at " << checks[first].offset << " and " << checks[second].offset;
      EXPECT_TRUE(host.asked.empty());
      EXPECT_EQ(driver.events().size(), 0u);
    }
  }
}

TEST_P(RefusalsTest, ExactlySoManyWorkAndOneMoreDoesNot) {
  for (const Limit& limit : GetParam().limits) {
    uint32_t most = limit.most;
    if (limit.by_message) {
      // The most that a message takes, with the transport's header; by halves.
      uint32_t fits = 1, too_many = limit.most + 1;
      while (too_many - fits > 1) {
        const uint32_t middle = fits + (too_many - fits) / 2;
        (DoWith(limit, middle) == 0 ? fits : too_many) = middle;
      }
      most = fits;
      EXPECT_EQ(DoWith(limit, 1), 0);
      const uint32_t one = message_bytes;
      EXPECT_EQ(DoWith(limit, 9), 0);
      const uint32_t eight_more = message_bytes - one;
      EXPECT_EQ(DoWith(limit, most), 0);
      EXPECT_LE(message_bytes + kTransportHeaderBytes, kMessageMax);
      EXPECT_GT(message_bytes + kTransportHeaderBytes + eight_more, kMessageMax)
          << most << " at " << limit.offset;
    }
    EXPECT_EQ(DoWith(limit, most), 0) << most << " at " << limit.offset;
    EXPECT_EQ(host.asked.size(), 1u);
    EXPECT_EQ(DoWith(limit, most + 1), -EINVAL) << most + 1 << " at " << limit.offset;
    EXPECT_TRUE(host.asked.empty());
  }
}

INSTANTIATE_TEST_SUITE_P(Calls, RefusalsTest, testing::ValuesIn(Rows()),
                         [](const auto& info) { return std::string(info.param.name); });

// Up to the last byte of a message, and up to the last element.
class CreateAllocationLimits : public FenceTest {
 protected:
  int32_t Create(uint32_t count, uint32_t runtime_bytes) {
    std::vector<d3dddi_allocationinfo2> elements(count);
    std::vector<std::byte> data(runtime_bytes);
    d3dkmt_createallocation args{};
    args.device.v = device;
    args.alloc_count = count;
    args.allocation_info = reinterpret_cast<uint64_t>(elements.data());
    args.private_runtime_data = reinterpret_cast<uint64_t>(data.data());
    args.private_runtime_data_size = runtime_bytes;
    return Call(file, 100, LX_DXCREATEALLOCATION, &args);
  }
};

TEST_F(CreateAllocationLimits, OfElements) {
  EXPECT_EQ(Create(1, 0), 0);
  EXPECT_EQ(Create(1024, 0), 0);
  EXPECT_EQ(Create(1025, 0), -EINVAL);
  EXPECT_EQ(Create(0, 0), -EINVAL);
}

// The driver looks at its message without the transport's header first.
TEST_F(CreateAllocationLimits, OfBytes) {
  constexpr uint32_t kHead = 64, kElement = 12;
  EXPECT_EQ(Create(3, kMessageMax - kHead - 3 * kElement - kTransportHeaderBytes), 0);
  EXPECT_EQ(Create(3, kMessageMax - kHead - 3 * kElement - kTransportHeaderBytes + 1), -EINVAL);
  EXPECT_EQ(Create(3, kMessageMax - kHead - 3 * kElement), -EINVAL);
  EXPECT_EQ(Create(3, kMessageMax - kHead - 3 * kElement + 1), -EOVERFLOW);
}

TEST_F(DriverTest, EnumerationsTakeAsMuchRoomAsTheyMay) {
  const uint64_t file = Open(100);
  std::vector<d3dkmt_adapterinfo> rows(65536);
  d3dkmt_enumadapters2 two{64, 0, reinterpret_cast<uint64_t>(rows.data())};
  EXPECT_EQ(Call(file, 100, LX_DXENUMADAPTERS2, &two), 0);
  two.num_adapters = 65;
  EXPECT_EQ(Call(file, 100, LX_DXENUMADAPTERS2, &two), -EINVAL);
  two.num_adapters = 0;
  EXPECT_EQ(Call(file, 100, LX_DXENUMADAPTERS2, &two), -EOVERFLOW);
  d3dkmt_enumadapters3 three{};
  three.adapter_count = 65535;
  three.adapters = two.adapters;
  EXPECT_EQ(Call(file, 100, LX_DXENUMADAPTERS3, &three), 0);
  three.adapter_count = 65536;
  EXPECT_EQ(Call(file, 100, LX_DXENUMADAPTERS3, &three), -EINVAL);
  driver.Release(file);
}

}  // namespace
}  // namespace dxg::guest
