#pragma once

#include <pthread.h>

#include "cuse-dxg/dxcore/com.h"

namespace dxg::dxcore {

constexpr uint32_t kAdaptersMax = D3DKMT_ADAPTERS_MAX;

// For the length of a scope.
class Lock {
 public:
  explicit Lock(pthread_mutex_t* mutex) : mutex_(mutex) { pthread_mutex_lock(mutex_); }
  ~Lock() { pthread_mutex_unlock(mutex_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  pthread_mutex_t* const mutex_;
};

// D3DKMT_NODEMETADATA
struct __attribute__((packed)) NodeMetadata {
  uint32_t node;  // in the low half; the physical adapter in the high one
  uint32_t engine;
  char16_t name[32];
  uint32_t flags;
  uint8_t gpu_mmu, io_mmu;
};
static_assert(sizeof(NodeMetadata) == 78);

// An adapter's handle, for the length of a scope. 0: there is no such adapter.
class OpenAdapter {
 public:
  explicit OpenAdapter(const winluid& luid);
  explicit OpenAdapter(d3dkmthandle handle) : handle_(handle) {}
  ~OpenAdapter();
  OpenAdapter(const OpenAdapter&) = delete;
  OpenAdapter& operator=(const OpenAdapter&) = delete;

  bool is_open() const { return handle_.v != 0; }
  d3dkmthandle handle() const { return handle_; }
  // QueryAdapterInfo, in the driver's layout. False: refused.
  bool Ask(uint32_t type, void* data, uint32_t bytes) const;

 private:
  d3dkmthandle handle_ = {};
};

// One adapter, of which a process has one object however often it asks. Its properties are read when the
// object is made, since they can be asked for when the adapter is gone; its state is asked for with a handle
// of its own, so that an object is of use in a child of fork() as well.
class Adapter final : public IAdapter1 {
 public:
  // With a reference of the caller's. Null: there is no such adapter (or no memory).
  static Adapter* Find(const winluid& luid);
  static Adapter* Find(const winluid& luid, const OpenAdapter& open);

  const winluid& luid() const { return luid_; }
  bool is_integrated() const { return type_.hybrid_integrated || dedicated_adapter_memory() == 0; }
  bool is_hardware() const { return !type_.software_device; }
  uint64_t dedicated_adapter_memory() const { return segments_[0]; }
  HResult GetBudget(uint32_t segment_group, Budget* budget) const;

  HResult QueryInterface(const Guid& iid, void** out) override;
  uint32_t AddRef() override;
  uint32_t Release() override;
  bool IsValid() override;
  bool IsAttributeSupported(const Guid& attribute) override;
  bool IsPropertySupported(Property property) override;
  HResult GetProperty(Property property, size_t bytes, void* out) override;
  HResult GetPropertySize(Property property, size_t* bytes) override;
  bool IsQueryStateSupported(State state) override;
  HResult QueryState(State state, size_t in_bytes, const void* in, size_t bytes, void* out) override;
  bool IsSetStateSupported(State state) override;
  HResult SetState(State state, size_t of_bytes, const void* of, size_t bytes, const void* data) override;
  HResult GetFactory(const Guid& iid, void** out) override;
  HResult GetPropertyWithInput(Property property, size_t in_bytes, const void* in, size_t bytes,
                               void* out) override;

 private:
  static constexpr size_t kDescriptionUnits = 4096;
  static constexpr uint32_t kEnginesMax = 64;

  struct Value {
    const void* data = nullptr;  // null: the adapter has not answered
    size_t bytes = 0;
    HResult status = kOk;
  };

  Adapter(const winluid& luid, const OpenAdapter& open);
  void ReadDescription(const OpenAdapter& open);
  Value ValueOf(Property property) const;
  HResult GetEngineName(const void* in, size_t in_bytes, size_t bytes, void* out) const;

  const winluid luid_;
  uint32_t references_ = 1;
  Adapter* next_ = nullptr;
  d3dkmt_adaptertype type_ = {};
  bool has_d3d11_ = false, has_d3d12_ = false;
  HardwareId id_ = {};
  HardwareIdParts parts_ = {};
  bool has_id_ = false, has_version_ = false, has_model_ = false, has_preemption_ = false,
       has_memory_ = false;
  uint64_t driver_version_ = 0;
  uint32_t model_version_ = 0;
  uint32_t physical_adapters_ = 1;
  uint32_t engines_ = 0;
  uint16_t compute_preemption_ = 0, graphics_preemption_ = 0;
  bool flags_[4] = {};         // ACG compatible, hardware, integrated, detachable
  uint64_t segments_[3] = {};  // bytes: dedicated of the adapter, dedicated of the system, shared
  char description_[kDescriptionUnits * 3 + 1] = {};  // UTF-8
};

// Its mutex, over fork().
void LockAdapters();
void UnlockAdapters();

}  // namespace dxg::dxcore
