// Contexts, priorities and device errors as the simulated host treats them.

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tests/conformance/memory.h"
#include "tests/conformance/node.h"
#include "tests/conformance/sim_queries.h"

namespace dxg::conformance {
namespace {

constexpr uint32_t kPrivateDataMax = 131001;  // what a message has left for it

int TryCreateContext(const Node& node, d3dkmt_createcontextvirtual args) {
  return node.TryIoctl(LX_DXCREATECONTEXTVIRTUAL, args);
}

int SetPriority(const Node& node, d3dkmthandle context, int priority) {
  d3dkmt_setcontextschedulingpriority args = {context, priority};
  return node.TryIoctl(LX_DXSETCONTEXTSCHEDULINGPRIORITY, args);
}

int GetPriority(const Node& node, d3dkmthandle context) {
  d3dkmt_getcontextschedulingpriority args = {context, 77};
  node.Ioctl(LX_DXGETCONTEXTSCHEDULINGPRIORITY, args, "GetContextSchedulingPriority");
  return args.priority;
}

int SetInProcessPriority(const Node& node, d3dkmthandle context, int priority) {
  d3dkmt_setcontextinprocessschedulingpriority args = {context, priority};
  return node.TryIoctl(LX_DXSETCONTEXTINPROCESSSCHEDULINGPRIORITY, args);
}

int GetInProcessPriority(const Node& node, d3dkmthandle context) {
  d3dkmt_getcontextinprocessschedulingpriority args = {context, 77};
  node.Ioctl(LX_DXGETCONTEXTINPROCESSSCHEDULINGPRIORITY, args, "GetContextInProcessSchedulingPriority");
  return args.priority;
}

int MarkDeviceAsError(const Node& node, d3dkmthandle device,
                      uint32_t reason = _D3DKMT_DEVICE_ERROR_REASON_GENERIC) {
  d3dkmt_markdeviceaserror args = {device, reason};
  return node.TryIoctl(LX_DXMARKDEVICEASERROR, args);
}

// ---- CreateDevice ----

// The host refuses by answering without a handle, and the call cannot say so.
TEST(SimCreateDevice, ReservedFlagMakesNoDevice) {
  Node node = OpenNode();
  d3dkmt_createdevice args = {};
  args.adapter = node.FirstAdapter();
  args.flags.reserved = 1;
  args.device.v = 0x12345678;
  EXPECT_EQ(node.TryIoctl(LX_DXCREATEDEVICE, args), 0);
  EXPECT_EQ(args.device.v, 0x12345678u);
}

TEST(SimCreateDevice, KnownFlagsAreTaken) {
  Node node = OpenNode();
  d3dkmt_createdevice args = {};
  args.adapter = node.FirstAdapter();
  args.flags.legacy_mode = 1;
  args.flags.disable_gpu_timeout = 1;
  EXPECT_EQ(node.TryIoctl(LX_DXCREATEDEVICE, args), 0);
  EXPECT_TRUE(node.IsDevice(args.device));
}

// ---- CreateContextVirtual ----

// [QAI] 35
TEST(SimCreateContext, SucceedsOnExactlyTheNodesOfTheAdapter) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  const uint32_t nodes = static_cast<uint32_t>(Nodes(node).size());
  for (uint32_t i = 0; i < nodes; ++i) EXPECT_TRUE(node.TryCreateContext(device, i).has_value()) << i;
  for (uint32_t i : {nodes, nodes + 1, 0xffffffffu})
    EXPECT_FALSE(node.TryCreateContext(device, i).has_value()) << i;
}

// As an index it is 0, as a mask it is 1; clients send both.
TEST(SimCreateContext, EngineAffinityNamesTheOnlyEngine) {
  Node node = OpenNode();
  d3dkmt_createcontextvirtual args = {};
  args.device = node.CreateDevice(node.FirstAdapter());
  for (uint32_t affinity : {0u, 1u, 2u, 0xffffffffu}) {
    args.engine_affinity = affinity;
    EXPECT_EQ(TryCreateContext(node, args), affinity <= 1 ? 0 : -EINVAL) << affinity;
  }
}

TEST(SimCreateContext, RefusesReservedFlags) {
  Node node = OpenNode();
  d3dkmt_createcontextvirtual args = {};
  args.device = node.CreateDevice(node.FirstAdapter());
  args.flags.value = 1u << 31;
  EXPECT_EQ(TryCreateContext(node, args), -EINVAL);
}

TEST(SimCreateContext, TakesAnyClientHint) {
  Node node = OpenNode();
  d3dkmt_createcontextvirtual args = {};
  args.device = node.CreateDevice(node.FirstAdapter());
  for (uint32_t hint : {uint32_t{_D3DKMT_CLIENTHINT_DX10}, 99u, 0xffffffffu}) {
    args.client_hint = hint;
    EXPECT_EQ(TryCreateContext(node, args), 0) << hint;
  }
}

// [GEN] 14
TEST(SimCreateContext, TakesPrivateDataUpToAMessage) {
  Node node = OpenNode();
  d3dkmt_createcontextvirtual args = {};
  args.device = node.CreateDevice(node.FirstAdapter());
  std::vector<std::byte> data(kPrivateDataMax + 1, std::byte{0xa5});
  args.priv_drv_data = Address(data.data());
  for (uint32_t size : {0u, 1u, 13u, 4096u, kPrivateDataMax, kPrivateDataMax + 1}) {
    args.priv_drv_data_size = size;
    EXPECT_EQ(TryCreateContext(node, args), size <= kPrivateDataMax ? 0 : -EINVAL) << size;
  }
}

// ---- Priorities ----

// [CTX] 69
TEST(SimSchedulingPriority, NewContextIsNormal) {
  Node node = OpenNode();
  const d3dkmthandle context = node.CreateContext(node.CreateDevice(node.FirstAdapter()));
  EXPECT_EQ(GetPriority(node, context), 0);
  EXPECT_EQ(GetInProcessPriority(node, context), 0);
}

// [CTX] 69
TEST(SimSchedulingPriority, MinusSevenToSevenIsReadBack) {
  Node node = OpenNode();
  const d3dkmthandle context = node.CreateContext(node.CreateDevice(node.FirstAdapter()));
  for (int priority = -7; priority <= 7; ++priority) {
    EXPECT_EQ(SetPriority(node, context, priority), 0) << priority;
    EXPECT_EQ(GetPriority(node, context), priority);
  }
}

// [CTX] 69
TEST(SimSchedulingPriority, OutOfRangeIsInvalidAndKeepsTheOldOne) {
  Node node = OpenNode();
  const d3dkmthandle context = node.CreateContext(node.CreateDevice(node.FirstAdapter()));
  ASSERT_EQ(SetPriority(node, context, 5), 0);
  for (int priority : {-8, 8, 1000, -1000, 0x7fffffff, -0x7fffffff - 1})
    EXPECT_EQ(SetPriority(node, context, priority), -EINVAL) << priority;
  EXPECT_EQ(GetPriority(node, context), 5);
}

TEST(SimSchedulingPriority, InProcessIsZeroOrOne) {
  Node node = OpenNode();
  const d3dkmthandle context = node.CreateContext(node.CreateDevice(node.FirstAdapter()));
  for (int priority : {1, 0, 1}) {
    EXPECT_EQ(SetInProcessPriority(node, context, priority), 0);
    EXPECT_EQ(GetInProcessPriority(node, context), priority);
  }
  for (int priority : {-1, 2, 7})
    EXPECT_EQ(SetInProcessPriority(node, context, priority), -EINVAL) << priority;
  EXPECT_EQ(GetInProcessPriority(node, context), 1);
}

TEST(SimSchedulingPriority, BothKindsAndAllContextsAreIndependent) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  const d3dkmthandle first = node.CreateContext(device), second = node.CreateContext(device);
  ASSERT_EQ(SetPriority(node, first, -3), 0);
  ASSERT_EQ(SetInProcessPriority(node, second, 1), 0);
  EXPECT_EQ(GetPriority(node, first), -3);
  EXPECT_EQ(GetInProcessPriority(node, first), 0);
  EXPECT_EQ(GetPriority(node, second), 0);
  EXPECT_EQ(GetInProcessPriority(node, second), 1);
}

// ---- Device state ----

TEST(SimGetDeviceState, NothingWasResetOnAFreshDevice) {
  Node node = OpenNode();
  auto args = Filled<d3dkmt_getdevicestate>(0);
  args.device = node.CreateDevice(node.FirstAdapter());
  args.state_type = _D3DKMT_DEVICESTATE_RESET;
  args.reset_state.value = 0xa5a5a5a5;
  ASSERT_EQ(node.TryIoctl(LX_DXGETDEVICESTATE, args), 0);
  EXPECT_EQ(args.reset_state.value, 0u);
}

TEST(SimGetDeviceState, PageFaultIsUnknownBeforeAnyFault) {
  Node node = OpenNode();
  d3dkmt_getdevicestate args = {};
  args.device = node.CreateDevice(node.FirstAdapter());
  args.state_type = _D3DKMT_DEVICESTATE_PAGE_FAULT;
  ASSERT_EQ(node.TryIoctl(LX_DXGETDEVICESTATE, args), 0);
  EXPECT_EQ(args.page_fault_state.faulted_primitive_api_sequence_number, ~0ull);
  EXPECT_EQ(args.page_fault_state.faulted_pipeline_stage, 0u);
  EXPECT_EQ(args.page_fault_state.faulted_bind_table_entry, ~0u);
  EXPECT_EQ(args.page_fault_state.page_fault_flags, 0u);
  EXPECT_EQ(args.page_fault_state.faulted_virtual_address, 0u);
}

// compute-runtime takes a refusal for a lost driver, and does nothing from then on.
TEST(SimGetDeviceState, NothingWasPresented) {
  Node node = OpenNode();
  d3dkmt_getdevicestate args = {};
  args.device = node.CreateDevice(node.FirstAdapter());
  args.state_type = _D3DKMT_DEVICESTATE_PRESENT;
  std::memset(args.alignment, 0x5a, sizeof(args.alignment));
  ASSERT_EQ(node.TryIoctl(LX_DXGETDEVICESTATE, args), 0);
  uint32_t source = 0;
  std::memcpy(&source, args.alignment, sizeof(source));
  EXPECT_EQ(source, 0x5a5a5a5au);
  for (size_t i = 8; i < 40; ++i) EXPECT_EQ(args.alignment[i], 0) << i;
}

TEST(SimGetDeviceState, StatesOfCompositorsAndUnknownOnesAreInvalid) {
  Node node = OpenNode();
  d3dkmt_getdevicestate args = {};
  args.device = node.CreateDevice(node.FirstAdapter());
  for (uint32_t type :
       {0u, uint32_t{_D3DKMT_DEVICESTATE_PRESENT_DWM}, uint32_t{_D3DKMT_DEVICESTATE_PRESENT_QUEUE}, 99u}) {
    args.state_type = type;
    EXPECT_EQ(node.TryIoctl(LX_DXGETDEVICESTATE, args), -EINVAL) << type;
  }
}

TEST(SimMarkDeviceAsError, StateIsResetOrDmaFault) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  ASSERT_EQ(MarkDeviceAsError(node, device), 0);
  // RESET is the guest's own answer; DMAFAULT is the host's, once it has announced a change.
  const uint32_t state = node.ExecutionState(device);
  EXPECT_TRUE(state == _D3DKMT_DEVICEEXECUTION_RESET || state == _D3DKMT_DEVICEEXECUTION_ERROR_DMAFAULT)
      << state;
  EXPECT_EQ(MarkDeviceAsError(node, device), 0) << "a second time changes nothing";
}

TEST(SimMarkDeviceAsError, UnknownReasonIsInvalidAndTheHostKeepsTheDevice) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter());
  for (uint32_t reason : {0u, 1u, 6u, 0x80000001u, 0xffffffffu})
    EXPECT_EQ(MarkDeviceAsError(node, device, reason), -EINVAL) << reason;
  EXPECT_TRUE(node.TryCreateContext(device).has_value());
}

TEST(SimMarkDeviceAsError, DeviceInErrorTakesNothingNewAndCanBeTakenApart) {
  Node node = OpenNode();
  const d3dkmthandle device = node.CreateDevice(node.FirstAdapter()),
                     good = node.CreateDevice(node.FirstAdapter());
  const d3dkmthandle context = node.CreateContext(device);
  ASSERT_EQ(MarkDeviceAsError(node, device), 0);
  EXPECT_FALSE(node.TryCreateContext(device).has_value());
  EXPECT_EQ(SetPriority(node, context, 1), -ENODEV);
  node.DestroyContext(context);
  node.DestroyDevice(device);
  EXPECT_TRUE(node.TryCreateContext(good).has_value());
  EXPECT_EQ(node.ExecutionState(node.CreateDevice(node.FirstAdapter())), _D3DKMT_DEVICEEXECUTION_ACTIVE);
}

}  // namespace
}  // namespace dxg::conformance
