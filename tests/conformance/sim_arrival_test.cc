// Adapters that come, go and come back while clients work: ordered from the simulated host by its control
// program, and noticed through the node alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "tests/conformance/memory_client.h"
#include "tests/conformance/options.h"
#include "tests/conformance/peer.h"

namespace dxg::conformance {
namespace {

// What the control program says to `orders`; nothing: it failed.
std::optional<std::string> Order(const std::string& orders) {
  FILE* const program = popen((options().ctl + " ctl " + orders).c_str(), "re");
  if (program == nullptr) return std::nullopt;
  std::string said;
  char part[256];
  while (fgets(part, sizeof(part), program) != nullptr) said += part;
  return pclose(program) == 0 ? std::optional(said) : std::nullopt;
}

// "00000000-00010010 ...", as the control program writes it.
winluid LuidIn(const std::string& line) {
  winluid luid = {};
  if (std::sscanf(line.c_str(), "%8x-%8x", &luid.b, &luid.a) != 2)
    throw std::runtime_error("no LUID in: " + line);
  return luid;
}

bool Lists(const Node& node, winluid luid) {
  bool listed = false;
  for (const d3dkmt_adapterinfo& each : node.EnumAdapters()) {
    listed |= each.adapter_luid.a == luid.a && each.adapter_luid.b == luid.b;
    node.CloseAdapter(each.adapter_handle);
  }
  return listed;
}

int TryOpen(const Node& node, winluid luid) {
  d3dkmt_openadapterfromluid args = {};
  args.adapter_luid = luid;
  const int result = node.TryIoctl(LX_DXOPENADAPTERFROMLUID, args);
  if (result == 0) node.CloseAdapter(args.adapter_handle);
  return result;
}

int TryCreateAndDestroyDevice(const Node& node, d3dkmthandle adapter) {
  d3dkmt_createdevice args = {};
  args.adapter = adapter;
  const int result = node.TryIoctl(LX_DXCREATEDEVICE, args);
  if (result == 0) node.DestroyDevice(args.device);
  return result;
}

// An adapter that the host adds and, unless it has gone, removes.
class Arrival {
 public:
  Arrival() {
    const auto said = Order("adapter add integrated");
    if (!said) throw std::runtime_error("the host adds no adapter");
    text_ = said->substr(0, said->find_first_of(" \n"));
    luid = LuidIn(text_);
  }
  Arrival(const Arrival&) = delete;
  Arrival& operator=(const Arrival&) = delete;
  ~Arrival() { Go(); }
  void Go() {
    if (!std::exchange(gone_, true)) {
      EXPECT_TRUE(Order("adapter remove " + text_));
    }
  }

  winluid luid = {};

 private:
  std::string text_;
  bool gone_ = false;
};

TEST(SimArrival, ComesIntoANodeThatIsOpenAndGoesFromClientsThatUseIt) {
  const MemoryClient bystander;
  const Node node = OpenNode();
  Arrival arrival;
  ASSERT_TRUE(Eventually([&] { return Lists(node, arrival.luid); }));
  const d3dkmthandle adapter = node.OpenAdapter(arrival.luid), device = node.CreateDevice(adapter);
  EXPECT_EQ(node.ExecutionState(device), _D3DKMT_DEVICEEXECUTION_ACTIVE);
  EXPECT_EQ(TryCreateAndDestroyDevice(node, adapter), 0);
  arrival.Go();
  ASSERT_TRUE(Eventually([&] { return !Lists(node, arrival.luid); }));
  EXPECT_EQ(TryCreateAndDestroyDevice(node, adapter), -ENODEV)
      << "what was open is of an adapter that has gone";
  EXPECT_LT(TryOpen(node, arrival.luid), 0);
  EXPECT_EQ(bystander.node.ExecutionState(bystander.device), _D3DKMT_DEVICEEXECUTION_ACTIVE);
  EXPECT_NE(bystander.Create().v, 0u) << "the others have nothing of it";
}

TEST(SimArrival, ComesBackAsAnotherAndTheOldHandlesStayDead) {
  const Node node = OpenNode();
  std::optional<d3dkmthandle> old;
  winluid before = {};
  for (int round = 0; round < 3; ++round) {
    Arrival arrival;
    ASSERT_TRUE(Eventually([&] { return Lists(node, arrival.luid); }));
    EXPECT_NE(arrival.luid.a, before.a);
    if (old) {
      EXPECT_EQ(TryCreateAndDestroyDevice(node, *old), -ENODEV);
    }
    const d3dkmthandle adapter = node.OpenAdapter(arrival.luid);
    EXPECT_EQ(TryCreateAndDestroyDevice(node, adapter), 0);
    EXPECT_EQ(TryOpen(OpenNode(), arrival.luid), 0) << "for a client that opens the node now, too";
    arrival.Go();
    ASSERT_TRUE(Eventually([&] { return !Lists(node, arrival.luid); }));
    old = adapter;
    before = arrival.luid;
  }
}

}  // namespace
}  // namespace dxg::conformance
