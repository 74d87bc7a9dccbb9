// A call is in memory what it was in its messages: what a client lays out is what a node reads, and back.
#include "cuse-dxg/replay/layout.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "cuse-dxg/replay/values.h"
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

}  // namespace
}  // namespace dxg::replay
