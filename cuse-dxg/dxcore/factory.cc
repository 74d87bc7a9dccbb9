#include "cuse-dxg/dxcore/factory.h"

#include <pthread.h>
#include <stdlib.h>

#include "cuse-dxg/dxcore/adapter.h"
#include "cuse-dxg/dxcore/adapter_list.h"
#include "cuse-dxg/dxcore/export.h"
#include "cuse-dxg/dxcore/notifications.h"

namespace dxg::dxcore {
namespace {

HResult MakeList(const Filter& filter, const Guid& iid, void** out) {
  AdapterList* const list = AdapterList::Create(filter);
  if (!list) return kOutOfMemory;
  const HResult result = list->QueryInterface(iid, out);
  list->Release();
  return result;
}

// It lives as long as the library.
class Factory final : public IAdapterFactory1 {
 public:
  HResult QueryInterface(const Guid& iid, void** out) override {
    if (!out) return kNullPointer;
    *out = nullptr;
    if (!(iid == kIUnknown || iid == kIAdapterFactory || iid == kIAdapterFactory1)) return kNoInterface;
    AddRef();
    *out = this;
    return kOk;
  }
  uint32_t AddRef() override { return __atomic_add_fetch(&references_, 1, __ATOMIC_RELAXED); }
  uint32_t Release() override { return __atomic_sub_fetch(&references_, 1, __ATOMIC_RELAXED); }

  HResult CreateAdapterList(uint32_t count, const Guid* attributes, const Guid& iid, void** out) override {
    if (!out) return kNullPointer;
    *out = nullptr;
    if (count == 0 || !attributes) return kInvalidArgument;
    if (count > Filter::kMax) return kInvalidArgument;  // there are fewer attributes
    Filter filter;
    for (uint32_t i = 0; i < count; ++i) filter.all[filter.all_count++] = attributes[i];
    return MakeList(filter, iid, out);
  }

  HResult GetAdapterByLuid(const winluid& luid, const Guid& iid, void** out) override {
    if (!out) return kNullPointer;
    *out = nullptr;
    Adapter* const adapter = Adapter::Find(luid);
    if (!adapter) return kInvalidArgument;
    const HResult result = adapter->QueryInterface(iid, out);
    adapter->Release();
    return result;
  }

  bool IsNotificationTypeSupported(Notification notification) override {
    return notification <= Notification::kContentProtectionTeardown;
  }
  HResult RegisterEventNotification(IUnknown* object, Notification notification, Callback callback,
                                    void* context, uint32_t* cookie) override {
    return RegisterNotification(object, notification, callback, context, cookie);
  }
  HResult UnregisterEventNotification(uint32_t cookie) override { return UnregisterNotification(cookie); }

  // A filter of 0 is none.
  HResult CreateAdapterListByWorkload(Workload workload, uint32_t runtimes, uint32_t types, const Guid& iid,
                                      void** out) override {
    if (!out) return kNullPointer;
    *out = nullptr;
    Filter filter;
    const auto all = [&filter](const Guid& attribute) { filter.all[filter.all_count++] = attribute; };
    const auto any = [&filter](const Guid& attribute) { filter.any[filter.any_count++] = attribute; };
    switch (workload) {
      case Workload::kGraphics:
        all(runtimes == kRuntimeD3D11 ? kD3D11Graphics : kD3D12Graphics);
        break;
      case Workload::kCompute:
        all(kD3D12CoreCompute);
        break;
      case Workload::kMedia:
        all(kD3D12GenericMedia);
        break;
      case Workload::kMachineLearning:
        all(kD3D12GenericMl);
        break;
      default:
        return kInvalidArgument;
    }
    if (runtimes == kRuntimeD3D11) all(kD3D11Graphics);
    if (types & kFilterGpu) any(kTypeGpu);
    if (types & kFilterComputeAccelerator) any(kTypeComputeAccelerator);
    if (types & kFilterNpu) any(kTypeNpu);
    if (types & kFilterMediaAccelerator) any(kTypeMediaAccelerator);
    return MakeList(filter, iid, out);
  }

 private:
  uint32_t references_ = 0;
};

constinit Factory factory;

// The locks are free in a child, whatever other threads of the parent did.
void BeforeFork() {
  LockNotifications();
  LockAdapters();
}
void AfterForkInParent() {
  UnlockAdapters();
  UnlockNotifications(false);
}
void AfterForkInChild() {
  UnlockAdapters();
  UnlockNotifications(true);
}

__attribute__((constructor)) void Load() { pthread_atfork(BeforeFork, AfterForkInParent, AfterForkInChild); }
__attribute__((destructor)) void Unload() { StopNotifications(); }

}  // namespace

HResult GetFactoryOfProcess(const Guid& iid, void** out) { return factory.QueryInterface(iid, out); }

}  // namespace dxg::dxcore

DXG_EXPORT int32_t DXCoreCreateAdapterFactory(const dxg::dxcore::Guid& iid, void** out) {
  return dxg::dxcore::GetFactoryOfProcess(iid, out);
}

// What the compiler puts into the place of a function without a body; nobody calls it.
// NOLINTNEXTLINE(bugprone-reserved-identifier): the name is the compiler's
extern "C" __attribute__((visibility("hidden"))) void __cxa_pure_virtual() { abort(); }
