// After a failure, count. Every call that makes something is made to fail at each of its steps: each command
// to the host is refused, each visit to the client, each word of what it writes cannot be written, each
// handle that the host names is in use, the device ends meanwhile. The books of the guest, of the client and
// of the host are then as they were.
#include <algorithm>
#include <array>
#include <ostream>

#include "proto/dxg/host.pb.h"
#include "tests/guest/host_books.h"
#include "tests/guest/rig.h"

namespace dxg::guest {
namespace {

constexpr uint64_t kRegion = 0xf00000000000;
constexpr size_t kElements = 3;

struct Books {
  size_t handles = 0, events = 0, files = 0, client_pages = 0, opens_to_come = 0;
  int mapped = 0;
  long eventfd_holders = 0;
  std::map<std::string, size_t> host;
  bool operator==(const Books&) const = default;
};

void PrintTo(const Books& books, std::ostream* out) {
  *out << books.handles << " handles, " << books.events << " events, " << books.files << " descriptors, "
       << books.opens_to_come << " opens to come, " << books.mapped << " mappings, " << books.client_pages
       << " lists of pages, " << books.eventfd_holders << " hold the eventfd, and the host has";
  for (const auto& [kind, count] : books.host) *out << " " << count << " x " << kind;
}

class BooksTest : public DriverTest {
 public:
  using DriverTest::access, DriverTest::delivery, DriverTest::driver, DriverTest::host;
  static constexpr int kEventfd = 4;

  BooksTest() {
    Deliver();
    delivery.eventfds[kEventfd] = std::make_shared<CountingFile>();
    HostRegion region;
    region.window_address = WindowAddress(kRegion);
    region.size = seen.size();
    host.regions[kRegion] = region;
    host.next_lock = kRegion + 0x1000;
    delivery.map_result = reinterpret_cast<uint64_t>(seen.data());
    host.after_answer = [this](const HostCall& call) {
      if (change_answer) change_answer(call);
      books.Note(call);
      if (end_device_after == call.command->name) DestroyDevice();
    };
    file = Open(100);
    adapter = OpenAdapter(file, 100);
    MakeDevice();
    bystander = MakeMutex();
  }
  ~BooksTest() override {
    while (!delivery.files.empty()) CloseDescriptor(delivery.files.begin()->first);
    driver.Release(file);
    EXPECT_EQ(driver.process_count(), 0u);
    EXPECT_EQ(driver.events().size(), 0u);
    EXPECT_EQ(host.client_pages.size(), 0u);
    EXPECT_FALSE(books.Counts().contains("name"));
  }

  void MakeDevice() {
    device = CreateDevice(file, 100, adapter);
    d3dkmt_createcontextvirtual made{};
    made.device.v = device;
    ASSERT_EQ(Call(file, 100, LX_DXCREATECONTEXTVIRTUAL, &made), 0);
    context = made.context.v;
  }
  void DestroyDevice() {
    end_device_after.clear();
    d3dkmt_destroydevice args{};
    args.device.v = device;
    EXPECT_EQ(Call(file, 100, LX_DXDESTROYDEVICE, &args), 0);
  }
  void CloseDescriptor(int descriptor) {
    const auto object = delivery.files.extract(descriptor);
    if (!object.empty() && object.mapped() != 0) driver.Release(object.mapped());
  }
  // A call, and what came by its visit; descriptors that it closed again in the client are closed.
  template <typename Args>
  int32_t Do(uint32_t code, Args* args) {
    const size_t left = delivery.left.size(), steps = delivery.steps.size();
    int32_t result = Call(file, 100, code, args);
    if (delivery.left.size() > left) result = delivery.left.back();
    for (size_t i = steps; i < delivery.steps.size(); ++i) {
      if (delivery.steps[i].kind == client::Step::Kind::kCloseFile)
        CloseDescriptor(static_cast<int>(delivery.steps[i].address));
    }
    return result;
  }
  Books Count() {
    Books now;
    now.handles = driver.Processes().front()->live_handles();
    now.events = driver.events().size();
    now.files = delivery.files.size();
    now.client_pages = host.client_pages.size();
    now.mapped = delivery.mapped;
    now.eventfd_holders = delivery.eventfds[kEventfd].use_count();
    now.host = books.Counts();
    for (const auto& step : delivery.steps) {
      if (step.kind == client::Step::Kind::kGiveNode) now.opens_to_come += StillExpected(step.token);
    }
    return now;
  }
  // Whether an open with that token would still lead to an object. If so the file stays open: its close would
  // end a descriptor that nobody counted.
  bool StillExpected(uint64_t token) {
    delivery.token = token;
    auto open = StartOpen(FakeDelivery::kOpener);
    delivery.token = 0;
    return open->Wait() == 0;
  }
  // One that outlives its device. `named`: the number that the host gives it.
  uint32_t MakeMutex(uint32_t named = 0) {
    if (named != 0) {
      change_answer = [named](const HostCall& call) {
        if (auto* made = dynamic_cast<host::CreateSyncObject::Reply*>(call.reply))
          made->set_sync_object(named);
      };
    }
    d3dkmt_createsynchronizationobject2 args{};
    args.device.v = device;
    args.info.type = _D3DDDI_SYNCHRONIZATION_MUTEX;
    EXPECT_EQ(Call(file, 100, LX_DXCREATESYNCHRONIZATIONOBJECT, &args), 0) << std::hex << named;
    change_answer = nullptr;
    return args.sync_object.v;
  }
  Process& process() { return *driver.Processes().front(); }

  HostBooks books;
  std::function<void(const HostCall&)> change_answer;
  std::string end_device_after;
  alignas(4096) std::array<std::byte, 0x4000> seen{};  // the host's region as the client sees it
  uint64_t file = 0;
  uint32_t adapter = 0, device = 0, context = 0, bystander = 0;
};

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

struct Case {
  const char* name;
  std::unique_ptr<Creating> (*make)(BooksTest& test);
};

template <typename T>
Case Of(const char* name) {
  return {name, [](BooksTest& test) -> std::unique_ptr<Creating> { return std::make_unique<T>(test); }};
}

void PrintTo(const Case& each, std::ostream* out) { *out << each.name; }

// The handles in an answer, one after the other. Those that the guest does not enter are left out.
template <typename Visit>
void ForEachHandle(const HostCall& call, Visit visit) {
  if (auto* device = dynamic_cast<host::CreateDevice::Reply*>(call.reply))
    visit([=](uint32_t with) { device->set_device(with); });
  if (auto* context = dynamic_cast<host::CreateContextVirtual::Reply*>(call.reply))
    visit([=](uint32_t with) { context->set_context(with); });
  if (auto* queue = dynamic_cast<host::CreatePagingQueue::Reply*>(call.reply)) {
    visit([=](uint32_t with) { queue->set_paging_queue(with); });
    visit([=](uint32_t with) { queue->set_sync_object(with); });
  }
  if (auto* queue = dynamic_cast<host::CreateHwQueue::Reply*>(call.reply)) {
    visit([=](uint32_t with) { queue->set_hwqueue(with); });
    visit([=](uint32_t with) { queue->set_progress_fence(with); });
  }
  if (auto* made = dynamic_cast<host::CreateSyncObject::Reply*>(call.reply))
    visit([=](uint32_t with) { made->set_sync_object(with); });
  if (auto* opened = dynamic_cast<host::OpenSyncObject::Reply*>(call.reply))
    visit([=](uint32_t with) { opened->set_sync_object(with); });
  if (auto* made = dynamic_cast<host::CreateAllocation::Reply*>(call.reply)) {
    if (made->resource() != 0) visit([=](uint32_t with) { made->set_resource(with); });
    for (int i = 0; i < made->allocations_size(); ++i)
      visit([=](uint32_t with) { made->mutable_allocations(i)->set_allocation(with); });
  }
  if (auto* opened = dynamic_cast<host::OpenResource::Reply*>(call.reply)) {
    visit([=](uint32_t with) { opened->set_resource(with); });
    for (int i = 0; i < opened->allocations_size(); ++i)
      visit([=](uint32_t with) { opened->set_allocations(i, with); });
  }
}

// The host refuses the n-th command that has a status. False: there are fewer.
bool SetStatus(const HostCall& call, int32_t status) {
  const auto set = [status](auto* reply) {
    if (reply != nullptr) reply->set_status(status);
    return reply != nullptr;
  };
  return set(dynamic_cast<host::CreateHwQueue::Reply*>(call.reply)) ||
         set(dynamic_cast<host::SetExistingSysmemStore::Reply*>(call.reply)) ||
         set(dynamic_cast<host::OpenSyncObject::Reply*>(call.reply)) ||
         set(dynamic_cast<host::OpenResource::Reply*>(call.reply)) ||
         set(dynamic_cast<host::WaitForSyncObjectFromCpu::Reply*>(call.reply));
}

class AfterAFailure : public BooksTest, public testing::WithParamInterface<Case> {
 protected:
  AfterAFailure() : creating(GetParam().make(*this)) { baseline = Count(); }

  // One try with something wrong; with what came to be all the same it ends, too.
  void Try(const std::string& what, const std::function<void()>& spoil, bool host_may_keep = false) {
    Books before = Count();
    spoil();
    const int32_t result = creating->Make();
    access.unwritable.clear();
    host.refuse.clear();
    change_answer = nullptr;
    delivery.before_step = nullptr;
    delivery.refuse_step = delivery.refuse_enter = 0;
    delivery.kill_after_answer = false;
    if (result >= 0) creating->Unmake();
    Books after = Count();
    if (host_may_keep) before.host = after.host;
    EXPECT_EQ(after, before) << what << ": result " << result;
  }

  Books baseline;
  std::unique_ptr<Creating> creating;
};

TEST_P(AfterAFailure, NothingIsLeftWhereAWordCannotBeWritten) {
  creating->Prepare();
  for (const auto place : creating->written) {
    for (size_t at = 0; at < place.size(); at += 4) {
      Try(fmt::format("byte {} of {}", at, place.size()),
          [&] { access.unwritable = {reinterpret_cast<uint64_t>(place.data() + at)}; });
    }
  }
  creating->Forget();
  EXPECT_EQ(Count(), baseline);
}

TEST_P(AfterAFailure, NothingIsLeftWhereACommandIsRefused) {
  creating->Prepare();
  host.asked.clear();
  ASSERT_EQ(creating->Make(), 0);
  const auto asked = host.asked;
  creating->Unmake();
  for (const auto& command : asked) Try(command, [&] { host.refuse = {command}; });
  for (size_t nth = 1;; ++nth) {
    size_t seen_so_far = 0;
    Try(fmt::format("status {}", nth), [&] {
      change_answer = [&](const HostCall& call) {
        if (SetStatus(call, 0) && ++seen_so_far == nth) SetStatus(call, static_cast<int32_t>(0xc0000022));
      };
    });
    if (seen_so_far < nth) break;
  }
  creating->Forget();
  EXPECT_EQ(Count(), baseline);
}

TEST_P(AfterAFailure, NothingIsLeftWhereTheClientCannotBeVisited) {
  creating->Prepare();
  const bool kept = creating->host_keeps_what_is_not_shown();
  Try(
      "way in", [&] { delivery.refuse_enter = EPERM; }, kept);
  Try(
      "killed on the way", [&] { delivery.kill_after_answer = true; }, kept);
  for (int nth = 1;; ++nth) {
    int visits = 0;
    std::function<void()> step = [&] {
      if (++visits == nth) delivery.refuse_step = EMFILE;
      delivery.before_step = step;
    };
    Try(
        fmt::format("visit {}", nth), [&] { delivery.before_step = step; }, kept);
    if (visits < nth) break;
  }
  creating->Forget();
  Books at_the_end = Count();
  if (kept) at_the_end.host = baseline.host;
  EXPECT_EQ(at_the_end, baseline);
}

TEST_P(AfterAFailure, NothingIsLeftWhereThePageIsNowhere) {
  creating->Prepare();
  const uint64_t page = host.next_lock;
  Try(
      "page", [&] { host.next_lock = 0x1000; }, creating->host_keeps_what_is_not_shown());
  host.next_lock = page;
}

TEST_P(AfterAFailure, NothingIsLeftWhereAHandleCannotBeEntered) {
  creating->Prepare();
  constexpr uint32_t kIndexTooBig = 0xffffffc0;
  for (const uint32_t bad : {bystander, kIndexTooBig}) {
    for (size_t nth = 1;; ++nth) {
      size_t handles = 0;
      Try(fmt::format("handle {} is {:#x}", nth, bad), [&] {
        change_answer = [&](const HostCall& call) {
          ForEachHandle(call, [&](const auto& set) {
            if (++handles == nth) set(bad);
          });
        };
      });
      if (handles < nth) break;
    }
  }
  EXPECT_EQ(process().TypeOf(bystander), HandleType::kSyncObject);
  creating->Forget();
  EXPECT_EQ(Count(), baseline);
}

TEST_P(AfterAFailure, NothingIsLeftWhereTheDeviceEndsMeanwhile) {
  creating->Prepare();
  host.asked.clear();
  ASSERT_EQ(creating->Make(), 0);
  const auto asked = host.asked;
  creating->Unmake();
  creating->Forget();
  for (const auto& command : asked) {
    creating = GetParam().make(*this);
    creating->Prepare();
    end_device_after = command;
    const int32_t result = creating->Make();
    EXPECT_TRUE(end_device_after.empty());
    if (result >= 0) creating->Unmake();
    creating->Forget();
    EXPECT_EQ(process().TypeOf(device), HandleType::kFree);
    MakeDevice();
    EXPECT_EQ(Count(), baseline) << command << ": result " << result;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Calls, AfterAFailure,
    testing::Values(
        Of<OpensAdapter>("OpenAdapterFromLuid"), Of<Enumerates2>("EnumAdapters2"),
        Of<Enumerates3>("EnumAdapters3"), Of<CreatesDevice>("CreateDevice"),
        Of<CreatesContext>("CreateContextVirtual"), Of<CreatesPlain>("CreateAllocation"),
        Of<CreatesResource>("CreateAllocationResource"), Of<CreatesShared>("CreateAllocationShared"),
        Of<CreatesMore>("CreateAllocationMore"), Of<CreatesOfClientMemory>("CreateAllocationOfClientMemory"),
        Of<CreatesPagingQueue>("CreatePagingQueue"), Of<CreatesHwQueue>("CreateHwQueue"),
        Of<CreatesFence>("CreateFence"), Of<CreatesPeriodicFence>("CreatePeriodicFence"),
        Of<CreatesSharedFence>("CreateSharedFence"), Of<CreatesNotification>("CreateNotification"),
        Of<CreatesMutex>("CreateMutex"), Of<SharesResource>("ShareResource"), Of<SharesFence>("ShareFence"),
        Of<OpensFence>("OpenSyncObjectFromNtHandle2"), Of<OpensResource>("OpenResourceFromNtHandle"),
        Of<CreatesPrivateSyncFile>("CreateSyncFile"), Of<CreatesSharedSyncFile>("CreateSyncFileShared"),
        Of<OpensFenceOfSyncFile>("OpenSyncObjectFromSyncFile"), Of<WaitsWithEventfd>("WaitWithEventfd")),
    [](const auto& info) { return info.param.name; });

// -- A parent's end frees every name ----------------------------------------------------------------

// Everything that hangs off a device; the handles are taken from the host's answers.
class ParentsEnd : public BooksTest {
 protected:
  ParentsEnd() {
    change_answer = [this](const HostCall& call) { Remember(call); };
    const auto make = [this](auto creating) {
      creating->Prepare();
      EXPECT_EQ(creating->Make(), 0);
      return creating;
    };
    make(std::make_unique<CreatesPlain>(*this));
    resource = make(std::make_unique<CreatesResource>(*this))->args.resource.v;
    shared_resource = make(std::make_unique<OpensResource>(*this))->args.resource.v;
    paging_queue = make(std::make_unique<CreatesPagingQueue>(*this))->args.paging_queue.v;
    hw_queue = make(std::make_unique<CreatesHwQueue>(*this))->args.queue.v;
    make(std::make_unique<CreatesHwQueue>(*this));
    make(std::make_unique<CreatesFence>(*this));
    make(std::make_unique<CreatesPeriodicFence>(*this));
    make(std::make_unique<OpensFence>(*this));
    context_of_queues = context;
    MakeContext();
    change_answer = nullptr;
  }

  void MakeContext() {
    d3dkmt_createcontextvirtual made{};
    made.device.v = device;
    ASSERT_EQ(Call(file, 100, LX_DXCREATECONTEXTVIRTUAL, &made), 0);
    context = made.context.v;
  }
  void Remember(const HostCall& call) {
    const auto note = [this](std::initializer_list<uint32_t> handles, const std::string& parent) {
      for (const uint32_t handle : handles) {
        if (handle != 0) names[parent].push_back(handle);
      }
    };
    if (auto* made = dynamic_cast<host::CreateContextVirtual::Reply*>(call.reply))
      note({made->context()}, "device");
    if (auto* queue = dynamic_cast<host::CreatePagingQueue::Reply*>(call.reply))
      note({queue->paging_queue(), queue->sync_object()}, "paging queue");
    if (auto* queue = dynamic_cast<host::CreateHwQueue::Reply*>(call.reply)) {
      note({queue->hwqueue(), queue->progress_fence()},
           names.contains("hardware queue") ? "context" : "hardware queue");
    }
    if (auto* made = dynamic_cast<host::CreateSyncObject::Reply*>(call.reply))
      note({made->sync_object()}, "device");
    if (auto* opened = dynamic_cast<host::OpenSyncObject::Reply*>(call.reply))
      note({opened->sync_object()}, "device");
    if (auto* made = dynamic_cast<host::CreateAllocation::Reply*>(call.reply)) {
      const std::string parent = made->resource() != 0 && !names.contains("resource") ? "resource" : "device";
      note({made->resource()}, parent);
      for (const auto& each : made->allocations()) note({each.allocation()}, parent);
    }
    if (auto* opened = dynamic_cast<host::OpenResource::Reply*>(call.reply)) {
      note({opened->resource()}, "opened resource");
      for (const uint32_t each : opened->allocations()) note({each}, "opened resource");
    }
  }
  // None of them means anything, all others do, and each number can be given out again.
  void AllFree(const std::vector<std::string>& parents) {
    for (const auto& [parent, handles] : names) {
      const bool ended = std::find(parents.begin(), parents.end(), parent) != parents.end();
      for (const uint32_t handle : handles) {
        EXPECT_EQ(process().TypeOf(handle) == HandleType::kFree, ended)
            << std::hex << handle << " of the " << parent;
        EXPECT_FALSE(ended && process().IsMonitored(handle).ok()) << std::hex << handle;
      }
    }
    if (process().TypeOf(device) == HandleType::kFree) {
      adapter = OpenAdapter(file, 100);
      MakeDevice();
    }
    for (const auto& parent : parents) {
      for (const uint32_t handle : names[parent]) EXPECT_EQ(MakeMutex(handle), handle);
    }
  }
  const std::vector<std::string> all = {"device",         "context",  "paging queue",
                                        "hardware queue", "resource", "opened resource"};

  std::map<std::string, std::vector<uint32_t>> names;  // by the parent that the test ends
  uint32_t resource = 0, shared_resource = 0, paging_queue = 0, hw_queue = 0, context_of_queues = 0;
};

TEST_F(ParentsEnd, OfAHardwareQueue) {
  d3dkmt_destroyhwqueue args{{.v = hw_queue}};
  ASSERT_EQ(Call(file, 100, LX_DXDESTROYHWQUEUE, &args), 0);
  AllFree({"hardware queue"});
}

TEST_F(ParentsEnd, OfAPagingQueue) {
  d3dddi_destroypagingqueue args{{.v = paging_queue}};
  ASSERT_EQ(Call(file, 100, LX_DXDESTROYPAGINGQUEUE, &args), 0);
  AllFree({"paging queue"});
}

TEST_F(ParentsEnd, OfAContext) {
  d3dkmt_destroycontext args{};
  args.context.v = context_of_queues;
  ASSERT_EQ(Call(file, 100, LX_DXDESTROYCONTEXT, &args), 0);
  EXPECT_EQ(process().TypeOf(context_of_queues), HandleType::kFree);
  AllFree({"context", "hardware queue"});
}

TEST_F(ParentsEnd, OfAResource) {
  for (const uint32_t each : {resource, shared_resource}) {
    d3dkmt_destroyallocation2 args{};
    args.device.v = device;
    args.resource.v = each;
    ASSERT_EQ(Call(file, 100, LX_DXDESTROYALLOCATION2, &args), 0);
  }
  AllFree({"resource", "opened resource"});
}

TEST_F(ParentsEnd, OfADevice) {
  DestroyDevice();
  AllFree(all);
}

TEST_F(ParentsEnd, OfAnAdapter) {
  d3dkmt_closeadapter args{{.v = adapter}};
  ASSERT_EQ(Call(file, 100, LX_DXCLOSEADAPTER, &args), 0);
  AllFree(all);
}

TEST_F(ParentsEnd, TakesEveryPageOutOfTheClient) {
  ASSERT_GT(delivery.mapped, 0);
  DestroyDevice();
  EXPECT_EQ(delivery.mapped, 0);
}

}  // namespace
}  // namespace dxg::guest
