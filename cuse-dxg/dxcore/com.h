#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/abi/d3dkmthk.h"

// The interfaces of dxcore_interface.h of microsoft/DirectX-Headers, whose names these have without the
// prefix DXCore: the order of the functions is the interface. A test compares them with the published header.
// Own declarations, so that a build needs no package for them.

namespace dxg::dxcore {

using HResult = int32_t;

constexpr HResult Failure(uint32_t code) { return static_cast<HResult>(code); }
constexpr HResult kOk = 0;
constexpr HResult kNoInterface = Failure(0x80004002);
constexpr HResult kNullPointer = Failure(0x80004003);
constexpr HResult kFailed = Failure(0x80004005);
constexpr HResult kOutOfMemory = Failure(0x8007000E);
constexpr HResult kInvalidArgument = Failure(0x80070057);
constexpr HResult kInvalidCall = Failure(0x887A0001);  // DXGI_ERROR_INVALID_CALL: not known to this library
constexpr HResult kUnsupported =
    Failure(0x887A0004);  // DXGI_ERROR_UNSUPPORTED: known, and not of this adapter
constexpr HResult kDeviceRemoved = Failure(0x887A0005);  // DXGI_ERROR_DEVICE_REMOVED

struct Guid {
  uint32_t a;
  uint16_t b, c;
  uint8_t d[8];
};
inline bool operator==(const Guid& a, const Guid& b) { return memcmp(&a, &b, sizeof(a)) == 0; }

constexpr Guid kIUnknown = {0, 0, 0, {0xC0, 0, 0, 0, 0, 0, 0, 0x46}};
constexpr Guid kIAdapter = {0xf0db4c7f, 0xfe5a, 0x42a2, {0xbd, 0x62, 0xf2, 0xa6, 0xcf, 0x6f, 0xc8, 0x3e}};
constexpr Guid kIAdapter1 = {0xa0783366, 0xcfa3, 0x43be, {0x9d, 0x79, 0x55, 0xb2, 0xda, 0x97, 0xc6, 0x3c}};
constexpr Guid kIAdapterList = {0x526c7776, 0x40e9, 0x459b, {0xb7, 0x11, 0xf3, 0x2a, 0xd7, 0x6d, 0xfc, 0x28}};
constexpr Guid kIAdapterFactory = {
    0x78ee5945, 0xc36e, 0x4b13, {0xa6, 0x69, 0x00, 0x5d, 0xd1, 0x1c, 0x0f, 0x06}};
constexpr Guid kIAdapterFactory1 = {
    0xd5682e19, 0x6d21, 0x401c, {0x82, 0x7a, 0x9a, 0x51, 0xa4, 0xea, 0x35, 0xd7}};

// Attributes of adapters.
constexpr Guid kD3D11Graphics = {
    0x8c47866b, 0x7583, 0x450d, {0xf0, 0xf0, 0x6b, 0xad, 0xa8, 0x95, 0xaf, 0x4b}};
constexpr Guid kD3D12Graphics = {
    0x0c9ece4d, 0x2f6e, 0x4f01, {0x8c, 0x96, 0xe8, 0x9e, 0x33, 0x1b, 0x47, 0xb1}};
constexpr Guid kD3D12CoreCompute = {
    0x248e2800, 0xa793, 0x4724, {0xab, 0xaa, 0x23, 0xa6, 0xde, 0x1b, 0xe0, 0x90}};
constexpr Guid kD3D12GenericMl = {
    0xb71b0d41, 0x1088, 0x422f, {0xa2, 0x7c, 0x02, 0x50, 0xb7, 0xd3, 0xa9, 0x88}};
constexpr Guid kD3D12GenericMedia = {
    0x8eb2c848, 0x82f6, 0x4b49, {0xaa, 0x87, 0xae, 0xcf, 0xcf, 0x01, 0x74, 0xc6}};
constexpr Guid kTypeGpu = {0xb69eb219, 0x3ded, 0x4464, {0x97, 0x9f, 0xa0, 0x0b, 0xd4, 0x68, 0x70, 0x06}};
constexpr Guid kTypeComputeAccelerator = {
    0xe0b195da, 0x58ef, 0x4a22, {0x90, 0xf1, 0x1f, 0x28, 0x16, 0x9c, 0xab, 0x8d}};
constexpr Guid kTypeNpu = {0xd46140c4, 0xadd7, 0x451b, {0x9e, 0x56, 0x06, 0xfe, 0x8c, 0x3b, 0x58, 0xed}};
constexpr Guid kTypeMediaAccelerator = {
    0x66bdb96a, 0x050b, 0x44c7, {0xa4, 0xfd, 0xd1, 0x44, 0xce, 0x0a, 0xb4, 0x43}};

enum class Property : uint32_t {
  kInstanceLuid = 0,
  kDriverVersion = 1,
  kDriverDescription = 2,
  kHardwareId = 3,
  kKmdModelVersion = 4,
  kComputePreemption = 5,
  kGraphicsPreemption = 6,
  kDedicatedAdapterMemory = 7,
  kDedicatedSystemMemory = 8,
  kSharedSystemMemory = 9,
  kAcgCompatible = 10,
  kIsHardware = 11,
  kIsIntegrated = 12,
  kIsDetachable = 13,
  kHardwareIdParts = 14,
  kPhysicalAdapterCount = 15,
  kEngineCount = 16,
  kEngineName = 17,
};

enum class State : uint32_t {
  kIsDriverUpdateInProgress = 0,
  kMemoryBudget = 1,
  kLast = 10,  // 2 to 10: usage, running times, temperature, processes, frequencies
};

enum class Notification : uint32_t {
  kListStale = 0,
  kNoLongerValid = 1,
  kBudgetChange = 2,
  kContentProtectionTeardown = 3,
};

enum class Preference : uint32_t { kHardware = 0, kMinimumPower = 1, kHighPerformance = 2 };
enum class Workload : uint32_t { kGraphics = 0, kCompute = 1, kMedia = 2, kMachineLearning = 3 };

// Bits of the filters of CreateAdapterListByWorkload.
enum RuntimeFilter : uint32_t { kRuntimeD3D11 = 1, kRuntimeD3D12 = 2 };
enum TypeFilter : uint32_t {
  kFilterGpu = 1,
  kFilterComputeAccelerator = 2,
  kFilterNpu = 4,
  kFilterMediaAccelerator = 8
};

struct HardwareId {
  uint32_t vendor, device, subsystem, revision;  // subsystem: its vendor in the low half
};
struct HardwareIdParts {
  uint32_t vendor, device, subsystem, subvendor, revision;
};
struct BudgetOf {
  uint32_t node;
  uint32_t segment_group;  // 0 local, 1 non-local
};
struct Budget {
  uint64_t budget, usage, available_for_reservation, reservation;  // bytes
};

class IUnknown {
 public:
  virtual HResult QueryInterface(const Guid& iid, void** out) = 0;
  virtual uint32_t AddRef() = 0;
  virtual uint32_t Release() = 0;
};

using Callback = void (*)(Notification notification, IUnknown* object, void* context);

class IAdapter : public IUnknown {
 public:
  virtual bool IsValid() = 0;
  virtual bool IsAttributeSupported(const Guid& attribute) = 0;
  virtual bool IsPropertySupported(Property property) = 0;
  virtual HResult GetProperty(Property property, size_t bytes, void* out) = 0;
  virtual HResult GetPropertySize(Property property, size_t* bytes) = 0;
  virtual bool IsQueryStateSupported(State state) = 0;
  virtual HResult QueryState(State state, size_t in_bytes, const void* in, size_t bytes, void* out) = 0;
  virtual bool IsSetStateSupported(State state) = 0;
  virtual HResult SetState(State state, size_t of_bytes, const void* of, size_t bytes, const void* data) = 0;
  virtual HResult GetFactory(const Guid& iid, void** out) = 0;
};

class IAdapter1 : public IAdapter {
 public:
  virtual HResult GetPropertyWithInput(Property property, size_t in_bytes, const void* in, size_t bytes,
                                       void* out) = 0;
};

class IAdapterList : public IUnknown {
 public:
  virtual HResult GetAdapter(uint32_t index, const Guid& iid, void** out) = 0;
  virtual uint32_t GetAdapterCount() = 0;
  virtual bool IsStale() = 0;
  virtual HResult GetFactory(const Guid& iid, void** out) = 0;
  virtual HResult Sort(uint32_t count, const Preference* preferences) = 0;
  virtual bool IsAdapterPreferenceSupported(Preference preference) = 0;
};

class IAdapterFactory : public IUnknown {
 public:
  virtual HResult CreateAdapterList(uint32_t count, const Guid* attributes, const Guid& iid, void** out) = 0;
  virtual HResult GetAdapterByLuid(const winluid& luid, const Guid& iid, void** out) = 0;
  virtual bool IsNotificationTypeSupported(Notification notification) = 0;
  virtual HResult RegisterEventNotification(IUnknown* object, Notification notification, Callback callback,
                                            void* context, uint32_t* cookie) = 0;
  virtual HResult UnregisterEventNotification(uint32_t cookie) = 0;
};

class IAdapterFactory1 : public IAdapterFactory {
 public:
  virtual HResult CreateAdapterListByWorkload(Workload workload, uint32_t runtimes, uint32_t types,
                                              const Guid& iid, void** out) = 0;
};

}  // namespace dxg::dxcore
