// EnumProcesses: who has an adapter open.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "tests/conformance/memory.h"
#include "tests/conformance/node.h"
#include "tests/conformance/peer.h"

namespace dxg::conformance {
namespace {

constexpr uint64_t kUpperHalf = 0x5'0000'0000;

int EnumProcesses(const Node& node, winluid luid, uint64_t buffer, uint64_t* count) {
  d3dkmt_enumprocesses args = {luid, buffer, *count};
  const int result = node.TryIoctl(LX_DXENUMPROCESSES, args);
  *count = args.buffer_count;
  return result;
}

std::vector<uint32_t> ProcessesOf(const Node& node, winluid luid) {
  std::vector<uint32_t> pids(4096);
  uint64_t count = pids.size();
  EXPECT_EQ(EnumProcesses(node, luid, Address(pids.data()), &count), 0);
  pids.resize(count);
  return pids;
}

bool Contains(const std::vector<uint32_t>& pids, pid_t pid) {
  return std::count(pids.begin(), pids.end(), static_cast<uint32_t>(pid)) == 1;
}

TEST(EnumProcesses, UnknownLuidIsInvalidAndCountsNobody) {
  const Node node = OpenNode();
  uint32_t pid;
  uint64_t count = kUpperHalf | 1;
  EXPECT_EQ(EnumProcesses(node, kNoSuchLuid, Address(&pid), &count), -EINVAL);
  EXPECT_EQ(count, kUpperHalf);
}

TEST(EnumProcesses, WritesOnlyTheLowHalfOfTheCount) {
  Node node = OpenNode();
  std::vector<uint32_t> pids(4096);
  uint64_t count = kUpperHalf | pids.size();
  EXPECT_EQ(EnumProcesses(node, node.FirstLuid(), Address(pids.data()), &count), 0);
  EXPECT_EQ(count & ~0xffffffffull, kUpperHalf);
  EXPECT_GE(count & 0xffffffff, 1u);
}

// [MSC] 185
TEST(EnumProcesses, TooSmallOverflowsAndSaysHowManyAreNeeded) {
  Node node = OpenNode();
  const winluid luid = node.FirstLuid();
  const uint64_t needed = ProcessesOf(node, luid).size();
  uint32_t pid = 0xa5a5a5a5;
  uint64_t count = 0;
  EXPECT_EQ(EnumProcesses(node, luid, Address(&pid), &count), -EOVERFLOW);
  EXPECT_EQ(count, needed);
  EXPECT_EQ(pid, 0xa5a5a5a5);
  count = 4096;
  EXPECT_EQ(EnumProcesses(node, luid, 0, &count), -EOVERFLOW)
      << "NULL holds nothing, whatever the count says";
  EXPECT_EQ(count, needed);
}

TEST(EnumProcesses, FaultStillWritesTheCountOfThoseBeforeIt) {
  Node node = OpenNode();
  const winluid luid = node.FirstLuid();
  GuardedMemory read_only(sizeof(uint32_t));
  read_only.MakeReadOnly();
  for (uint64_t buffer : {kUnmappedAddress, read_only.address()}) {
    uint64_t count = kUpperHalf | 4096;
    EXPECT_EQ(EnumProcesses(node, luid, buffer, &count), -EFAULT);
    EXPECT_EQ(count, kUpperHalf);
  }
  Peer other([&](Peer& parent) {
    Node own = OpenNode();
    own.OpenAdapter(luid);
    parent.Send(0);
    parent.Receive();
  });
  other.Receive();
  GuardedMemory room_for_one(sizeof(uint32_t));
  uint64_t count = 4096;
  EXPECT_EQ(EnumProcesses(node, luid, room_for_one.address(), &count), -EFAULT);
  EXPECT_EQ(count, 1u);
  EXPECT_NE(*room_for_one.as<uint32_t>(), 0u);
  other.Send(0);
  other.Join();
}

// [MSC] 185
TEST(EnumProcesses, ListsWhoHasTheAdapterOpen) {
  Node node = OpenNode();
  const winluid luid = node.FirstLuid();
  EXPECT_TRUE(Contains(ProcessesOf(node, luid), getpid()));
  Peer other([&](Peer& parent) {
    Node own = OpenNode();
    parent.Send(0);
    parent.Receive();
    own.OpenAdapter(luid);
    parent.Send(0);
    parent.Receive();
  });
  other.Receive();
  EXPECT_FALSE(Contains(ProcessesOf(node, luid), other.pid())) << "the node is open, the adapter is not";
  other.Send(0);
  other.Receive();
  EXPECT_TRUE(Contains(ProcessesOf(node, luid), other.pid()));
  other.Send(0);
  other.Join();
  EXPECT_TRUE(Eventually([&] { return !Contains(ProcessesOf(node, luid), other.pid()); })) << "it has ended";
}

// [MSC] 185
TEST(EnumProcesses, ForgetsAKilledProcess) {
  Node node = OpenNode();
  const winluid luid = node.FirstLuid();
  Peer other([&](Peer& parent) {
    Node own = OpenNode();
    own.CreateDevice(own.FirstAdapter());
    parent.Send(0);
    parent.Receive();
  });
  other.Receive();
  EXPECT_TRUE(Contains(ProcessesOf(node, luid), other.pid()));
  other.Kill();
  EXPECT_TRUE(Eventually([&] { return !Contains(ProcessesOf(node, luid), other.pid()); }));
}

}  // namespace
}  // namespace dxg::conformance
