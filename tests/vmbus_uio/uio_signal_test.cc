#include "cuse-dxg/backend/uio/uio_signal.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <cerrno>
#include <cstring>

#include "tests/vmbus_uio/fake_node.h"

namespace dxg::vmbus {
namespace {

constexpr size_t kRings = 64 << 10;

uint32_t Word(std::span<std::byte> page, size_t offset) {
  uint32_t word;
  std::memcpy(&word, page.data() + offset, sizeof(word));
  return word;
}

bool IsReady(int fd) {
  pollfd file = {fd, POLLIN, 0};
  return poll(&file, 1, 0) == 1;
}

TEST(UioSignal, WithoutMonitorTheKernelSignals) {
  FakeWire wire(kRings);
  auto signal = *UioSignal::Create(wire.TakeNode(), std::nullopt);
  signal->Ring();
  ASSERT_TRUE(wire.WaitForSignal());
  EXPECT_EQ(wire.Signal(), std::nullopt);  // once
  for (const std::byte byte : wire.monitor()) ASSERT_EQ(byte, std::byte{0});
}

struct MonitorBit {
  unsigned monitor;
  size_t offset;
  uint32_t bit;
};

class Monitored : public testing::TestWithParam<MonitorBit> {};

TEST_P(Monitored, SetsItsBitAndCallsNobody) {
  const auto& [monitor, offset, bit] = GetParam();
  FakeWire wire(kRings);
  const uint32_t others = ~bit & 0x80000001;
  std::memcpy(wire.monitor().data() + offset, &others, sizeof(others));
  auto signal = *UioSignal::Create(wire.TakeNode(), monitor);
  signal->Ring();
  signal->Ring();
  EXPECT_EQ(Word(wire.monitor(), offset), others | bit);
  EXPECT_EQ(wire.Signal(), std::nullopt);
  uint32_t elsewhere = 0;
  for (size_t at = 0; at < wire.monitor().size(); at += 4)
    elsewhere |= at == offset ? 0 : Word(wire.monitor(), at);
  EXPECT_EQ(elsewhere, 0u);
}

INSTANTIATE_TEST_SUITE_P(Monitors, Monitored,
                         testing::Values(MonitorBit{0, 8, 1}, MonitorBit{31, 8, 1u << 31},
                                         MonitorBit{32, 16, 1}, MonitorBit{127, 32, 1u << 31}),
                         [](const auto& info) { return std::to_string(info.param.monitor); });

TEST(UioSignal, RefusesAMonitorThatIsNone) {
  FakeWire wire(kRings);
  EXPECT_EQ(UioSignal::Create(wire.TakeNode(), 128).status().value(), -EPROTO);
}

TEST(UioSignal, InterruptMakesItReadyUntilTaken) {
  FakeWire wire(kRings);
  auto signal = *UioSignal::Create(wire.TakeNode(), std::nullopt);
  EXPECT_FALSE(IsReady(signal->fd()));
  EXPECT_TRUE(signal->Take());  // nothing is there, and nothing is wrong
  wire.Interrupt();
  EXPECT_TRUE(IsReady(signal->fd()));
  EXPECT_TRUE(signal->Take());
  EXPECT_FALSE(IsReady(signal->fd()));
}

TEST(UioSignal, SaysWhenTheChannelIsRescinded) {
  FakeWire wire(kRings);
  auto signal = *UioSignal::Create(wire.TakeNode(), std::nullopt);
  wire.Rescind();
  EXPECT_TRUE(IsReady(signal->fd()));
  EXPECT_FALSE(signal->Take());
  EXPECT_FALSE(signal->Take());
  signal->Ring();  // to nobody
}

}  // namespace
}  // namespace dxg::vmbus
