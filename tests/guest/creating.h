#pragma once
// The calls that make something, each as an object that prepares, makes and unmakes.
#include <memory>
#include <span>
#include <vector>

#include "tests/guest/books.h"

namespace dxg::guest {

inline constexpr size_t kElements = 3;

// One call that makes something.
class Creating {
 public:
  explicit Creating(BooksTest& test) : test(test) {}
  virtual ~Creating() = default;
  virtual void Prepare() {}  // what it needs, before the books are counted
  virtual int32_t Make() = 0;
  virtual void Unmake() = 0;  // what Make made, if it did
  virtual void Forget() {}    // what Prepare made
  // The driver leaves the host's half where the client cannot be shown a page; it goes with the device.
  virtual bool host_keeps_what_is_not_shown() const { return false; }
  // Where results go.
  std::vector<std::span<std::byte>> written;

 protected:
  template <typename T>
  void Writes(T& place) {
    written.push_back(std::as_writable_bytes(std::span(&place, 1)));
  }
  BooksTest& test;
};

struct OpensAdapter final : Creating {
  explicit OpensAdapter(BooksTest& test) : Creating(test) { Writes(args); }
  int32_t Make() override {
    args = {};
    std::memcpy(&args.adapter_luid, &kLuid, sizeof(kLuid));
    return test.Do(LX_DXOPENADAPTERFROMLUID, &args);
  }
  void Unmake() override {
    d3dkmt_closeadapter close{args.adapter_handle};
    test.Do(LX_DXCLOSEADAPTER, &close);
  }
  static constexpr uint64_t kLuid = 0x0badbeef00c0ffee;
  d3dkmt_openadapterfromluid args{};
};

struct Enumerates2 final : Creating {
  explicit Enumerates2(BooksTest& test) : Creating(test) {
    Writes(args);
    Writes(row);
  }
  int32_t Make() override {
    args = {1, 0, reinterpret_cast<uint64_t>(&row)};
    return test.Do(LX_DXENUMADAPTERS2, &args);
  }
  void Unmake() override {
    d3dkmt_closeadapter close{row.adapter_handle};
    test.Do(LX_DXCLOSEADAPTER, &close);
  }
  d3dkmt_enumadapters2 args{};
  d3dkmt_adapterinfo row{};
};

struct Enumerates3 final : Creating {
  explicit Enumerates3(BooksTest& test) : Creating(test) {
    Writes(args);
    Writes(row);
  }
  int32_t Make() override {
    args = {};
    args.adapter_count = 1;
    args.adapters = reinterpret_cast<uint64_t>(&row);
    return test.Do(LX_DXENUMADAPTERS3, &args);
  }
  void Unmake() override {
    d3dkmt_closeadapter close{row.adapter_handle};
    test.Do(LX_DXCLOSEADAPTER, &close);
  }
  d3dkmt_enumadapters3 args{};
  d3dkmt_adapterinfo row{};
};

struct CreatesDevice final : Creating {
  explicit CreatesDevice(BooksTest& test) : Creating(test) { Writes(args); }
  int32_t Make() override {
    args = {};
    args.adapter.v = test.adapter;
    return test.Do(LX_DXCREATEDEVICE, &args);
  }
  void Unmake() override {
    d3dkmt_destroydevice destroy{args.device};
    test.Do(LX_DXDESTROYDEVICE, &destroy);
  }
  d3dkmt_createdevice args{};
};

struct CreatesContext final : Creating {
  explicit CreatesContext(BooksTest& test) : Creating(test) { Writes(args), Writes(data); }
  int32_t Make() override {
    args = {};
    args.device.v = test.device;
    args.priv_drv_data = reinterpret_cast<uint64_t>(&data);
    args.priv_drv_data_size = sizeof(data);
    return test.Do(LX_DXCREATECONTEXTVIRTUAL, &args);
  }
  void Unmake() override {
    d3dkmt_destroycontext destroy{args.context};
    test.Do(LX_DXDESTROYCONTEXT, &destroy);
  }
  d3dkmt_createcontextvirtual args{};
  uint64_t data = 0;
};

// Several elements: stand-alone ones, a resource's, a shared resource's, more of a resource, and memory of
// the client.
template <uint32_t flags, bool sysmem, bool more>
struct CreatesAllocations final : Creating {
  explicit CreatesAllocations(BooksTest& test) : Creating(test) {
    Writes(args), Writes(elements), Writes(data);
  }
  void Prepare() override {
    if (!more) return;
    into = Create(1, 0, 1).resource.v;
    ASSERT_NE(into, 0u);
  }
  int32_t Make() override {
    result = 0;
    args = Create(flags, into, kElements);
    return result;
  }
  void Unmake() override {
    std::array<d3dkmthandle, kElements> list{};
    for (size_t i = 0; i < kElements; ++i) list[i] = elements[i].allocation;
    d3dkmt_destroyallocation2 destroy{};
    destroy.device.v = test.device;
    if ((flags & 1) != 0) {
      destroy.resource = args.resource;
    } else {
      destroy.alloc_count = kElements;
      destroy.allocations = reinterpret_cast<uint64_t>(list.data());
    }
    test.Do(LX_DXDESTROYALLOCATION2, &destroy);
  }
  void Forget() override {
    if (!more) return;
    d3dkmt_destroyallocation2 destroy{};
    destroy.device.v = test.device;
    destroy.resource.v = into;
    test.Do(LX_DXDESTROYALLOCATION2, &destroy);
  }
  d3dkmt_createallocation Create(uint32_t with_flags, uint32_t resource, uint32_t count) {
    args = {};
    elements = {};
    for (size_t i = 0; i < count; ++i) {
      elements[i].priv_drv_data = reinterpret_cast<uint64_t>(&data[i]);
      elements[i].priv_drv_data_size = sizeof(data[i]);
      if (sysmem) elements[i].sysmem = reinterpret_cast<uint64_t>(memory.data());
    }
    args.device.v = test.device;
    args.resource.v = resource;
    args.alloc_count = count;
    args.allocation_info = reinterpret_cast<uint64_t>(elements.data());
    args.flags.value = with_flags;
    result = test.Do(LX_DXCREATEALLOCATION, &args);
    return args;
  }
  d3dkmt_createallocation args{};
  std::array<d3dddi_allocationinfo2, kElements> elements{};
  std::array<uint64_t, kElements> data{};
  alignas(4096) std::array<std::byte, 8192> memory{};
  uint32_t into = 0;
  int32_t result = 0;
};
using CreatesPlain = CreatesAllocations<0, false, false>;
using CreatesResource = CreatesAllocations<1, false, false>;
using CreatesShared = CreatesAllocations<1 | 2 | 64, false, false>;
using CreatesMore = CreatesAllocations<0, false, true>;
using CreatesOfClientMemory = CreatesAllocations<0, true, false>;

struct CreatesPagingQueue final : Creating {
  explicit CreatesPagingQueue(BooksTest& test) : Creating(test) { Writes(args); }
  int32_t Make() override {
    args = {};
    args.device.v = test.device;
    return test.Do(LX_DXCREATEPAGINGQUEUE, &args);
  }
  void Unmake() override {
    d3dddi_destroypagingqueue destroy{args.paging_queue};
    test.Do(LX_DXDESTROYPAGINGQUEUE, &destroy);
  }
  bool host_keeps_what_is_not_shown() const override { return true; }
  d3dkmt_createpagingqueue args{};
};

struct CreatesHwQueue final : Creating {
  explicit CreatesHwQueue(BooksTest& test) : Creating(test) { Writes(args), Writes(data); }
  int32_t Make() override {
    args = {};
    args.context.v = test.context;
    args.priv_drv_data = reinterpret_cast<uint64_t>(&data);
    args.priv_drv_data_size = sizeof(data);
    return test.Do(LX_DXCREATEHWQUEUE, &args);
  }
  void Unmake() override {
    d3dkmt_destroyhwqueue destroy{args.queue};
    test.Do(LX_DXDESTROYHWQUEUE, &destroy);
  }
  d3dkmt_createhwqueue args{};
  uint64_t data = 0;
};

template <d3dddi_synchronizationobject_type type, uint32_t flags>
struct CreatesSync final : Creating {
  explicit CreatesSync(BooksTest& test) : Creating(test) { Writes(args); }
  int32_t Make() override {
    args = {};
    args.device.v = test.device;
    args.info.type = type;
    args.info.flags.value = flags;
    if (type == _D3DDDI_CPU_NOTIFICATION) args.info.cpu_notification.event = BooksTest::kEventfd;
    return test.Do(LX_DXCREATESYNCHRONIZATIONOBJECT, &args);
  }
  void Unmake() override {
    d3dkmt_destroysynchronizationobject destroy{args.sync_object};
    test.Do(LX_DXDESTROYSYNCHRONIZATIONOBJECT, &destroy);
  }
  d3dkmt_createsynchronizationobject2 args{};
};
using CreatesFence = CreatesSync<_D3DDDI_MONITORED_FENCE, 0>;
using CreatesPeriodicFence = CreatesSync<_D3DDDI_PERIODIC_MONITORED_FENCE, 0>;
using CreatesSharedFence = CreatesSync<_D3DDDI_MONITORED_FENCE, 3>;
using CreatesNotification = CreatesSync<_D3DDDI_CPU_NOTIFICATION, 0>;
using CreatesMutex = CreatesSync<_D3DDDI_SYNCHRONIZATION_MUTEX, 0>;

// Descriptors. What they are of is made before.
template <typename Object>
struct Shares : Creating {
  explicit Shares(BooksTest& test) : Creating(test), object(test) { Writes(descriptor); }
  uint32_t Handle() {
    if constexpr (requires { object.args.sync_object; })
      return object.args.sync_object.v;
    else
      return object.args.resource.v;
  }
  void Prepare() override { ASSERT_EQ(object.Make(), 0); }
  int32_t Make() override {
    handle = Handle();
    descriptor = 0;
    d3dkmt_shareobjects args{};
    args.object_count = 1;
    args.objects = reinterpret_cast<uint64_t>(&handle);
    args.shared_handle = reinterpret_cast<uint64_t>(&descriptor);
    return test.Do(LX_DXSHAREOBJECTS, &args);
  }
  void Unmake() override { test.CloseDescriptor(static_cast<int>(descriptor)); }
  void Forget() override { object.Unmake(); }
  Object object;
  uint32_t handle = 0;
  uint64_t descriptor = 0;
};
using SharesResource = Shares<CreatesShared>;
using SharesFence = Shares<CreatesSharedFence>;

struct OpensFence final : Creating {
  explicit OpensFence(BooksTest& test) : Creating(test), shared(test) { Writes(args); }
  void Prepare() override {
    shared.Prepare();
    ASSERT_EQ(shared.Make(), 0);
  }
  int32_t Make() override {
    args = {};
    args.nt_handle = shared.descriptor;
    args.device.v = test.device;
    return test.Do(LX_DXOPENSYNCOBJECTFROMNTHANDLE2, &args);
  }
  void Unmake() override {
    d3dkmt_destroysynchronizationobject destroy{args.sync_object};
    test.Do(LX_DXDESTROYSYNCHRONIZATIONOBJECT, &destroy);
  }
  void Forget() override {
    shared.Unmake();
    shared.Forget();
  }
  SharesFence shared;
  d3dkmt_opensyncobjectfromnthandle2 args{};
};

struct OpensResource final : Creating {
  explicit OpensResource(BooksTest& test) : Creating(test), shared(test) {
    Writes(args), Writes(elements), Writes(data);
  }
  void Prepare() override {
    shared.Prepare();
    ASSERT_EQ(shared.Make(), 0);
  }
  int32_t Make() override {
    args = {};
    args.device.v = test.device;
    args.nt_handle = shared.descriptor;
    args.allocation_count = kElements;
    args.open_alloc_info = reinterpret_cast<uint64_t>(elements.data());
    args.total_priv_drv_data_size = sizeof(data);
    args.total_priv_drv_data = reinterpret_cast<uint64_t>(data.data());
    return test.Do(LX_DXOPENRESOURCEFROMNTHANDLE, &args);
  }
  void Unmake() override {
    d3dkmt_destroyallocation2 destroy{};
    destroy.device.v = test.device;
    destroy.resource = args.resource;
    test.Do(LX_DXDESTROYALLOCATION2, &destroy);
  }
  void Forget() override {
    shared.Unmake();
    shared.Forget();
  }
  SharesResource shared;
  d3dkmt_openresourcefromnthandle args{};
  std::array<d3dddi_openallocationinfo2, kElements> elements{};
  std::array<uint64_t, kElements> data{};
};

template <typename Fence>
struct CreatesSyncFile : Creating {
  explicit CreatesSyncFile(BooksTest& test) : Creating(test), fence(test) { Writes(args); }
  void Prepare() override { ASSERT_EQ(fence.Make(), 0); }
  int32_t Make() override {
    args = {};
    args.device.v = test.device;
    args.monitored_fence = fence.args.sync_object;
    args.fence_value = 9;
    return test.Do(LX_DXCREATESYNCFILE, &args);
  }
  void Unmake() override { test.CloseDescriptor(static_cast<int>(args.sync_file_handle)); }
  void Forget() override { fence.Unmake(); }
  Fence fence;
  d3dkmt_createsyncfile args{};
};
using CreatesPrivateSyncFile = CreatesSyncFile<CreatesFence>;
using CreatesSharedSyncFile = CreatesSyncFile<CreatesSharedFence>;

struct OpensFenceOfSyncFile final : Creating {
  explicit OpensFenceOfSyncFile(BooksTest& test) : Creating(test), made(test) { Writes(args); }
  void Prepare() override {
    made.Prepare();
    ASSERT_EQ(made.Make(), 0);
  }
  int32_t Make() override {
    args = {};
    args.sync_file_handle = made.args.sync_file_handle;
    args.device.v = test.device;
    return test.Do(LX_DXOPENSYNCOBJECTFROMSYNCFILE, &args);
  }
  void Unmake() override {
    d3dkmt_destroysynchronizationobject destroy{args.syncobj};
    test.Do(LX_DXDESTROYSYNCHRONIZATIONOBJECT, &destroy);
  }
  void Forget() override {
    made.Unmake();
    made.Forget();
  }
  CreatesSharedSyncFile made;
  d3dkmt_opensyncobjectfromsyncfile args{};
};

// The event of a wait is what it makes; that it happens is its end.
struct WaitsWithEventfd final : Creating {
  explicit WaitsWithEventfd(BooksTest& test) : Creating(test) {}
  int32_t Make() override {
    args = {};
    args.device.v = test.device;
    args.object_count = 1;
    args.objects = reinterpret_cast<uint64_t>(&object);
    args.fence_values = reinterpret_cast<uint64_t>(&value);
    args.async_event = BooksTest::kEventfd;
    return test.Do(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &args);
  }
  void Unmake() override { test.driver.GuestEvent(test.host.events.back()); }
  d3dkmt_waitforsynchronizationobjectfromcpu args{};
  uint32_t object = 0x40000040;
  uint64_t value = 1;
};

}  // namespace dxg::guest
