#include "cuse-dxg/dxcore/adapter.h"

#include <stdlib.h>

#include <new>

#include "cuse-dxg/dxcore/factory.h"
#include "cuse-dxg/dxcore/node.h"
#include "proto/abi/ntstatus.h"
#include "proto/abi/qaitype.h"

namespace dxg::dxcore {
namespace {

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
Adapter* adapters = nullptr;  // all objects, without references; guarded by mutex

// KMTUMDVERSION
constexpr uint32_t kDriverOfD3D11 = 2, kDriverOfD3D12 = 3;

// D3DKMT_UMDFILENAMEINFO, as the driver has it.
struct DriverName {
  uint32_t version;
  char16_t file[260];
};

bool HasDriver(const OpenAdapter& open, uint32_t version) {
  DriverName name = {version, {}};
  return open.Ask(KMTQAITYPE_UMDRIVERNAME, &name, sizeof(name)) && name.file[0] != 0;
}

// D3DKMT_QUERY_DEVICE_IDS
struct DeviceIds {
  uint32_t physical_adapter;
  uint32_t vendor, device, subvendor, subsystem, revision, bus_type;
};
static_assert(sizeof(DeviceIds) == 28);

// Appends a character as UTF-8. Returns where the next one goes.
char* PutUtf8(char* to, uint32_t c) {
  if (c < 0x80) {
    *to++ = static_cast<char>(c);
  } else if (c < 0x800) {
    *to++ = static_cast<char>(0xC0 | c >> 6);
    *to++ = static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    *to++ = static_cast<char>(0xE0 | c >> 12);
    *to++ = static_cast<char>(0x80 | (c >> 6 & 0x3F));
    *to++ = static_cast<char>(0x80 | (c & 0x3F));
  } else {
    *to++ = static_cast<char>(0xF0 | c >> 18);
    *to++ = static_cast<char>(0x80 | (c >> 12 & 0x3F));
    *to++ = static_cast<char>(0x80 | (c >> 6 & 0x3F));
    *to++ = static_cast<char>(0x80 | (c & 0x3F));
  }
  return to;
}

HResult ResultOf(int32_t status) {
  if (status >= 0) return kOk;
  switch (status) {
    case DXG_STATUS_DEVICE_REMOVED:
      return kDeviceRemoved;
    case DXG_STATUS_INVALID_PARAMETER:
      return kInvalidArgument;
    case DXG_STATUS_NO_MEMORY:
      return kOutOfMemory;
    default:
      return kFailed;
  }
}

// The two halves of a pair are the same LUID.
bool Same(const winluid& a, const winluid& b) { return a.a == b.a && a.b == b.b; }

}  // namespace

OpenAdapter::OpenAdapter(const winluid& luid) {
  d3dkmt_openadapterfromluid args = {};
  args.adapter_luid = luid;
  if (CallFirst(LX_DXOPENADAPTERFROMLUID, &args) >= 0) handle_ = args.adapter_handle;
}

OpenAdapter::~OpenAdapter() {
  if (!is_open()) return;
  d3dkmt_closeadapter args = {handle_};
  Call(LX_DXCLOSEADAPTER, &args);
}

bool OpenAdapter::Ask(uint32_t type, void* data, uint32_t bytes) const {
  d3dkmt_queryadapterinfo args = {};
  args.adapter = handle_;
  args.type = type;
  args.private_data = reinterpret_cast<uintptr_t>(data);  // Safety: the interface's way to pass an address
  args.private_data_size = bytes;
  return Call(LX_DXQUERYADAPTERINFO, &args) >= 0;
}

Adapter* Adapter::Find(const winluid& luid) {
  const OpenAdapter open(luid);
  return open.is_open() ? Find(luid, open) : nullptr;
}

Adapter* Adapter::Find(const winluid& luid, const OpenAdapter& open) {
  const auto find = [&luid]() -> Adapter* {
    for (Adapter* each = adapters; each; each = each->next_) {
      if (!Same(each->luid_, luid)) continue;
      ++each->references_;
      return each;
    }
    return nullptr;
  };
  {
    const Lock lock(&mutex);
    if (Adapter* const found = find()) return found;
  }
  void* const memory = malloc(sizeof(Adapter));
  if (!memory) return nullptr;
  Adapter* const made = new (memory) Adapter(luid, open);  // asks the driver, so without the lock
  const Lock lock(&mutex);
  if (Adapter* const found = find()) {
    free(memory);
    return found;
  }
  made->next_ = adapters;
  adapters = made;
  return made;
}

Adapter::Adapter(const winluid& luid, const OpenAdapter& open) : luid_(luid) {
  if (!open.Ask(_KMTQAITYPE_ADAPTERTYPE_RENDER, &type_, sizeof(type_)))
    open.Ask(_KMTQAITYPE_ADAPTERTYPE, &type_, sizeof(type_));
  has_d3d11_ = HasDriver(open, kDriverOfD3D11);
  has_d3d12_ = HasDriver(open, kDriverOfD3D12);
  DeviceIds ids = {};
  has_id_ = open.Ask(KMTQAITYPE_PHYSICALADAPTERDEVICEIDS, &ids, sizeof(ids));
  id_ = {ids.vendor, ids.device, ids.subsystem << 16 | (ids.subvendor & 0xFFFF), ids.revision};
  parts_ = {ids.vendor, ids.device, ids.subsystem, ids.subvendor, ids.revision};
  has_version_ = open.Ask(KMTQAITYPE_UMD_DRIVER_VERSION, &driver_version_, sizeof(driver_version_));
  has_model_ = open.Ask(KMTQAITYPE_DRIVERVERSION, &model_version_, sizeof(model_version_));
  uint32_t caps[3] = {};  // graphics preemption, compute preemption, flags
  has_preemption_ = open.Ask(KMTQAITYPE_WDDM_1_2_CAPS, caps, sizeof(caps));
  graphics_preemption_ = static_cast<uint16_t>(caps[0]);
  compute_preemption_ = static_cast<uint16_t>(caps[1]);
  has_memory_ = open.Ask(KMTQAITYPE_GETSEGMENTSIZE, segments_, sizeof(segments_));
  if (!open.Ask(KMTQAITYPE_PHYSICALADAPTERCOUNT, &physical_adapters_, sizeof(physical_adapters_)))
    physical_adapters_ = 1;
  NodeMetadata node = {};
  while (engines_ < kEnginesMax &&
         (node.node = engines_, open.Ask(KMTQAITYPE_NODEMETADATA, &node, sizeof(node))))
    ++engines_;
  ReadDescription(open);
  flags_[0] = type_.acg_supported;
  flags_[1] = is_hardware();
  flags_[2] = is_integrated();
  flags_[3] = type_.detachable;
}

void Adapter::ReadDescription(const OpenAdapter& open) {
  char16_t* const text = static_cast<char16_t*>(calloc(kDescriptionUnits, sizeof(char16_t)));
  if (!text) return;
  constexpr uint32_t kBytes = kDescriptionUnits * sizeof(char16_t);
  if (!open.Ask(KMTQAITYPE_DRIVER_DESCRIPTION_RENDER, text, kBytes))
    open.Ask(KMTQAITYPE_DRIVER_DESCRIPTION, text, kBytes);
  char* to = description_;
  for (size_t i = 0; i < kDescriptionUnits && text[i]; ++i) {
    uint32_t c = text[i];
    const bool is_pair =
        (c & 0xFC00) == 0xD800 && i + 1 < kDescriptionUnits && (text[i + 1] & 0xFC00) == 0xDC00;
    if (is_pair) c = 0x10000 + ((c - 0xD800) << 10) + (text[++i] - 0xDC00);
    if (c >= 0xD800 && c < 0xE000) c = 0xFFFD;  // half of a character
    to = PutUtf8(to, c);
  }
  free(text);
}

HResult Adapter::QueryInterface(const Guid& iid, void** out) {
  if (!out) return kNullPointer;
  *out = nullptr;
  if (!(iid == kIUnknown || iid == kIAdapter || iid == kIAdapter1)) return kNoInterface;
  AddRef();
  *out = this;
  return kOk;
}

uint32_t Adapter::AddRef() {
  const Lock lock(&mutex);
  return ++references_;
}

uint32_t Adapter::Release() {
  const Lock lock(&mutex);
  const uint32_t left = --references_;
  if (left != 0) return left;
  Adapter** at = &adapters;
  while (*at != this) at = &(*at)->next_;
  *at = next_;
  free(this);
  return 0;
}

bool Adapter::IsValid() {
  const OpenAdapter open(luid_);
  d3dkmt_adaptertype type;
  return open.is_open() && open.Ask(_KMTQAITYPE_ADAPTERTYPE, &type, sizeof(type));
}

// What a driver for Windows says in its registry is not to be had here, so the hardware types come from the
// adapter's own: one that only computes is an NPU.
bool Adapter::IsAttributeSupported(const Guid& attribute) {
  const bool computes_only = type_.compute_only;
  const bool draws = type_.render_supported && !computes_only;
  if (attribute == kD3D11Graphics) return draws && has_d3d11_;
  if (attribute == kD3D12Graphics) return draws && has_d3d12_;
  if (attribute == kD3D12CoreCompute || attribute == kD3D12GenericMl) return draws || computes_only;
  if (attribute == kD3D12GenericMedia) return draws && has_d3d12_;
  if (attribute == kTypeGpu) return draws && is_hardware();
  if (attribute == kTypeComputeAccelerator || attribute == kTypeNpu) return computes_only;
  return false;
}

bool Adapter::IsQueryStateSupported(State state) {
  return state == State::kIsDriverUpdateInProgress || state == State::kMemoryBudget;
}

HResult Adapter::GetBudget(uint32_t segment_group, Budget* budget) const {
  const OpenAdapter open(luid_);
  if (!open.is_open()) return kDeviceRemoved;
  d3dkmt_queryvideomemoryinfo args = {};
  args.adapter = open.handle();
  args.memory_segment_group = segment_group;
  const int32_t status = Call(LX_DXQUERYVIDEOMEMORYINFO, &args);
  if (status < 0) return ResultOf(status);
  *budget = {args.budget, args.current_usage, args.available_for_reservation, args.current_reservation};
  return kOk;
}

HResult Adapter::QueryState(State state, size_t in_bytes, const void* in, size_t bytes, void* out) {
  if (state > State::kLast) return kInvalidCall;
  if (!IsQueryStateSupported(state)) return kUnsupported;
  if (!out) return kNullPointer;
  if (state == State::kIsDriverUpdateInProgress) {
    if (bytes < sizeof(uint8_t)) return kInvalidArgument;
    memset(out, 0, bytes);  // never
    return IsValid() ? kOk : kDeviceRemoved;
  }
  BudgetOf of;
  if (!in) return kNullPointer;
  if (in_bytes < sizeof(of) || bytes < sizeof(Budget)) return kInvalidArgument;
  memcpy(&of, in, sizeof(of));
  memset(out, 0, bytes);
  if (of.node >= physical_adapters_) return kInvalidArgument;
  Budget budget;
  const HResult result = GetBudget(of.segment_group, &budget);
  if (result == kOk) memcpy(out, &budget, sizeof(budget));
  return result;
}

bool Adapter::IsSetStateSupported(State state) { return state == State::kMemoryBudget; }

// The one state that can be set is the process's reservation, in bytes.
HResult Adapter::SetState(State state, size_t of_bytes, const void* of, size_t bytes, const void* data) {
  if (state > State::kLast) return kInvalidCall;
  if (!IsSetStateSupported(state)) return kUnsupported;
  if (!of || !data) return kNullPointer;
  BudgetOf which;
  d3dkmt_changevideomemoryreservation args = {};
  if (of_bytes < sizeof(which) || bytes < sizeof(args.reservation)) return kInvalidArgument;
  memcpy(&which, of, sizeof(which));
  const OpenAdapter open(luid_);
  if (!open.is_open()) return kDeviceRemoved;
  args.adapter = open.handle();
  args.memory_segment_group = which.segment_group;
  args.physical_adapter_index = which.node;
  memcpy(&args.reservation, data, sizeof(args.reservation));
  return ResultOf(Call(LX_DXCHANGEVIDEOMEMORYRESERVATION, &args));
}

HResult Adapter::GetFactory(const Guid& iid, void** out) { return GetFactoryOfProcess(iid, out); }

void LockAdapters() { pthread_mutex_lock(&mutex); }
void UnlockAdapters() { pthread_mutex_unlock(&mutex); }

}  // namespace dxg::dxcore
