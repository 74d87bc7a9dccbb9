#include "hostsim/adapter/adapter.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <string>

#include "hostsim/machine/utf16.h"
#include "proto/abi/qaitype.h"
#include "tests/hostsim/rig.h"

namespace dxg::hostsim {
namespace {

Answer<host::OpenAdapter> Open(Rig& rig, uint64_t luid, uint32_t version = 40, uint32_t compatible = 16) {
  host::OpenAdapter::Request request;
  request.set_interface_version(version);
  request.set_last_compatible_interface_version(compatible);
  return rig.Ask<host::OpenAdapter>({0, luid}, request);
}

bool Close(Rig& rig, uint64_t luid, uint32_t handle) {
  host::CloseAdapter::Request request;
  request.set_host_handle(handle);
  return rig.Ask<host::CloseAdapter>({0, luid}, request).accepted;
}

TEST(Adapter, StartRefusesNonsense) {
  Rig rig;
  const AdapterInfo adapter = rig.adapter();
  EXPECT_EQ(Open(rig, 0).reply.status(), kStatusInvalidParameter);
  EXPECT_EQ(Open(rig, adapter.luid).reply.status(), kStatusInvalidParameter) << "a name for other purposes";
  EXPECT_EQ(Open(rig, adapter.address, 15).reply.status(), kStatusNotSupported);
  EXPECT_EQ(Open(rig, adapter.address, 50, 41).reply.status(), kStatusNotSupported);
  EXPECT_FALSE(rig.Ask<host::GetInternalAdapterInfo>({0, 1}, {}).accepted);
  EXPECT_FALSE(Close(rig, adapter.address, 0));
  EXPECT_FALSE(Close(rig, 1, adapter.host_handle));
  host::SetIospaceRegion::Request region;
  for (const auto& [start, length] :
       {std::pair<uint64_t, uint64_t>{0x10000, 0}, {0x10001, 0x10000}, {0x10000, ~0ull}}) {
    region.set_start(start);
    region.set_length(length);
    EXPECT_EQ(rig.Ask<host::SetIospaceRegion>({}, region).reply.status(), kStatusInvalidParameter);
  }
}

TEST(Adapter, StartsAsAGuestStartsIt) {
  Rig rig;
  const AdapterInfo adapter = rig.adapter();
  host::SetIospaceRegion::Request region;
  region.set_start(0xFC0000000);
  region.set_length(512 << 20);
  EXPECT_EQ(rig.Ask<host::SetIospaceRegion>({}, region).reply.status(), kStatusSuccess);
  for (const uint32_t version : {27u, 40u, 50u}) {
    const auto opened = Open(rig, adapter.address, version);
    EXPECT_EQ(opened.reply.status(), kStatusSuccess);
    EXPECT_EQ(opened.reply.host_adapter_handle(), adapter.host_handle);
    EXPECT_EQ(opened.reply.interface_version(), 40u);
    EXPECT_EQ(opened.reply.last_compatible_interface_version(), 16u);
  }
  const auto info = rig.Ask<host::GetInternalAdapterInfo>({0, adapter.address}, {});
  EXPECT_TRUE(info.accepted);
  EXPECT_EQ(info.reply.host_adapter_luid(), adapter.host_luid);
  EXPECT_EQ(info.reply.host_vgpu_luid(), adapter.address);
  EXPECT_EQ(info.reply.bits(), 0x158u)
      << "hardware scheduling capable, enabled and stable; asynchronous messages";
  ASSERT_EQ(info.reply.device_description().size(), 160u);
  EXPECT_EQ(GetUtf16(BytesOf(std::string_view(info.reply.device_description())), 0, 80), u"SimGPU Discrete");
  ASSERT_EQ(info.reply.device_instance_id().size(), 520u);
  EXPECT_TRUE(Close(rig, adapter.address, adapter.host_handle));
}

TEST(Adapter, ProfileDecidesTheBits) {
  AdapterProfile profile = Shipped("integrated");
  profile.mutable_policy()->set_secure(true);
  profile.mutable_messages()->set_asynchronous(false);
  profile.mutable_messages()->set_interface_version(27);
  Rig rig({profile});
  const AdapterInfo adapter = rig.adapter();
  EXPECT_EQ(rig.Ask<host::GetInternalAdapterInfo>({0, adapter.address}, {}).reply.bits(), 1u);
  EXPECT_FALSE(adapter.async_messages);
  EXPECT_EQ(adapter.interface_version, 27u);
}

TEST(Adapter, SameProfileTwiceIsTwoAdapters) {
  AdapterProfile named = Shipped("discrete");
  named.set_luid(0x1234500000001);
  Rig rig({named, named, Shipped("compute"), Shipped("compute")});
  std::set<uint64_t> luids;
  std::set<uint32_t> handles;
  for (const AdapterInfo& adapter : rig.host().Adapters()) {
    luids.insert({adapter.luid, adapter.host_luid, adapter.address});
    handles.insert(adapter.host_handle);
  }
  EXPECT_EQ(luids.size(), 12u);
  EXPECT_EQ(handles.size(), 4u);
  EXPECT_EQ(rig.adapter(0).luid, 0x1234500000001u);
  EXPECT_FALSE(rig.adapter(1).compute_only);
  EXPECT_TRUE(rig.adapter(2).compute_only);
}

// Bus, slot and function.
std::array<uint32_t, 3> PciAddress(Rig& rig, size_t adapter) {
  std::string data(12, '\0');
  EXPECT_EQ(rig.Query(rig.NewCaller(adapter), KMTQAITYPE_ADAPTERADDRESS, &data), kStatusSuccess);
  const ConstBytes bytes = BytesOf(std::string_view(data));
  return {Get<uint32_t>(bytes, 0), Get<uint32_t>(bytes, 4), Get<uint32_t>(bytes, 8)};
}

TEST(Adapter, EachHasAPciAddressOfItsOwn) {
  AdapterProfile fixed = Shipped("discrete");
  fixed.mutable_pci()->set_bus(255);
  Rig rig({fixed, fixed, Shipped("integrated"), Shipped("compute"), Shipped("compute")});
  std::set<std::array<uint32_t, 3>> addresses;
  for (size_t i = 0; i < rig.host().Adapters().size(); ++i) addresses.insert(PciAddress(rig, i));
  EXPECT_EQ(addresses.size(), 5u);
  EXPECT_EQ(PciAddress(rig, 0)[0], 255u) << "as its profile says";
  EXPECT_EQ(PciAddress(rig, 1)[0], 0u) << "the next bus";
}

TEST(Adapter, NoMoreThanAGuestCanList) {
  Rig rig(std::vector<AdapterProfile>(kAdaptersMax, Shipped("compute")));
  EXPECT_EQ(rig.host().Adapters().size(), 64u);
  AdapterInfo info;
  EXPECT_FALSE(rig.host().AddAdapter(Shipped("compute"), &info));
  EXPECT_TRUE(rig.host().RemoveAdapter(rig.adapter(0).address));
  EXPECT_TRUE(rig.host().AddAdapter(Shipped("compute"), &info));
}

// [ADP] 24
TEST(Adapter, RemovalStopsEverythingButTheEnds) {
  Rig rig({Shipped("discrete"), Shipped("discrete")});
  const Caller caller = rig.NewCaller();
  const Caller other{caller.process, rig.adapter(1).address};
  const AdapterInfo gone = rig.adapter(0);
  const uint32_t device = rig.NewDevice(caller, 5);
  const uint32_t context = rig.NewContext(caller, device);
  const uint32_t unaffected = rig.NewDevice(other, 6);

  EXPECT_FALSE(rig.host().RemoveAdapter(gone.luid));
  EXPECT_TRUE(rig.host().RemoveAdapter(gone.address));
  EXPECT_FALSE(rig.host().RemoveAdapter(gone.address));
  EXPECT_FALSE(rig.host().ResetAdapter(gone.address));
  EXPECT_EQ(rig.recorded.changes,
            (std::vector<RecordedEvents::Change>{{caller.process, gone.address, 5, 4}}));
  EXPECT_EQ(rig.recorded.removed, std::vector<uint64_t>{gone.address});
  EXPECT_EQ(rig.host().Adapters().size(), 1u);

  EXPECT_EQ(rig.TryDevice(caller), 0u);
  EXPECT_EQ(rig.TryContext(caller, device), 0u);
  EXPECT_EQ(std::get<0>(rig.State(caller, device)), kStatusDeviceRemoved);
  EXPECT_EQ(rig.MarkAsError(caller, device), kStatusDeviceRemoved);
  std::string data(4, '\0');
  EXPECT_EQ(rig.Query(caller, 13, &data), kStatusDeviceRemoved);
  EXPECT_EQ(rig.Ask<host::FlushHeapTransitions>(caller, {}).reply.status(), kStatusDeviceRemoved);
  EXPECT_EQ(rig.Ask<host::QueryStatistics>(caller, {}).reply.status(), kStatusDeviceRemoved);
  EXPECT_EQ(rig.Ask<host::QueryClockCalibration>(caller, {}).reply.status(), kStatusDeviceRemoved);
  EXPECT_EQ(rig.Ask<host::ChangeVideoMemoryReservation>(caller, {}).reply.status(), kStatusDeviceRemoved);
  EXPECT_EQ(rig.Ask<host::IsFeatureEnabled>(caller, {}).reply.status(), kStatusDeviceRemoved);
  EXPECT_EQ(Open(rig, gone.address).reply.status(), kStatusDeviceRemoved);

  EXPECT_EQ(rig.DestroyContext(caller, context), kStatusSuccess);
  EXPECT_EQ(rig.DestroyDevice(caller, device), kStatusSuccess);
  EXPECT_TRUE(Close(rig, gone.address, gone.host_handle));
  EXPECT_EQ(rig.State(other, unaffected), std::make_tuple(kStatusSuccess, 1u));
}

// [ADP] 23
TEST(Adapter, ReturnsUnderANewName) {
  AdapterProfile profile = Shipped("discrete");
  profile.set_luid(77);
  Rig rig({profile});
  const AdapterInfo gone = rig.adapter();
  ASSERT_TRUE(rig.host().RemoveAdapter(gone.address));
  AdapterInfo back;
  ASSERT_TRUE(rig.host().AddAdapter(profile, &back));
  EXPECT_EQ(rig.recorded.arrived, std::vector<uint64_t>{back.address});
  EXPECT_NE(back.luid, gone.luid);
  EXPECT_NE(back.address, gone.address);
  EXPECT_EQ(rig.TryDevice({rig.NewProcess(), gone.address}), 0u);
}

TEST(Adapter, ForgetsOnlyWhatWentLongAgo) {
  Rig rig;
  const uint64_t first = rig.adapter().address;
  uint64_t luid = first;
  for (size_t i = 0; i <= kRemovedAdaptersMax; ++i) {
    ASSERT_TRUE(rig.host().RemoveAdapter(luid));
    EXPECT_EQ(Open(rig, luid).reply.status(), kStatusDeviceRemoved);
    AdapterInfo info;
    ASSERT_TRUE(rig.host().AddAdapter(Shipped("discrete"), &info));
    luid = info.address;
  }
  EXPECT_EQ(Open(rig, first).reply.status(), kStatusInvalidParameter);
}

TEST(Adapter, ResetSparesOtherAdapters) {
  Rig rig({Shipped("discrete"), Shipped("discrete")});
  const Caller caller = rig.NewCaller();
  const Caller neighbour = rig.NewCaller();
  const Caller other{caller.process, rig.adapter(1).address};
  const uint32_t one = rig.NewDevice(caller, 1);
  const uint32_t two = rig.NewDevice(neighbour, 2);
  const uint32_t spared = rig.NewDevice(other, 3);
  EXPECT_TRUE(rig.host().ResetAdapter(caller.adapter_luid));
  EXPECT_EQ(rig.State(caller, one), std::make_tuple(kStatusSuccess, 2u));
  EXPECT_EQ(rig.State(neighbour, two), std::make_tuple(kStatusSuccess, 2u));
  EXPECT_EQ(rig.State(other, spared), std::make_tuple(kStatusSuccess, 1u));
  EXPECT_EQ(rig.recorded.changes.size(), 2u);
  EXPECT_EQ(rig.State(caller, rig.NewDevice(caller)), std::make_tuple(kStatusSuccess, 1u));
}

TEST(Adapter, FlushHeapTransitionsWantsBothParties) {
  Rig rig;
  const Caller caller = rig.NewCaller();
  EXPECT_EQ(rig.Ask<host::FlushHeapTransitions>({0, caller.adapter_luid}, {}).reply.status(),
            kStatusInvalidParameter);
  EXPECT_EQ(rig.Ask<host::FlushHeapTransitions>({caller.process, 0}, {}).reply.status(),
            kStatusInvalidParameter);
  EXPECT_EQ(rig.Ask<host::FlushHeapTransitions>(caller, {}).reply.status(), kStatusSuccess);
}

}  // namespace
}  // namespace dxg::hostsim
