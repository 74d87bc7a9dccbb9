#pragma once
// The books of the guest, of the client and of the host: how many things each of them has. Tests count them
// before and after.
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <string>

#include "proto/dxg/host.pb.h"
#include "tests/guest/host_books.h"
#include "tests/guest/rig.h"

namespace dxg::guest {

struct Books {
  size_t handles = 0, events = 0, files = 0, client_pages = 0, opens_to_come = 0;
  int mapped = 0;
  long eventfd_holders = 0;
  std::map<std::string, size_t> host;
  bool operator==(const Books&) const = default;
};

inline void PrintTo(const Books& books, std::ostream* out) {
  *out << books.handles << " handles, " << books.events << " events, " << books.files << " descriptors, "
       << books.opens_to_come << " opens to come, " << books.mapped << " mappings, " << books.client_pages
       << " lists of pages, " << books.eventfd_holders << " hold the eventfd, and the host has";
  for (const auto& [kind, count] : books.host) *out << " " << count << " x " << kind;
}

// A client with an adapter, a device, a context and an object beside them; each call is counted by the books.
class BooksTest : public DriverTest {
 public:
  using DriverTest::access, DriverTest::delivery, DriverTest::driver, DriverTest::host;
  static constexpr int kEventfd = 4;
  static constexpr uint64_t kRegion = 0xf00000000000;
  // The host's names for shared objects: where memory runs out before one is noted, nobody ends it.
  bool names_may_stay = false;

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
    EXPECT_TRUE(names_may_stay || !books.Counts().contains("name"));
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

}  // namespace dxg::guest
