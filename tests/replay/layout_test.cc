// A call is in memory what it was in its messages: what a client lays out is what a node reads, and back.
#include "cuse-dxg/replay/layout.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iterator>
#include <string_view>

#include "cuse-dxg/replay/values.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/flags.h"
#include "proto/contract/calls.gen.h"
#include "tests/trace/random_message.h"

namespace dxg::replay {
namespace {

constexpr uint64_t kSeed = 20261130;  // any number
constexpr uint64_t kFault = 0x10;

// The client is this process.
ClientMemory Own() {
  return {.read =
              [](uint64_t address, std::span<std::byte> to) {
                if (address == kFault) return false;
                std::memcpy(to.data(), reinterpret_cast<const void*>(address),
                            to.size());  // Safety: laid out by us
                return true;
              },
          .write =
              [](uint64_t address, std::span<const std::byte> from) {
                if (address == kFault) return false;
                std::memcpy(reinterpret_cast<void*>(address), from.data(), from.size());  // Safety: the same
                return true;
              }};
}

uint64_t NoMemory(uint64_t) { return 0x7000; }

TEST(Layout, EveryCallIsReadAsItWasLaidOut) {
  trace::Random random(kSeed);
  for (const contract::CallRow& row : contract::Calls()) {
    for (int i = 0; i < 20; ++i) {
      // What has any fields at all: through the struct once, so that counts and lists fit each other.
      std::unique_ptr<Message> request(row.request->New());
      trace::Randomize(request.get(), random);
      for (const contract::Buffer& buffer : row.in) {
        if (const auto* field = request->GetDescriptor()->FindFieldByName(buffer.name))
          request->GetReflection()->ClearField(request.get(), field);
      }
      const std::unique_ptr<Message> reply(row.reply->New());
      ClientCall call(row, *request, *reply, -EINVAL, {kFault, ""}, NoMemory);
      const std::unique_ptr<Message> read(row.request->New()), again(row.request->New());
      const auto* const args = static_cast<const std::byte*>(call.args());
      row.read_request(args, read.get());
      ReadBuffers(row, args, Own(), read.get());
      ClientCall second(row, *read, *reply, -EINVAL, {kFault, ""}, NoMemory);
      row.read_request(static_cast<const std::byte*>(second.args()), again.get());
      ReadBuffers(row, static_cast<const std::byte*>(second.args()), Own(), again.get());
      EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*read, *again)) << row.name;
    }
  }
}

calls::CreateAllocation::Request Allocation() {
  calls::CreateAllocation::Request request;
  request.set_device(0x40);
  request.set_alloc_count(2);
  for (const char* data : {"first", "other one"}) {
    auto* const info = request.add_allocation_info();
    info->set_priv_drv_data(data);
    info->set_priv_drv_data_size(static_cast<uint32_t>(std::strlen(data)));
  }
  return request;
}

TEST(Layout, ListsInListsAreLaidOutAndRead) {
  const auto& row = calls::CreateAllocation::Row();
  const auto request = Allocation();
  ClientCall call(row, request, *row.reply, 0, {kFault, ""}, NoMemory);
  calls::CreateAllocation::Request read;
  row.read_request(static_cast<const std::byte*>(call.args()), &read);
  ReadBuffers(row, static_cast<const std::byte*>(call.args()), Own(), &read);
  EXPECT_EQ(read.SerializeAsString(), request.SerializeAsString());
}

// However many elements lead to however much: of a call only so much is copied.
TEST(Layout, TheBuffersOfACallAreBoundedTogether) {
  constexpr uint32_t kEach = 64 << 10, kElements = 200;
  const auto& row = calls::CreateAllocation::Row();
  calls::CreateAllocation::Request request;
  request.set_device(0x40);
  request.set_alloc_count(kElements);
  for (uint32_t i = 0; i < kElements; ++i) {
    auto* const info = request.add_allocation_info();
    info->set_priv_drv_data(std::string(kEach, 'd'));
    info->set_priv_drv_data_size(kEach);
  }
  ClientCall call(row, request, *row.reply, 0, {kFault, ""}, NoMemory);
  calls::CreateAllocation::Request read;
  const auto* const args = static_cast<const std::byte*>(call.args());
  row.read_request(args, &read);
  uint64_t copied = 0;
  ClientMemory counted = Own();
  counted.read = [&copied, read = counted.read](uint64_t address, std::span<std::byte> to) {
    copied += to.size();
    return read(address, to);
  };
  ReadBuffers(row, args, counted, &read);
  EXPECT_LE(copied, 6u << 20);
  EXPECT_GE(copied, 5u << 20);
  EXPECT_EQ(read.allocation_info(0).priv_drv_data().size(), kEach);
  EXPECT_EQ(read.allocation_info(kElements - 1).priv_drv_data().size(), 0u);
}

// The node writes handles and keeps what else the client's elements have.
TEST(Layout, ElementsKeepWhatTheReplyDoesNotHave) {
  const auto& row = calls::CreateAllocation::Row();
  const auto request = Allocation();
  ClientCall call(row, request, *row.reply, 0, {kFault, ""}, NoMemory);
  auto* const args = static_cast<std::byte*>(call.args());
  calls::CreateAllocation::Reply reply;
  for (uint32_t i = 0; i < 2; ++i) {
    *reply.add_allocation_info() = request.allocation_info(static_cast<int>(i));
    reply.mutable_allocation_info(static_cast<int>(i))->set_allocation(0x80 + i);
  }
  ASSERT_TRUE(WriteBuffers(row, args, Own(), reply).ok());
  const auto seen = call.ReadReply();
  EXPECT_EQ(static_cast<const calls::CreateAllocation::Reply&>(*seen).allocation_info(1).allocation(), 0x81u);
  calls::CreateAllocation::Request read;
  row.read_request(args, &read);
  ReadBuffers(row, args, Own(), &read);
  EXPECT_EQ(read.allocation_info(1).priv_drv_data(), "other one");
}

TEST(Layout, AListThatWasNotReadIsOneThatCannotBe) {
  const auto& row = calls::Evict::Row();
  calls::Evict::Request request;
  request.set_alloc_count(3);
  ClientCall refused(row, request, *row.reply, -EFAULT, {kFault, ""}, NoMemory);
  request.add_allocations(1);
  ClientCall named(row, request, *row.reply, -EFAULT, {kFault, row.in[0].name}, NoMemory);
  for (ClientCall* call : {&refused, &named}) {
    calls::Evict::Request read;
    row.read_request(static_cast<const std::byte*>(call->args()), &read);
    ReadBuffers(row, static_cast<const std::byte*>(call->args()), Own(), &read);
    EXPECT_EQ(read.alloc_count(), 3u);
    EXPECT_EQ(read.allocations_size(), 0);
  }
}

uint64_t PointerIn(ClientCall& call, uint16_t offset) {
  uint64_t pointer = 0;
  std::memcpy(&pointer, static_cast<const std::byte*>(call.args()) + offset, sizeof(pointer));
  return pointer;
}

// Null asks for a number only, and where no program has memory nothing is to be read.
TEST(Layout, PointersAreThoseThatWereRecorded) {
  const auto& row = calls::EnumAdapters3::Row();
  ASSERT_EQ(row.addresses.size(), 1u);
  calls::EnumAdapters3::Request request;
  request.set_adapter_count(4);
  for (const uint64_t recorded : {uint64_t{0}, uint64_t{0x1000}, ~uint64_t{0} - 7}) {
    const uint64_t addresses[] = {recorded};
    for (const int32_t result : {0, -EFAULT}) {
      ClientCall call(row, request, *row.reply, result, {kFault, ""}, NoMemory, addresses);
      EXPECT_EQ(PointerIn(call, row.out[0].pointer), recorded);
    }
  }
  const uint64_t somewhere[] = {0x7ffc93719634};
  ClientCall call(row, request, *row.reply, -EINVAL, {kFault, ""}, NoMemory, somewhere);
  EXPECT_NE(PointerIn(call, row.out[0].pointer), 0u);
  EXPECT_NE(PointerIn(call, row.out[0].pointer), somewhere[0]) << "that is nobody's here";
}

TEST(Layout, WhatWasBesideAFaultIsOneToo) {
  const auto& row = calls::SignalSynchronizationObjectFromCpu::Row();
  calls::SignalSynchronizationObjectFromCpu::Request request;
  request.set_object_count(1);
  request.add_objects(0);
  request.add_fence_values(0);
  const uint64_t addresses[] = {0x7f0000001008, 0x7f0000001ff0};
  ASSERT_EQ(row.addresses.size(), std::size(addresses));
  const ClientCall::Fault fault{.address = kFault, .buffer = row.in[0].name, .recorded = 0x7f0000001008};
  ClientCall call(row, request, *row.reply, -EFAULT, fault, NoMemory, addresses);
  EXPECT_EQ(PointerIn(call, row.in[0].pointer), kFault);
  EXPECT_EQ(PointerIn(call, row.in[1].pointer), kFault);
}

TEST(Layout, WhatCouldNotBeWrittenIsThereToBeRead) {
  const auto& row = calls::CreateAllocation::Row();
  const auto request = Allocation();
  const ClientCall::Fault fault{.address = kFault, .buffer = "allocation_info", .read_only = true};
  ClientCall call(row, request, *row.reply, -EFAULT, fault, NoMemory);
  calls::CreateAllocation::Request read;
  row.read_request(static_cast<const std::byte*>(call.args()), &read);
  ReadBuffers(row, static_cast<const std::byte*>(call.args()), Own(), &read);
  EXPECT_EQ(read.SerializeAsString(), request.SerializeAsString());
  for (const contract::Buffer& buffer : row.in) {
    if (std::string_view(buffer.name) != "allocation_info") continue;
    const auto lists = PointerIn(call, buffer.pointer);
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    EXPECT_EQ(::write(ends[1], "x", 1), 1);
    EXPECT_EQ(::read(ends[0], reinterpret_cast<void*>(lists), 1), -1);  // Safety: for the kernel, which looks
    EXPECT_EQ(errno, EFAULT);
    close(ends[0]);
    close(ends[1]);
  }
}

TEST(Layout, OfARefusedCallAnElementSaysWhetherItHadMemory) {
  const auto& row = calls::CreateAllocation::Row();
  auto request = Allocation();
  request.set_flags(0x10000);
  request.mutable_standard_allocation()->set_existing_heap_size(8192);
  request.mutable_allocation_info(1)->set_has_sysmem(true);
  ClientCall call(row, request, *row.reply, -EINVAL, {kFault, ""}, NoMemory);
  EXPECT_EQ(OwnMemoryIn(row, static_cast<const std::byte*>(call.args()), Own()),
            (std::vector<uint64_t>{0, 0x7000}));
}

TEST(Layout, ExistingMemoryIsTheClientsOwn) {
  const auto& row = calls::CreateAllocation::Row();
  auto request = Allocation();
  constexpr uint32_t kStandard = 0x10000;
  request.set_flags(kStandard);
  request.mutable_standard_allocation()->set_existing_heap_size(8192);
  uint64_t asked = 0;
  ClientCall call(row, request, *row.reply, 0, {kFault, ""}, [&](uint64_t bytes) {
    asked = bytes;
    return uint64_t{0x7000};
  });
  EXPECT_EQ(asked, 8192u);
  EXPECT_EQ(OwnMemoryIn(row, static_cast<const std::byte*>(call.args()), Own()),
            (std::vector<uint64_t>{0x7000, 0x7000}));
}

// The rules that nobody would see missing: every address at which memory is shown is a member of its call.
TEST(Layout, WhatIsRewrittenIsSeen) {
  calls::SubmitCommand::Request request;
  request.set_broadcast_context_count(1);
  for (uint32_t i = 1; i <= 64; ++i) request.add_broadcast_context(i);
  int handles = 0;
  ForEachValue(request, request, [&](const Value& value) { handles += value.kind == Kind::kHandle; });
  EXPECT_EQ(handles, 1) << "of a list inside the struct only what its count says";
}

// The driver writes where that escape's header says: into memory of this process, or where nothing is.
TEST(Layout, AddressesInATestEscapeAreOfThisProcess) {
  d3dddi_buildtestcommandbuffer header{};
  header.escape_type = _D3DDDI_DRIVERESCAPETYPE_BUILDTESTCOMMANDBUFFER;
  header.dma_buffer = 0x7f0000000000;
  header.dma_buffer_priv_data = 0x1000;
  calls::Escape::Request request;
  request.set_type(_D3DKMT_ESCAPE_DRIVERPRIVATE);
  request.set_flags(DXG_ESCAPE_DRIVER_KNOWN);
  request.set_priv_drv_data_size(sizeof(header));
  request.set_priv_drv_data(&header, sizeof(header));
  ClientCall call(calls::Escape::Row(), request, calls::Escape::Reply(), -EFAULT, {kFault, ""}, NoMemory);
  calls::Escape::Request read;
  ReadBuffers(calls::Escape::Row(), static_cast<const std::byte*>(call.args()), Own(), &read);
  ASSERT_EQ(read.priv_drv_data().size(), sizeof(header));
  d3dddi_buildtestcommandbuffer laid_out{};
  std::memcpy(&laid_out, read.priv_drv_data().data(), sizeof(laid_out));
  EXPECT_NE(laid_out.dma_buffer, header.dma_buffer);
  EXPECT_EQ(laid_out.dma_buffer_priv_data, header.dma_buffer_priv_data);
  const uint64_t zero = 0;
  EXPECT_TRUE(Own().write(laid_out.dma_buffer, std::as_bytes(std::span(&zero, 1))));
}

}  // namespace
}  // namespace dxg::replay
