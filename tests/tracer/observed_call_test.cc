// A call as its caller's memory has it. The caller is the test itself.
#include "cuse-dxg/tracer/observed_call.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/page.h"
#include "cuse-dxg/tracer/tracee_memory.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/contract/calls.gen.h"

namespace dxg::tracer {
namespace {

uint64_t Address(const void* here) {
  return reinterpret_cast<uint64_t>(here);
}  // Safety: never followed here

template <typename Args>
ObservedCall Observe(uint32_t code, const Args& args) {
  return ObservedCall(gettid(), code, Address(&args), true);
}

template <class Traits>
typename Traits::Request RequestIn(const TraceCall& call) {
  typename Traits::Request request;
  EXPECT_TRUE(call.has_request() && request.ParseFromString(call.request()));
  return request;
}

template <class Traits>
typename Traits::Reply ReplyIn(const TraceCall& call) {
  typename Traits::Reply reply;
  EXPECT_TRUE(call.has_reply() && reply.ParseFromString(call.reply()));
  return reply;
}

TEST(ObservedCall, HasWhatWasThereBeforeAndAfter) {
  uint32_t type = 0x11;
  d3dkmt_queryadapterinfo args{};
  args.adapter.v = 0x40000040;
  args.type = _KMTQAITYPE_ADAPTERTYPE;
  args.private_data = Address(&type);
  args.private_data_size = sizeof(type);
  ObservedCall call = Observe(LX_DXQUERYADAPTERINFO, args);
  type = 0x91;
  TraceCall recorded;
  call.Ended(0, &recorded);
  EXPECT_EQ(recorded.code(), static_cast<uint32_t>(LX_DXQUERYADAPTERINFO));
  const auto request = RequestIn<calls::QueryAdapterInfo>(recorded);
  EXPECT_EQ(request.adapter(), 0x40000040u);
  EXPECT_EQ(request.private_data(), std::string("\x11\0\0\0", 4));
  EXPECT_EQ(ReplyIn<calls::QueryAdapterInfo>(recorded).private_data(), std::string("\x91\0\0\0", 4));
  EXPECT_TRUE(recorded.raw().empty());
}

TEST(ObservedCall, HasTheBuffersOfElements) {
  char data[2][3] = {{'a', 'b', 'c'}, {'d', 'e', 'f'}};
  d3dddi_allocationinfo2 elements[2] = {};
  for (int i = 0; i < 2; ++i) {
    elements[i].priv_drv_data = Address(data[i]);
    elements[i].priv_drv_data_size = sizeof(data[i]);
  }
  elements[1].sysmem = Address(data);
  d3dkmt_createallocation args{};
  args.alloc_count = 2;
  args.allocation_info = Address(elements);
  ObservedCall call = Observe(LX_DXCREATEALLOCATION, args);
  elements[0].allocation.v = 0x40000000;
  elements[1].allocation.v = 0x40000080;
  data[1][0] = 'D';
  TraceCall recorded;
  call.Ended(0, &recorded);
  const auto request = RequestIn<calls::CreateAllocation>(recorded);
  ASSERT_EQ(request.allocation_info_size(), 2);
  EXPECT_EQ(request.allocation_info(0).priv_drv_data(), "abc");
  EXPECT_EQ(request.allocation_info(1).priv_drv_data(), "def");
  EXPECT_FALSE(request.allocation_info(0).has_sysmem());
  EXPECT_TRUE(request.allocation_info(1).has_sysmem());
  const auto reply = ReplyIn<calls::CreateAllocation>(recorded);
  ASSERT_EQ(reply.allocation_info_size(), 2);
  EXPECT_EQ(reply.allocation_info(1).allocation(), 0x40000080u);
  EXPECT_EQ(reply.allocation_info(1).priv_drv_data(), "Def") << "what the host gives back";
}

TEST(ObservedCall, NamesTheMemoryOfAnExistingHeap) {
  char memory[kPageBytes];
  d3dkmt_createstandardallocation heap{};
  heap.type = _D3DKMT_STANDARDALLOCATIONTYPE_EXISTINGHEAP;
  heap.existing_heap_data.size = sizeof(memory);
  d3dddi_allocationinfo2 element{};
  element.sysmem = Address(memory);
  d3dkmt_createallocation args{};
  args.alloc_count = 1;
  args.allocation_info = Address(&element);
  args.standard_allocation = Address(&heap);
  args.flags.standard_allocation = 1;
  ObservedCall call = Observe(LX_DXCREATEALLOCATION, args);
  EXPECT_TRUE(call.NamedMemory().empty()) << "it is not made yet";
  element.allocation.v = 0x40000080;
  TraceCall recorded;
  call.Ended(0, &recorded);
  const auto named = call.NamedMemory();
  ASSERT_EQ(named.size(), 1u);
  EXPECT_EQ(named[0].address, Address(memory));
  EXPECT_EQ(named[0].bytes, sizeof(memory));
  EXPECT_EQ(named[0].allocation, 0x40000080u);
}

// The node maps beside what it mapped before, and both are one mapping to the kernel.
TEST(ObservedCall, NamesWhatIsMappedByTheLock) {
  std::byte* const pages =
      static_cast<std::byte*>(mmap(nullptr, 3 * kPageBytes, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  mprotect(pages + kPageBytes, kPageBytes, PROT_NONE);  // reserved
  d3dkmt_lock2 args{};
  args.allocation.v = 0x40000080;
  const auto lock = [&args](std::byte* address, auto map) {
    ObservedCall call = Observe(LX_DXLOCK2, args);
    map();
    args.data = Address(address);
    TraceCall recorded;
    call.Ended(0, &recorded);
    args.data = 0;
    return call.NamedMemory();
  };
  const auto named = lock(pages + kPageBytes, [pages] {
    mmap(pages + kPageBytes, kPageBytes, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  });
  ASSERT_EQ(named.size(), 1u);
  EXPECT_EQ(named[0].address, Address(pages) + kPageBytes);
  EXPECT_EQ(named[0].bytes, kPageBytes);
  EXPECT_EQ(named[0].allocation, 0x40000080u);
  const auto again = lock(pages + kPageBytes, [] {});
  ASSERT_EQ(again.size(), 1u);
  EXPECT_GE(again[0].bytes, kPageBytes) << "what is there: who can say how much of it is meant";

  ObservedCall refused = Observe(LX_DXLOCK2, args);
  TraceCall recorded;
  refused.Ended(-EINVAL, &recorded);
  EXPECT_TRUE(refused.NamedMemory().empty());
  munmap(pages, 3 * kPageBytes);
}

TEST(TraceeMemory, NewIsWhatWasNotThere) {
  const std::vector<Mapping> before{{10, 20}, {40, 50}, {70, 80}};
  const std::vector<Mapping> now{{10, 30}, {35, 80}, {90, 95}};
  EXPECT_EQ(NewFrom(20, before, now), 10u);
  EXPECT_EQ(NewFrom(36, before, now), 4u) << "up to what was there";
  EXPECT_EQ(NewFrom(50, before, now), 20u);
  EXPECT_EQ(NewFrom(91, before, now), 4u);
  EXPECT_EQ(NewFrom(15, before, now), 15u) << "it was there";
  EXPECT_EQ(NewFrom(8, {{0, 10}}, {{0, 1 << 20}}), kOldMax) << "how much of it is meant is not known";
  EXPECT_EQ(NewFrom(32, before, now), 0u) << "nothing is there";
  EXPECT_EQ(NewFrom(99, before, now), 0u);
}

TEST(ObservedCall, HasAsMuchAsThereIsRoomFor) {
  d3dkmt_adapterinfo adapters[4] = {};
  d3dkmt_enumadapters2 args{};
  args.num_adapters = 2;
  args.adapters = Address(adapters);
  ObservedCall call = Observe(LX_DXENUMADAPTERS2, args);
  args.num_adapters = 4;  // that there are
  TraceCall recorded;
  call.Ended(0, &recorded);
  const auto reply = ReplyIn<calls::EnumAdapters2>(recorded);
  EXPECT_EQ(reply.num_adapters(), 4u);
  EXPECT_EQ(reply.adapters_size(), 2);
}

TEST(ObservedCall, OfARefusalHasWhatTheNodeChanged) {
  d3dkmt_createdevice args{};
  args.adapter.v = 1;
  args.device.v = 0x77;  // left there by the caller
  ObservedCall untouched = Observe(LX_DXCREATEDEVICE, args);
  TraceCall recorded;
  untouched.Ended(-EINVAL, &recorded);
  EXPECT_TRUE(recorded.has_reply());
  EXPECT_EQ(recorded.reply(), "");

  d3dkmt_queryclockcalibration clock{};
  clock.clock_data.gpu_frequency = 5;
  ObservedCall changed = Observe(LX_DXQUERYCLOCKCALIBRATION, clock);
  clock.clock_data.gpu_clock_counter = 9;
  changed.Ended(-EINVAL, &recorded);
  const auto reply = ReplyIn<calls::QueryClockCalibration>(recorded);
  EXPECT_EQ(reply.gpu_clock_counter(), 9u);
  EXPECT_EQ(reply.gpu_frequency(), 0u) << "that was the caller's";
}

TEST(ObservedCall, KnowsValuesFromAddresses) {
  const uint32_t objects[2] = {0x40000000, 0x40000040};
  const uint64_t values[2] = {7, 8};
  d3dkmt_waitforsynchronizationobjectfromgpu args{};
  args.object_count = 2;
  args.objects = Address(objects);
  args.monitored_fence_values = Address(values);
  TraceCall recorded;
  Observe(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, args).Ended(0, &recorded);
  auto request = RequestIn<calls::WaitForSynchronizationObjectFromGpu>(recorded);
  ASSERT_EQ(request.fence_values_size(), 2);
  EXPECT_EQ(request.fence_values(1), 8u);

  args.reserved[0] = 3, args.reserved[1] = 4;
  Observe(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, args).Ended(0, &recorded);
  request = RequestIn<calls::WaitForSynchronizationObjectFromGpu>(recorded);
  ASSERT_EQ(request.fence_values_size(), 2);
  EXPECT_EQ(request.fence_values(0), 3u);
  EXPECT_EQ(request.fence_values(1), 4u);
}

TEST(ObservedCall, OfAResourceHasOneElement) {
  uint32_t status = 3;
  d3dkmt_queryallocationresidency args{};
  args.resource.v = 0x40000000;
  args.residency_status = Address(&status);
  TraceCall recorded;
  Observe(LX_DXQUERYALLOCATIONRESIDENCY, args).Ended(0, &recorded);
  EXPECT_EQ(ReplyIn<calls::QueryAllocationResidency>(recorded).residency_status_size(), 1);
  args.resource.v = 0;
  Observe(LX_DXQUERYALLOCATIONRESIDENCY, args).Ended(0, &recorded);
  EXPECT_EQ(ReplyIn<calls::QueryAllocationResidency>(recorded).residency_status_size(), 0);
}

TEST(ObservedCall, WhatNoCallIsHasItsBytes) {
  const char bytes[16] = "fifteen letters";
  constexpr uint32_t kUnknown = _IOC(_IOC_READ | _IOC_WRITE, 'G', 0xf0, sizeof(bytes));
  ObservedCall call(gettid(), kUnknown, Address(bytes), false);
  EXPECT_TRUE(call.is_raw());
  TraceCall recorded;
  call.Ended(-ENOTTY, &recorded);
  EXPECT_FALSE(recorded.has_request() || recorded.has_reply());
  EXPECT_EQ(recorded.raw(), std::string(bytes, sizeof(bytes)));
  EXPECT_EQ(recorded.argument(), Address(bytes));
}

TEST(ObservedCall, WhatCannotBeReadIsNotThere) {
  TraceCall recorded;
  ObservedCall nowhere(gettid(), LX_DXESCAPE, 0x10, false);
  EXPECT_TRUE(nowhere.is_raw());
  nowhere.Ended(-EFAULT, &recorded);
  EXPECT_FALSE(recorded.has_request());
  EXPECT_EQ(recorded.argument(), 0x10u);

  d3dkmt_queryadapterinfo args{};
  args.private_data = 0x10;
  args.private_data_size = 8;
  ObservedCall half = Observe(LX_DXQUERYADAPTERINFO, args);
  recorded.Clear();
  half.Lost(&recorded);
  const auto request = RequestIn<calls::QueryAdapterInfo>(recorded);
  EXPECT_EQ(request.private_data_size(), 8u);
  EXPECT_EQ(request.private_data(), "");
  EXPECT_FALSE(recorded.has_reply());

  // More than any driver takes is not even tried.
  args.private_data = Address(&args);
  args.private_data_size = ~0u;
  recorded.Clear();
  Observe(LX_DXQUERYADAPTERINFO, args).Ended(-EINVAL, &recorded);
  EXPECT_EQ(RequestIn<calls::QueryAdapterInfo>(recorded).private_data(), "");
}

TEST(TraceeMemory, ReadsStringsUpToTheEndOfWhatIsThere) {
  auto* const pages = static_cast<char*>(
      mmap(nullptr, 2 * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(pages, MAP_FAILED);
  ASSERT_EQ(mprotect(pages + kPageBytes, kPageBytes, PROT_NONE), 0);
  char* const end = pages + kPageBytes;
  std::memcpy(end - 9, "/dev/dxg", 9);
  EXPECT_EQ(ReadString(gettid(), Address(end - 9), 4096), "/dev/dxg");
  EXPECT_EQ(ReadString(gettid(), Address(end - 9), 4), "/dev");
  EXPECT_EQ(ReadString(gettid(), Address(end), 4096), "");
  end[-1] = 'x';  // no end within what can be read
  EXPECT_EQ(ReadString(gettid(), Address(end - 9), 4096), "");
  munmap(pages, 2 * kPageBytes);
}

}  // namespace
}  // namespace dxg::tracer
