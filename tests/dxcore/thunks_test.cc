// What the library answers is what the driver answers, for every call of enumeration.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "proto/abi/ntstatus.h"
#include "proto/contract/thunks.gen.h"
#include "tests/dxcore/library.h"

namespace dxg::dxcore {
namespace {

// The same question on both ways. The structs must come back alike, but for handles, which each call makes
// anew.
template <class Args, class Forget>
int32_t AskBoth(const char* name, uint32_t code, const Args& args, const Forget& forget) {
  Args by_library = args, by_driver = args;
  const int32_t status = Kmt(name, &by_library);
  const int result = Raw(code, &by_driver);
  EXPECT_TRUE(IsSame(status, result)) << name << ": " << std::hex << status << " for " << std::dec << result;
  forget(&by_library);
  forget(&by_driver);
  EXPECT_EQ(0, std::memcmp(&by_library, &by_driver, sizeof(Args))) << name;
  return status;
}
template <class Args>
int32_t AskBoth(const char* name, uint32_t code, const Args& args) {
  return AskBoth(name, code, args, [](Args*) {});
}

TEST(Thunks, CountAdapters) {
  EXPECT_EQ(AskBoth("EnumAdapters2", LX_DXENUMADAPTERS2, d3dkmt_enumadapters2{}), DXG_STATUS_SUCCESS);
  for (const uint64_t filter : {0, 1, 2, 3}) {
    d3dkmt_enumadapters3 args = {};
    args.filter.value = filter;
    EXPECT_EQ(AskBoth("EnumAdapters3", LX_DXENUMADAPTERS3, args), DXG_STATUS_SUCCESS);
  }
}

TEST(Thunks, ListAdapters) {
  const auto adapters = EnumAdapters();
  ASSERT_EQ(adapters.size(), 3u);
  std::vector<d3dkmt_adapterinfo> raw(adapters.size());
  d3dkmt_enumadapters3 args = {};
  args.filter.include_compute_only = 1;
  args.adapter_count = static_cast<uint32_t>(raw.size());
  args.adapters = Address(raw.data());
  ASSERT_EQ(Raw(LX_DXENUMADAPTERS3, &args), 0);
  for (size_t i = 0; i < raw.size(); ++i) {
    EXPECT_EQ(raw[i].adapter_luid.a, adapters[i].adapter_luid.a);
    EXPECT_EQ(raw[i].adapter_luid.b, adapters[i].adapter_luid.b);
    EXPECT_EQ(raw[i].num_sources, adapters[i].num_sources);
  }
}

TEST(Thunks, RefusalsOfEnumeration) {
  d3dkmt_enumadapters2 few = {};
  d3dkmt_adapterinfo one;
  few.num_adapters = 1;
  few.adapters = Address(&one);
  EXPECT_EQ(AskBoth("EnumAdapters2", LX_DXENUMADAPTERS2, few), DXG_STATUS_BUFFER_TOO_SMALL);
  d3dkmt_enumadapters2 many = {};
  many.num_adapters = D3DKMT_ADAPTERS_MAX + 1;
  many.adapters = Address(&one);
  EXPECT_EQ(AskBoth("EnumAdapters2", LX_DXENUMADAPTERS2, many), DXG_STATUS_INVALID_PARAMETER);
  d3dkmt_openadapterfromluid unknown = {};
  unknown.adapter_luid = {0x55667788, 0x11223344};
  EXPECT_EQ(AskBoth("OpenAdapterFromLuid", LX_DXOPENADAPTERFROMLUID, unknown), DXG_STATUS_INVALID_PARAMETER);
  d3dkmt_closeadapter closed = {};
  closed.adapter_handle.v = 0x40fff000;
  EXPECT_EQ(AskBoth("CloseAdapter", LX_DXCLOSEADAPTER, closed), DXG_STATUS_INVALID_PARAMETER);
}

TEST(Thunks, OpenAdapterFromLuidAndCloseIt) {
  for (const d3dkmt_adapterinfo& adapter : EnumAdapters()) {
    d3dkmt_openadapterfromluid args = {};
    args.adapter_luid = adapter.adapter_luid;
    EXPECT_EQ(AskBoth("OpenAdapterFromLuid", LX_DXOPENADAPTERFROMLUID, args,
                      [](d3dkmt_openadapterfromluid* opened) {
                        EXPECT_NE(opened->adapter_handle.v, 0u);
                        d3dkmt_closeadapter close = {opened->adapter_handle};
                        EXPECT_EQ(Kmt("CloseAdapter", &close), DXG_STATUS_SUCCESS);
                        opened->adapter_handle.v = 0;
                      }),
              DXG_STATUS_SUCCESS);
  }
}

TEST(Thunks, FeaturesAndProcessesAndMemory) {
  for (const d3dkmt_adapterinfo& adapter : EnumAdapters()) {
    for (uint32_t feature = 0; feature < 50; ++feature) {
      d3dkmt_isfeatureenabled args = {};
      args.adapter = adapter.adapter_handle;
      args.feature_id = feature;
      AskBoth("IsFeatureEnabled", LX_ISFEATUREENABLED, args);
    }
    uint32_t processes[8] = {};
    d3dkmt_enumprocesses of = {};
    of.adapter_luid = adapter.adapter_luid;
    of.buffer = Address(processes);
    of.buffer_count = 8;
    EXPECT_EQ(AskBoth("EnumProcesses", LX_DXENUMPROCESSES, of), DXG_STATUS_SUCCESS);
    EXPECT_EQ(processes[0], static_cast<uint32_t>(getpid()));
    for (uint32_t group = 0; group < 3; ++group) {
      d3dkmt_queryvideomemoryinfo memory = {};
      memory.adapter = adapter.adapter_handle;
      memory.memory_segment_group = group;
      EXPECT_EQ(AskBoth("QueryVideoMemoryInfo", LX_DXQUERYVIDEOMEMORYINFO, memory) == DXG_STATUS_SUCCESS,
                group < 2);
    }
  }
}

// The calls that no driver has answer what the kernel's ENOTTY is.
TEST(Thunks, LegacyCallsAreUnsuccessful) {
#define DXG_CALL(name, code)                                        \
  {                                                                 \
    char args[1024] = {};                                           \
    EXPECT_EQ(Kmt(#name, &args), DXG_STATUS_UNSUCCESSFUL) << #name; \
    EXPECT_EQ(Raw(code, args), -ENOTTY) << #name;                   \
  }
  DXG_FOR_EACH_LEGACY_THUNK(DXG_CALL)
#undef DXG_CALL
}

// The forms that Windows had before: a mutex made, signalled, shared and ended.
class OlderForms : public testing::Test {
 protected:
  OlderForms() {
    const auto adapters = EnumAdapters();
    d3dkmt_createdevice args = {};
    args.adapter = adapters.at(0).adapter_handle;
    EXPECT_EQ(Kmt("CreateDevice", &args), DXG_STATUS_SUCCESS);
    device_ = args.device;
  }
  ~OlderForms() override {
    d3dkmt_destroydevice args = {device_};
    EXPECT_EQ(Kmt("DestroyDevice", &args), DXG_STATUS_SUCCESS);
  }
  d3dkmthandle device_;
};

struct OldSyncObject {
  uint32_t device, type;
  uint32_t info[16];
  uint32_t sync_object;
};

TEST_F(OlderForms, MutexesAndSemaphores) {
  for (const uint32_t type : {_D3DDDI_SYNCHRONIZATION_MUTEX, _D3DDDI_SEMAPHORE}) {
    OldSyncObject args = {device_.v, type, {2, 1}, 0};
    ASSERT_EQ(Kmt("CreateSynchronizationObject", &args), DXG_STATUS_SUCCESS) << type;
    EXPECT_NE(args.sync_object, 0u);
    d3dkmt_destroysynchronizationobject destroy = {};
    destroy.sync_object.v = args.sync_object;
    EXPECT_EQ(Kmt("DestroySynchronizationObject", &destroy), DXG_STATUS_SUCCESS);
  }
  OldSyncObject fence = {device_.v, _D3DDDI_MONITORED_FENCE, {}, 7};
  EXPECT_EQ(Kmt("CreateSynchronizationObject", &fence), DXG_STATUS_INVALID_PARAMETER);
  EXPECT_EQ(fence.sync_object, 7u);
}

TEST_F(OlderForms, NullIsAnInvalidParameter) {
  for (const char* name : {"CreateSynchronizationObject", "WaitForSynchronizationObject",
                           "SignalSynchronizationObject", "DestroyAllocation", "QueryAdapterInfo"})
    EXPECT_EQ(Kmt<void>(name, nullptr), DXG_STATUS_INVALID_PARAMETER) << name;
}

TEST_F(OlderForms, ShareObjectsTakesItsArgumentsOneByOne) {
  d3dkmt_createsynchronizationobject2 fence = {};
  fence.device = device_;
  fence.info.type = _D3DDDI_MONITORED_FENCE;
  fence.info.flags.shared = 1;
  fence.info.flags.nt_security_sharing = 1;
  ASSERT_EQ(Kmt("CreateSynchronizationObject2", &fence), DXG_STATUS_SUCCESS);
  using ShareObjects = int32_t (*)(uint32_t, const d3dkmthandle*, const void*, uint32_t, uint64_t*);
  const auto share = reinterpret_cast<ShareObjects>(Function("D3DKMTShareObjects"));
  uint64_t shared = ~0ull;
  ASSERT_EQ(share(1, &fence.sync_object, nullptr, 0, &shared), DXG_STATUS_SUCCESS);
  EXPECT_EQ(close(static_cast<int>(shared)), 0);
  const d3dkmthandle none = {};
  EXPECT_LT(share(1, &none, nullptr, 0, &shared), 0);
}

}  // namespace
}  // namespace dxg::dxcore
