// What a recorded client wrote into memory is where the one that is played has it.
#include "cuse-dxg/replay/played_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "base/page.h"
#include "tests/replay/made_recording.h"

namespace dxg::replay {
namespace {

constexpr uint64_t kThere = 0x7f0000000000;  // in the recorded client
constexpr uint64_t kGpu = 0x40000, kGpuHere = 0x90000;
constexpr uint32_t kAllocation = 0x40000040;

class PlayedMemoryTest : public testing::Test {
 protected:
  TraceMemory& Remember(TraceRecord& record, uint64_t address, const std::string& contents) {
    TraceMemory& memory = *record.mutable_call()->add_memory();
    memory.set_address(address);
    memory.set_bytes(contents.size());
    memory.set_contents(contents);
    return memory;
  }
  void Map() {
    calls::MapGpuVirtualAddress::Request request;
    calls::MapGpuVirtualAddress::Reply reply;
    request.set_allocation(kAllocation);
    request.set_size_in_pages(1);
    reply.set_virtual_address(kGpu);
    made.Add<calls::MapGpuVirtualAddress>(request, reply, 0x103);
  }
  void Lock() {
    calls::Lock2::Request request;
    request.set_allocation(kAllocation);
    made.Add<calls::Lock2>(request, {}).mutable_call()->add_addresses(kThere);
  }
  TraceRecord& Submit() {
    calls::SubmitCommand::Request request;
    request.set_command_buffer(kGpu + 16);
    request.set_command_length(8);
    return made.Add<calls::SubmitCommand>(request, {});
  }
  // Answers as here: at these addresses.
  void Learn(const RecordedCall& call, uint64_t gpu) {
    calls::MapGpuVirtualAddress::Reply mapped;
    mapped.set_virtual_address(gpu);
    const bool is_map = call.row->code == calls::MapGpuVirtualAddress::kCode;
    ClientCall laid_out(
        *call.row, *call.Request(), *call.Reply(), call.result, {}, [](uint64_t) { return 0; },
        call.addresses);
    if (call.row->code == calls::Lock2::kCode) {
      const uint64_t here = reinterpret_cast<uint64_t>(page);  // Safety: a number
      std::memcpy(static_cast<std::byte*>(laid_out.args()) + call.row->addresses.front().offset, &here,
                  sizeof(here));
    }
    memory.Learn(call, {}, laid_out, is_map ? static_cast<const Message&>(mapped) : *call.Reply());
  }
  uint64_t Rename(uint64_t word) const { return memory.Mapped(word) != 0 ? memory.Mapped(word) : word; }
  uint64_t WordAt(size_t offset) const {
    uint64_t word = 0;
    std::memcpy(&word, page + offset, sizeof(word));
    return word;
  }
  alignas(kPageBytes) char page[kPageBytes] = {};
  MadeRecording made;
  PlayedMemory memory;
};

TEST_F(PlayedMemoryTest, CommandsAreWhereTheNodeLooksWithAddressesOfThisRun) {
  Map();
  Lock();
  const uint64_t address = kGpu + 8;
  Remember(Submit(), kThere + 16, std::string(reinterpret_cast<const char*>(&address), sizeof(address)));
  const auto recording = made.Take();
  Learn(recording->calls()[0], kGpuHere);
  Learn(recording->calls()[1], 0);
  memory.Put(recording->calls()[2], {}, [this](uint64_t word) { return Rename(word); });
  EXPECT_EQ(WordAt(16), kGpuHere + 8);
  EXPECT_EQ(WordAt(0), 0u);
}

// A device takes its mappings along, and an address is that of something else.
TEST_F(PlayedMemoryTest, TheLastNameOfAnAddressCounts) {
  Map();
  const auto recording = made.Take();
  Learn(recording->calls()[0], kGpuHere);
  memory.Name(kGpu, kGpuHere + 0x10000);  // a fence
  EXPECT_EQ(memory.Mapped(kGpu + 8), kGpuHere + 0x10008);
  EXPECT_EQ(memory.Mapped(kGpu + kPageBytes), 0u);
}

TEST_F(PlayedMemoryTest, WhatIsGoneIsNotWritten) {
  Map();
  Lock();
  calls::DestroyAllocation2::Request destroy;
  destroy.add_allocations(kAllocation);
  made.Add<calls::DestroyAllocation2>(destroy, {});
  Remember(Submit(), kThere + 16, "contents");
  const auto recording = made.Take();
  for (size_t i = 0; i < 3; ++i) Learn(recording->calls()[i], kGpuHere);
  memory.Put(recording->calls()[3], {}, [](uint64_t word) { return word; });
  EXPECT_EQ(WordAt(16), 0u);
}

// Each element's, also behind one that was too large for a copy. What cannot be written does no harm.
TEST_F(PlayedMemoryTest, TheClientsOwnIsInTheOrderOfItsElements) {
  TraceRecord& record = made.Add<calls::CreateAllocation>({}, {});
  Remember(record, kThere, "first");
  TraceMemory& rest = *record.mutable_call()->add_memory();
  rest.set_address(kThere + 5);
  rest.set_bytes(100);
  Remember(record, kThere + 0x10000, "second");
  Remember(record, kThere + 0x20000, "third");
  const auto recording = made.Take();
  const RecordedCall& call = recording->calls()[0];
  EXPECT_EQ(PlayedMemory::OwnBytes(call, 0), 105u);
  EXPECT_EQ(PlayedMemory::OwnBytes(call, 1), 6u);
  EXPECT_EQ(PlayedMemory::OwnBytes(call, 3), 0u);
  const uint64_t here = reinterpret_cast<uint64_t>(page);  // Safety: a number
  memory.Put(call, {here, here + 64, 0x1000}, [](uint64_t word) { return word; });
  EXPECT_STREQ(page, "first");
  EXPECT_STREQ(page + 64, "second");
}

}  // namespace
}  // namespace dxg::replay
