// The factory, its lists and adapters, called through the published headers: an order of functions that
// differs from theirs is a call of another function. What those of Debian 12 have not yet is called through
// the library's own declarations.
#include <gtest/gtest.h>

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "tests/dxcore/library.h"
// After all others: they define names such as `interface`.
#define INITGUID
#include <wsl/winadapter.h>

#include "cuse-dxg/dxcore/com.h"
#include "dxcore.h"

namespace {

using dxg::dxcore::EnumAdapters;

constexpr HRESULT kInvalidCall = static_cast<HRESULT>(0x887A0001);
constexpr HRESULT kUnsupported = static_cast<HRESULT>(0x887A0004);
constexpr HRESULT kRemoved = static_cast<HRESULT>(0x887A0005);

template <class T>
class Pointer {
 public:
  Pointer() = default;
  Pointer(Pointer&& other) noexcept : it_(other.it_) { other.it_ = nullptr; }
  Pointer& operator=(Pointer&&) = delete;
  ~Pointer() { Reset(); }
  void Reset() {
    if (it_) it_->Release();
    it_ = nullptr;
  }
  T* operator->() const { return it_; }
  T* get() const { return it_; }
  void** out() {
    Reset();
    return reinterpret_cast<void**>(&it_);
  }

 private:
  T* it_ = nullptr;
};

// As runtimes get it.
Pointer<IDXCoreAdapterFactory> Factory() {
  using Create = HRESULT (*)(const GUID&, void**);
  const auto create = reinterpret_cast<Create>(dxg::dxcore::Function("DXCoreCreateAdapterFactory"));
  Pointer<IDXCoreAdapterFactory> factory;
  EXPECT_EQ(create(IID_IDXCoreAdapterFactory, factory.out()), S_OK);
  return factory;
}

Pointer<IDXCoreAdapterList> List(const std::vector<GUID>& attributes) {
  Pointer<IDXCoreAdapterList> list;
  EXPECT_EQ(Factory()->CreateAdapterList(static_cast<uint32_t>(attributes.size()), attributes.data(),
                                         IID_IDXCoreAdapterList, list.out()),
            S_OK);
  return list;
}

Pointer<IDXCoreAdapter> At(const Pointer<IDXCoreAdapterList>& list, uint32_t index) {
  Pointer<IDXCoreAdapter> adapter;
  EXPECT_EQ(list->GetAdapter(index, IID_IDXCoreAdapter, adapter.out()), S_OK);
  return adapter;
}

std::string Description(IDXCoreAdapter* adapter) {
  size_t bytes = 0;
  EXPECT_EQ(adapter->GetPropertySize(DXCoreAdapterProperty::DriverDescription, &bytes), S_OK);
  std::string text(bytes, '?');
  EXPECT_EQ(adapter->GetProperty(DXCoreAdapterProperty::DriverDescription, bytes, text.data()), S_OK);
  EXPECT_EQ(text.back(), '\0');
  text.pop_back();
  return text;
}

std::vector<std::string> Descriptions(const Pointer<IDXCoreAdapterList>& list) {
  std::vector<std::string> texts;
  for (uint32_t i = 0; i < list->GetAdapterCount(); ++i) texts.push_back(Description(At(list, i).get()));
  return texts;
}

template <class T>
T Get(IDXCoreAdapter* adapter, DXCoreAdapterProperty property) {
  size_t bytes = 0;
  EXPECT_EQ(adapter->GetPropertySize(property, &bytes), S_OK);
  EXPECT_EQ(bytes, sizeof(T));
  T value;
  EXPECT_EQ(adapter->GetProperty(property, &value), S_OK);
  return value;
}

using Names = std::vector<std::string>;
const Names kAll = {"SimGPU Discrete", "SimGPU Integrated", "SimGPU Compute Accelerator"};
const Names kGpus = {"SimGPU Discrete", "SimGPU Integrated"};

TEST(Factory, IsOneAndKnowsItsInterfaces) {
  EXPECT_EQ(Factory().get(), Factory().get());
  Pointer<IUnknown> other;
  EXPECT_EQ(Factory()->QueryInterface(IID_IDXCoreAdapter, other.out()), E_NOINTERFACE);
  EXPECT_EQ(other.get(), nullptr);
  EXPECT_EQ(Factory()->QueryInterface(IID_IDXCoreAdapterFactory, nullptr), E_POINTER);
}

TEST(Factory, ListsByAttributes) {
  EXPECT_EQ(Descriptions(List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_CORE_COMPUTE})), kAll);
  EXPECT_EQ(Descriptions(List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_GRAPHICS})), kGpus);
  EXPECT_EQ(Descriptions(
                List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_CORE_COMPUTE, DXCORE_ADAPTER_ATTRIBUTE_D3D11_GRAPHICS})),
            kGpus);
  EXPECT_TRUE(Descriptions(List({GUID{1, 2, 3, {}}})).empty());
}

TEST(Factory, RefusesListsOfNothing) {
  const GUID one = DXCORE_ADAPTER_ATTRIBUTE_D3D12_CORE_COMPUTE;
  Pointer<IDXCoreAdapterList> list;
  EXPECT_EQ(Factory()->CreateAdapterList(0, &one, IID_IDXCoreAdapterList, list.out()), E_INVALIDARG);
  EXPECT_EQ(Factory()->CreateAdapterList(1, nullptr, IID_IDXCoreAdapterList, list.out()), E_INVALIDARG);
  EXPECT_EQ(Factory()->CreateAdapterList(1, &one, IID_IDXCoreAdapterList, nullptr), E_POINTER);
  EXPECT_EQ(Factory()->CreateAdapterList(1, &one, IID_IDXCoreAdapter, list.out()), E_NOINTERFACE);
}

TEST(Factory, AdapterHasOneObjectInAProcess) {
  const auto list = List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_CORE_COMPUTE});
  for (uint32_t i = 0; i < list->GetAdapterCount(); ++i) {
    const auto adapter = At(list, i);
    Pointer<IDXCoreAdapter> by_luid;
    const LUID luid = Get<LUID>(adapter.get(), DXCoreAdapterProperty::InstanceLuid);
    EXPECT_EQ(Factory()->GetAdapterByLuid(luid, IID_IDXCoreAdapter, by_luid.out()), S_OK);
    EXPECT_EQ(by_luid.get(), adapter.get());
    EXPECT_EQ(At(List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_CORE_COMPUTE}), i).get(), adapter.get());
    Pointer<IDXCoreAdapterFactory> factory;
    EXPECT_EQ(adapter->GetFactory(IID_IDXCoreAdapterFactory, factory.out()), S_OK);
    EXPECT_EQ(factory.get(), Factory().get());
  }
  Pointer<IDXCoreAdapter> none;
  EXPECT_EQ(Factory()->GetAdapterByLuid(LUID{1, 2}, IID_IDXCoreAdapter, none.out()), E_INVALIDARG);
  EXPECT_EQ(list->GetAdapter(3, IID_IDXCoreAdapter, none.out()), E_INVALIDARG);
}

TEST(Factory, ListIsTheOneOfEnumAdapters) {
  const auto adapters = EnumAdapters();
  const auto list = List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_CORE_COMPUTE});
  ASSERT_EQ(list->GetAdapterCount(), adapters.size());
  for (uint32_t i = 0; i < adapters.size(); ++i) {
    const LUID luid = Get<LUID>(At(list, i).get(), DXCoreAdapterProperty::InstanceLuid);
    EXPECT_EQ(luid.LowPart, adapters[i].adapter_luid.a);
    EXPECT_EQ(static_cast<uint32_t>(luid.HighPart), adapters[i].adapter_luid.b);
  }
}

TEST(Factory, Sorts) {
  const auto list = List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_GRAPHICS});
  const DXCoreAdapterPreference saving[] = {DXCoreAdapterPreference::Hardware,
                                            DXCoreAdapterPreference::MinimumPower};
  EXPECT_EQ(list->Sort(2, saving), S_OK);
  EXPECT_EQ(Descriptions(list), (Names{kGpus[1], kGpus[0]}));
  const DXCoreAdapterPreference fast[] = {static_cast<DXCoreAdapterPreference>(77),
                                          DXCoreAdapterPreference::HighPerformance};
  EXPECT_EQ(list->Sort(2, fast), S_OK);
  EXPECT_EQ(Descriptions(list), kGpus);
  EXPECT_EQ(list->Sort(0, fast), E_INVALIDARG);
  EXPECT_EQ(list->Sort(1, nullptr), E_INVALIDARG);
  EXPECT_TRUE(list->IsAdapterPreferenceSupported(DXCoreAdapterPreference::HighPerformance));
  EXPECT_FALSE(list->IsAdapterPreferenceSupported(static_cast<DXCoreAdapterPreference>(3)));
}

TEST(Adapter, HasTheProfilesProperties) {
  const auto list = List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_CORE_COMPUTE});
  const auto discrete = At(list, 0), integrated = At(list, 1), compute = At(list, 2);
  const auto id = Get<DXCoreHardwareID>(discrete.get(), DXCoreAdapterProperty::HardwareID);
  EXPECT_EQ(id.vendorID, 0x1414u);
  EXPECT_EQ(id.deviceID, 0x88u);
  EXPECT_EQ(Get<DXCoreHardwareIDParts>(compute.get(), DXCoreAdapterProperty::HardwareIDParts).deviceID,
            0x8Au);
  EXPECT_EQ(Get<uint64_t>(discrete.get(), DXCoreAdapterProperty::DriverVersion), 0x00200000000F03E8u);
  EXPECT_EQ(Get<uint32_t>(discrete.get(), DXCoreAdapterProperty::KmdModelVersion), 3000u);
  EXPECT_EQ(Get<uint64_t>(discrete.get(), DXCoreAdapterProperty::DedicatedAdapterMemory), 8ull << 30);
  EXPECT_EQ(Get<uint64_t>(discrete.get(), DXCoreAdapterProperty::SharedSystemMemory), 16ull << 30);
  EXPECT_EQ(Get<uint16_t>(compute.get(), DXCoreAdapterProperty::ComputePreemptionGranularity), 500);
  EXPECT_TRUE(Get<bool>(discrete.get(), DXCoreAdapterProperty::IsHardware));
  EXPECT_FALSE(Get<bool>(discrete.get(), DXCoreAdapterProperty::IsIntegrated));
  EXPECT_TRUE(Get<bool>(integrated.get(), DXCoreAdapterProperty::IsIntegrated));
  EXPECT_FALSE(Get<bool>(discrete.get(), DXCoreAdapterProperty::IsDetachable));
}

TEST(Adapter, RefusesProperties) {
  const auto adapter = At(List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_CORE_COMPUTE}), 0);
  const auto unknown = static_cast<DXCoreAdapterProperty>(18);
  uint64_t value = ~0ull;
  size_t bytes = 0;
  EXPECT_EQ(adapter->GetProperty(unknown, &value), kInvalidCall);
  EXPECT_EQ(adapter->GetPropertySize(unknown, &bytes), kInvalidCall);
  EXPECT_FALSE(adapter->IsPropertySupported(unknown));
  EXPECT_TRUE(adapter->IsPropertySupported(DXCoreAdapterProperty::InstanceLuid));
  EXPECT_EQ(adapter->GetProperty(DXCoreAdapterProperty::InstanceLuid, 7, &value), E_INVALIDARG);
  EXPECT_EQ(adapter->GetProperty(DXCoreAdapterProperty::InstanceLuid, 8, nullptr), E_POINTER);
  EXPECT_EQ(adapter->GetPropertySize(DXCoreAdapterProperty::InstanceLuid, nullptr), E_POINTER);
  EXPECT_EQ(value, ~0ull);
  EXPECT_EQ(adapter->GetProperty(DXCoreAdapterProperty::IsHardware, &value), S_OK);
  EXPECT_EQ(value, 1u) << "what is left of the buffer is zero";
}

TEST(Adapter, BudgetIsQueryVideoMemoryInfos) {
  const auto adapter = At(List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_CORE_COMPUTE}), 0);
  const d3dkmthandle handle = EnumAdapters().at(0).adapter_handle;
  for (const auto group : {DXCoreSegmentGroup::Local, DXCoreSegmentGroup::NonLocal}) {
    const DXCoreAdapterMemoryBudgetNodeSegmentGroup of = {0, group};
    const uint64_t reserved = 1 << 20;
    EXPECT_EQ(adapter->SetState(DXCoreAdapterState::AdapterMemoryBudget, &of, &reserved), S_OK);
    d3dkmt_queryvideomemoryinfo info = {};
    info.adapter = handle;
    info.memory_segment_group = static_cast<uint32_t>(group);
    ASSERT_EQ(dxg::dxcore::Raw(LX_DXQUERYVIDEOMEMORYINFO, &info), 0);
    DXCoreAdapterMemoryBudget budget = {};
    ASSERT_EQ(adapter->QueryState(DXCoreAdapterState::AdapterMemoryBudget, &of, &budget), S_OK);
    EXPECT_EQ(budget.budget, info.budget);
    EXPECT_EQ(budget.currentUsage, info.current_usage);
    EXPECT_EQ(budget.availableForReservation, info.available_for_reservation);
    EXPECT_EQ(budget.currentReservation, reserved);
  }
}

TEST(Adapter, RefusesStates) {
  const auto adapter = At(List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_CORE_COMPUTE}), 0);
  const DXCoreAdapterMemoryBudgetNodeSegmentGroup local = {0, DXCoreSegmentGroup::Local},
                                                  node_1 = {1, local.segmentGroup};
  DXCoreAdapterMemoryBudget budget;
  const auto state = DXCoreAdapterState::AdapterMemoryBudget;
  EXPECT_EQ(adapter->QueryState(state, 7, &local, sizeof(budget), &budget), E_INVALIDARG);
  EXPECT_EQ(adapter->QueryState(state, 8, nullptr, sizeof(budget), &budget), E_POINTER);
  EXPECT_EQ(adapter->QueryState(state, 8, &local, 31, &budget), E_INVALIDARG);
  EXPECT_EQ(adapter->QueryState(state, 8, &local, sizeof(budget), nullptr), E_POINTER);
  EXPECT_EQ(adapter->QueryState(state, &node_1, &budget), E_INVALIDARG);
  EXPECT_EQ(adapter->QueryState(static_cast<DXCoreAdapterState>(2), &local, &budget), kUnsupported);
  EXPECT_EQ(adapter->QueryState(static_cast<DXCoreAdapterState>(11), &local, &budget), kInvalidCall);
  const uint64_t too_much = ~0ull;
  EXPECT_TRUE(FAILED(adapter->SetState(state, &local, &too_much)));
  EXPECT_EQ(adapter->SetState(DXCoreAdapterState::IsDriverUpdateInProgress, &local, &too_much), kUnsupported);
  EXPECT_FALSE(adapter->IsSetStateSupported(DXCoreAdapterState::IsDriverUpdateInProgress));
  uint8_t updating = 7;
  EXPECT_EQ(adapter->QueryState(DXCoreAdapterState::IsDriverUpdateInProgress, &updating), S_OK);
  EXPECT_EQ(updating, 0);
}

// What the callbacks of a test have seen.
class Seen {
 public:
  static void Callback(DXCoreNotificationType type, IUnknown* object, void* context) {
    auto* const seen = static_cast<Seen*>(context);
    const std::lock_guard lock(seen->mutex_);
    ++seen->count_;
    seen->type_ = type;
    seen->object_ = object;
    seen->changed_.notify_all();
  }
  void WaitFor(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ >= count; });
  }
  int count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }
  DXCoreNotificationType type_ = {};
  IUnknown* object_ = nullptr;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

TEST(Notifications, BudgetIsToldAtOnce) {
  const auto factory = Factory();
  const auto adapter = At(List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_CORE_COMPUTE}), 0);
  Seen seen;
  uint32_t cookie = 0;
  ASSERT_EQ(factory->RegisterEventNotification(adapter.get(), DXCoreNotificationType::AdapterBudgetChange,
                                               Seen::Callback, &seen, &cookie),
            S_OK);
  EXPECT_NE(cookie, 0u);
  seen.WaitFor(1);
  EXPECT_EQ(seen.type_, DXCoreNotificationType::AdapterBudgetChange);
  EXPECT_EQ(seen.object_, adapter.get());
  EXPECT_EQ(factory->UnregisterEventNotification(cookie), S_OK);
  EXPECT_EQ(factory->UnregisterEventNotification(cookie), E_INVALIDARG);
}

TEST(Notifications, RefusesWhatDoesNotFit) {
  const auto factory = Factory();
  const auto list = List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_CORE_COMPUTE});
  const auto stale = DXCoreNotificationType::AdapterListStale,
             gone = DXCoreNotificationType::AdapterNoLongerValid;
  uint32_t cookie = 7;
  EXPECT_EQ(factory->RegisterEventNotification(list.get(), gone, Seen::Callback, nullptr, &cookie),
            E_INVALIDARG);
  EXPECT_EQ(cookie, 0u);
  EXPECT_EQ(factory->RegisterEventNotification(At(list, 0).get(), stale, Seen::Callback, nullptr, &cookie),
            E_INVALIDARG);
  EXPECT_EQ(factory->RegisterEventNotification(nullptr, stale, Seen::Callback, nullptr, &cookie),
            E_INVALIDARG);
  EXPECT_EQ(factory->RegisterEventNotification(list.get(), stale, nullptr, nullptr, &cookie), E_POINTER);
  EXPECT_EQ(factory->RegisterEventNotification(list.get(), stale, Seen::Callback, nullptr, nullptr),
            E_POINTER);
  const auto unknown = static_cast<DXCoreNotificationType>(4);
  EXPECT_EQ(factory->RegisterEventNotification(list.get(), unknown, Seen::Callback, nullptr, &cookie),
            kInvalidCall);
  EXPECT_FALSE(factory->IsNotificationTypeSupported(unknown));
}

void Control(const std::string& words) {
  EXPECT_EQ(std::system((DXG_CTL " ctl adapter " + words + " >/dev/null").c_str()), 0) << words;
}

TEST(Notifications, AdapterThatIsRemoved) {
  Control("add integrated");
  const auto factory = Factory();
  const auto list = List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_CORE_COMPUTE});
  ASSERT_EQ(list->GetAdapterCount(), 4u);
  const auto adapter = At(list, 3);
  EXPECT_TRUE(adapter->IsValid());
  EXPECT_FALSE(list->IsStale());
  Seen stale, gone;
  uint32_t stale_cookie = 0, gone_cookie = 0;
  ASSERT_EQ(factory->RegisterEventNotification(list.get(), DXCoreNotificationType::AdapterListStale,
                                               Seen::Callback, &stale, &stale_cookie),
            S_OK);
  ASSERT_EQ(factory->RegisterEventNotification(adapter.get(), DXCoreNotificationType::AdapterNoLongerValid,
                                               Seen::Callback, &gone, &gone_cookie),
            S_OK);
  const auto luid = EnumAdapters().at(3).adapter_luid;
  char text[32];
  std::snprintf(text, sizeof(text), "%08x-%08x", luid.b, luid.a);
  Control(std::string("remove ") + text);
  stale.WaitFor(1);
  gone.WaitFor(1);
  EXPECT_EQ(factory->UnregisterEventNotification(stale_cookie), S_OK);
  EXPECT_EQ(factory->UnregisterEventNotification(gone_cookie), S_OK);
  EXPECT_EQ(stale.count(), 1);
  EXPECT_EQ(gone.count(), 1);
  EXPECT_FALSE(adapter->IsValid());
  EXPECT_TRUE(list->IsStale());
  EXPECT_EQ(Description(adapter.get()), "SimGPU Integrated") << "its properties stay";
  uint8_t updating;
  EXPECT_EQ(adapter->QueryState(DXCoreAdapterState::IsDriverUpdateInProgress, &updating), kRemoved);
  Pointer<IDXCoreAdapter> none;
  EXPECT_EQ(list->GetAdapter(3, IID_IDXCoreAdapter, none.out()), kRemoved);
  EXPECT_EQ(List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_CORE_COMPUTE})->GetAdapterCount(), 3u);
}

// Beyond the headers of Debian 12.
TEST(Factory1, ListsByWorkload) {
  Pointer<dxg::dxcore::IAdapterFactory1> factory;
  using Create = HRESULT (*)(const dxg::dxcore::Guid&, void**);
  const auto create = reinterpret_cast<Create>(dxg::dxcore::Function("DXCoreCreateAdapterFactory"));
  ASSERT_EQ(create(dxg::dxcore::kIAdapterFactory1, factory.out()), S_OK);
  const auto list = [&](dxg::dxcore::Workload workload, uint32_t runtimes, uint32_t types) {
    Pointer<IDXCoreAdapterList> made;
    EXPECT_EQ(factory->CreateAdapterListByWorkload(workload, runtimes, types, dxg::dxcore::kIAdapterList,
                                                   made.out()),
              S_OK);
    return Descriptions(made);
  };
  using dxg::dxcore::Workload;
  EXPECT_EQ(list(Workload::kGraphics, 0, 0), kGpus);
  EXPECT_EQ(list(Workload::kCompute, 0, 0), kAll);
  EXPECT_EQ(list(Workload::kMachineLearning, 0, dxg::dxcore::kFilterNpu), (Names{kAll[2]}));
  EXPECT_EQ(list(Workload::kCompute, 0, dxg::dxcore::kFilterNpu | dxg::dxcore::kFilterGpu), kAll);
}

TEST(Adapter1, AnswersWithInput) {
  const auto adapter = At(List({DXCORE_ADAPTER_ATTRIBUTE_D3D12_CORE_COMPUTE}), 0);
  Pointer<dxg::dxcore::IAdapter1> one;
  GUID iid;
  std::memcpy(&iid, &dxg::dxcore::kIAdapter1, sizeof(iid));
  ASSERT_EQ(adapter->QueryInterface(iid, one.out()), S_OK);
  uint32_t physical = 0, engines = 0;
  using dxg::dxcore::Property;
  EXPECT_EQ(one->GetPropertyWithInput(Property::kEngineCount, 4, &physical, 4, &engines), S_OK);
  EXPECT_EQ(engines, 3u);
  struct {
    uint32_t physical, engine, length;
    wchar_t* name;
  } input = {0, 2, 0, nullptr};
  uint32_t needed = 0;
  EXPECT_EQ(one->GetPropertyWithInput(Property::kEngineName, sizeof(input), &input, 4, &needed), S_OK);
  ASSERT_EQ(needed, 8u);
  wchar_t name[8];
  input.length = 8;
  input.name = name;
  EXPECT_EQ(one->GetPropertyWithInput(Property::kEngineName, sizeof(input), &input, 4, &needed), S_OK);
  EXPECT_EQ(std::wstring(name), L"Compute");
  input.length = 7;
  EXPECT_EQ(one->GetPropertyWithInput(Property::kEngineName, sizeof(input), &input, 4, &needed),
            E_INVALIDARG);
  input.engine = 3;
  EXPECT_EQ(one->GetPropertyWithInput(Property::kEngineName, sizeof(input), &input, 4, &needed),
            E_INVALIDARG);
}

}  // namespace
