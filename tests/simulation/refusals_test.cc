#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "proto/abi/d3dkmthk.h"
#include "proto/abi/ntstatus.h"
#include "tests/conformance/allocation_data.h"
#include "tests/simulation/machine.h"

// What a client's calls return when a fault strikes the host's command of theirs, and when they come after
// it: the words of docs/faults.md on points 6, 8 and 16.

namespace dxg::simulation {
namespace {

constexpr pid_t kPid = 100;
constexpr uint64_t kMemoryBytes = 16 << 20;

// One of everything that a call can be about.
class Client {
 public:
  Client() : machine_(Machine::Discrete(kMemoryBytes)) {
    machine_.Open(kPid);
    d3dkmt_adapterinfo adapters[4]{};
    d3dkmt_enumadapters2 enumerate{};
    enumerate.num_adapters = 4;
    enumerate.adapters = reinterpret_cast<decltype(enumerate.adapters)>(adapters);
    EXPECT_EQ(Call(LX_DXENUMADAPTERS2, &enumerate), 0);
    adapter = adapters[0].adapter_handle;
    device = CreateDevice().first.device;
    context = CreateContext(false).first.context;
    hw_context = CreateContext(true).first.context;
    paging_queue = CreatePagingQueue().first.paging_queue;
    allocation = CreateAllocation().second;
    fence = CreateFence().first.sync_object;
    event = static_cast<uint64_t>(machine_.NewEvent(kPid));
  }
  template <typename Args>
  int32_t Call(uint32_t code, Args* args) {
    return machine_.Call(kPid, code, args);
  }
  void Arm(const std::string& text) {
    FaultRule rule;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &rule)) << text;
    EXPECT_FALSE(machine_.host().ArmFault(rule)) << text;
  }
  Machine& machine() { return machine_; }

  std::pair<d3dkmt_createdevice, int32_t> CreateDevice() {
    d3dkmt_createdevice args{};
    args.adapter = adapter;
    const int32_t result = Call(LX_DXCREATEDEVICE, &args);
    return {args, result};
  }
  std::pair<d3dkmt_createcontextvirtual, int32_t> CreateContext(bool hardware) {
    d3dkmt_createcontextvirtual args{};
    args.device = device;
    args.flags.hw_queue_supported = hardware;
    const int32_t result = Call(LX_DXCREATECONTEXTVIRTUAL, &args);
    return {args, result};
  }
  std::pair<d3dkmt_createpagingqueue, int32_t> CreatePagingQueue() {
    d3dkmt_createpagingqueue args{};
    args.device = device;
    const int32_t result = Call(LX_DXCREATEPAGINGQUEUE, &args);
    return {args, result};
  }
  std::pair<int32_t, d3dkmthandle> CreateAllocation() {
    conformance::AllocationData data{.bytes = 4096};
    d3dddi_allocationinfo2 info{};
    info.priv_drv_data = reinterpret_cast<uint64_t>(&data);
    info.priv_drv_data_size = sizeof(data);
    d3dkmt_createallocation args{};
    args.device = device;
    args.alloc_count = 1;
    args.allocation_info = reinterpret_cast<uint64_t>(&info);
    const int32_t result = Call(LX_DXCREATEALLOCATION, &args);
    return {result, info.allocation};
  }
  std::pair<d3dkmt_createsynchronizationobject2, int32_t> CreateFence() {
    d3dkmt_createsynchronizationobject2 args{};
    args.device = device;
    args.info.type = _D3DDDI_MONITORED_FENCE;
    const int32_t result = Call(LX_DXCREATESYNCHRONIZATIONOBJECT, &args);
    return {args, result};
  }

  d3dkmthandle adapter{}, device{}, context{}, hw_context{}, paging_queue{}, allocation{}, fence{};
  uint64_t event = 0;

 private:
  Machine machine_;
};

// Success with nothing in it, as the driver does where the host's answer can only say so.
constexpr int32_t kNoHandle = INT32_MIN + 1;
int32_t WithHandle(int32_t result, uint64_t handle) {
  return result == 0 && handle == 0 ? kNoHandle : result;
}

struct CallCase {
  const char* name;
  const char* command;  // of the host; null: no command to the adapter that a rule could name
  int32_t (*call)(Client& client);
  int32_t struck;   // by the adapter's removal: the guest has passed its own check
  int32_t removed;  // after that
  int32_t failed;   // on a device in error, also where the call itself is struck
  int32_t no_memory;
};

const CallCase kCalls[] = {
    {"CreateDevice", "CREATEDEVICE",
     [](Client& c) {
       const auto [args, result] = c.CreateDevice();
       return WithHandle(result, args.device.v);
     },
     kNoHandle, -ENODEV, 0, kNoHandle},
    {"GetDeviceState", nullptr,
     [](Client& c) {
       d3dkmt_getdevicestate args{};
       args.device = c.device;
       args.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
       return c.Call(LX_DXGETDEVICESTATE, &args);
     },
     0, -ENODEV, 0, 0},
    {"CreateContextVirtual", "CREATECONTEXTVIRTUAL", [](Client& c) { return c.CreateContext(false).second; },
     -EINVAL, -ENODEV, -EINVAL, -EINVAL},
    {"CreateHwQueue", "CREATEHWQUEUE",
     [](Client& c) {
       d3dkmt_createhwqueue args{};
       args.context = c.hw_context;
       return c.Call(LX_DXCREATEHWQUEUE, &args);
     },
     -ENODEV, -ENODEV, -ENODEV, -ENOMEM},
    {"CreatePagingQueue", "CREATEPAGINGQUEUE", [](Client& c) { return c.CreatePagingQueue().second; },
     -ENOMEM, -ENODEV, -ENOMEM, -ENOMEM},
    {"CreateAllocation", "CREATEALLOCATION", [](Client& c) { return c.CreateAllocation().first; }, -EOVERFLOW,
     -ENODEV, -EOVERFLOW, -EOVERFLOW},
    {"CreateSynchronizationObject", "CREATESYNCOBJECT", [](Client& c) { return c.CreateFence().second; },
     -ENOMEM, -ENODEV, -ENOMEM, -ENOMEM},
    {"MakeResident", "MAKERESIDENT",
     [](Client& c) {
       d3dddi_makeresident args{};
       args.paging_queue = c.paging_queue;
       args.alloc_count = 1;
       args.allocation_list = reinterpret_cast<uint64_t>(&c.allocation);
       return c.Call(LX_DXMAKERESIDENT, &args);
     },
     -ENODEV, -ENODEV, -ENODEV, kStatusPending},
    {"MapGpuVirtualAddress", "MAPGPUVIRTUALADDRESS",
     [](Client& c) {
       d3dddi_mapgpuvirtualaddress args{};
       args.paging_queue = c.paging_queue;
       args.allocation = c.allocation;
       args.size_in_pages = 1;
       return c.Call(LX_DXMAPGPUVIRTUALADDRESS, &args);
     },
     -ENODEV, -ENODEV, -ENODEV, kStatusPending},
    {"ReserveGpuVirtualAddress", "RESERVEGPUVIRTUALADDRESS",
     [](Client& c) {
       d3dddi_reservegpuvirtualaddress args{};
       args.adapter = c.adapter;
       args.size = 65536;
       const int32_t result = c.Call(LX_DXRESERVEGPUVIRTUALADDRESS, &args);
       return WithHandle(result, args.virtual_address);
     },
     kNoHandle, -ENODEV, 0, 0},
    {"Lock2", "LOCK2",
     [](Client& c) {
       d3dkmt_lock2 args{};
       args.device = c.device;
       args.allocation = c.allocation;
       return c.Call(LX_DXLOCK2, &args);
     },
     -ENODEV, -ENODEV, -ENODEV, 0},
    {"OfferAllocations", "OFFERALLOCATIONS",
     [](Client& c) {
       d3dkmt_offerallocations args{};
       args.device = c.device;
       args.allocations = reinterpret_cast<uint64_t>(&c.allocation);
       args.allocation_count = 1;
       args.priority = 1;
       return c.Call(LX_DXOFFERALLOCATIONS, &args);
     },
     -ENODEV, -ENODEV, -ENODEV, 0},
    {"SubmitCommand", "SUBMITCOMMAND",
     [](Client& c) {
       d3dkmt_submitcommand args{};
       args.command_length = 8;
       args.flags.null_rendering = 1;
       args.broadcast_context_count = 1;
       args.broadcast_context[0] = c.context;
       return c.Call(LX_DXSUBMITCOMMAND, &args);
     },
     0, -ENODEV, 0, 0},
    {"SignalSynchronizationObjectFromCpu", "SIGNALSYNCOBJECT",
     [](Client& c) {
       uint64_t value = 1;
       d3dkmt_signalsynchronizationobjectfromcpu args{};
       args.device = c.device;
       args.object_count = 1;
       args.objects = reinterpret_cast<uint64_t>(&c.fence);
       args.fence_values = reinterpret_cast<uint64_t>(&value);
       return c.Call(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, &args);
     },
     0, -ENODEV, 0, 0},
    {"WaitForSynchronizationObjectFromCpu", "WAITFORSYNCOBJECTFROMCPU",
     [](Client& c) {
       uint64_t value = 100;
       d3dkmt_waitforsynchronizationobjectfromcpu args{};
       args.device = c.device;
       args.object_count = 1;
       args.objects = reinterpret_cast<uint64_t>(&c.fence);
       args.fence_values = reinterpret_cast<uint64_t>(&value);
       args.async_event = c.event;
       return c.Call(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &args);
     },
     -ENODEV, -ENODEV, -ENODEV, 0},
    {"QueryVideoMemoryInfo", "QUERYVIDEOMEMORYINFO",
     [](Client& c) {
       d3dkmt_queryvideomemoryinfo args{};
       args.adapter = c.adapter;
       return c.Call(LX_DXQUERYVIDEOMEMORYINFO, &args);
     },
     -EOVERFLOW, -ENODEV, 0, 0},
    {"DestroyContext", "DESTROYCONTEXT",
     [](Client& c) {
       d3dkmt_destroycontext args{};
       args.context = c.context;
       return c.Call(LX_DXDESTROYCONTEXT, &args);
     },
     0, -ENODEV, 0, 0},
    {"DestroySynchronizationObject", nullptr,
     [](Client& c) {
       d3dkmt_destroysynchronizationobject args{};
       args.sync_object = c.fence;
       return c.Call(LX_DXDESTROYSYNCHRONIZATIONOBJECT, &args);
     },
     0, 0, 0, 0},
    {"DestroyDevice", "DESTROYDEVICE",
     [](Client& c) {
       d3dkmt_destroydevice args{};
       args.device = c.device;
       return c.Call(LX_DXDESTROYDEVICE, &args);
     },
     0, 0, 0, 0},
};

class Refusal : public testing::TestWithParam<CallCase> {
 protected:
  static std::string At(const char* point) {
    return std::string("point: '") + point + "' command: '" + GetParam().command + "'";
  }

  Client client_;
};
// What happens while the host has the call's command: those that send none to the adapter are not in it.
class RefusalMeanwhile : public Refusal {};

TEST_P(RefusalMeanwhile, WhereTheAdapterIsRemovedMeanwhile) {
  client_.Arm(At("adapter-removal"));
  EXPECT_EQ(GetParam().call(client_), GetParam().struck);
  EXPECT_TRUE(client_.machine().host().Adapters().empty());
}
TEST_P(Refusal, WhereTheAdapterIsGone) {
  client_.machine().RemoveAdapter();
  EXPECT_EQ(GetParam().call(client_), GetParam().removed);
}
TEST_P(RefusalMeanwhile, WhereTheDeviceFailsMeanwhile) {
  client_.Arm(At("device-error"));
  EXPECT_EQ(GetParam().call(client_), GetParam().failed);
}
TEST_P(Refusal, WhereTheDeviceHasFailed) {
  client_.Arm("point: 'device-error' command: 'QUERYVIDEOMEMORYINFO'");
  d3dkmt_queryvideomemoryinfo args{};
  args.adapter = client_.adapter;
  EXPECT_EQ(client_.Call(LX_DXQUERYVIDEOMEMORYINFO, &args), 0);
  EXPECT_EQ(GetParam().call(client_), GetParam().failed);
}
TEST_P(RefusalMeanwhile, WhereThereIsNoMemory) {
  client_.Arm(At("no-memory-create"));
  EXPECT_EQ(GetParam().call(client_), GetParam().no_memory);
}
std::vector<CallCase> CallsWithCommand() {
  std::vector<CallCase> calls(std::begin(kCalls), std::end(kCalls));
  std::erase_if(calls, [](const CallCase& each) { return each.command == nullptr; });
  return calls;
}

std::string NameOf(const testing::TestParamInfo<CallCase>& each) { return each.param.name; }

INSTANTIATE_TEST_SUITE_P(Of, Refusal, testing::ValuesIn(kCalls), NameOf);
INSTANTIATE_TEST_SUITE_P(Of, RefusalMeanwhile, testing::ValuesIn(CallsWithCommand()), NameOf);

}  // namespace
}  // namespace dxg::simulation
