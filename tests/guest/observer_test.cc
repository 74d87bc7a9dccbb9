// What the driver tells an observer: also of what no handler sees.
#include "cuse-dxg/guest/observer.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proto/abi/d3dkmthk.h"
#include "proto/contract/calls.gen.h"
#include "tests/guest/rig.h"

namespace dxg::guest {
namespace {

class Notes final : public CallObserver {
 public:
  void OnCall(const CallReport& report) override {
    notes.push_back(fmt::format("{} tid {} pid {}{}{} {}", report.row != nullptr ? report.row->name : "ioctl",
                                report.tid, report.pid, report.inherited ? " inherited" : "",
                                report.raw.empty() ? "" : fmt::format(" {} raw bytes", report.raw.size()),
                                report.status->value()));
    EXPECT_NE(report.begin_ns, 0u);
  }
  void OnFile(const FileReport& report) override {
    constexpr const char* kWhat[] = {"open", "open shared", "close"};
    notes.push_back(fmt::format("{} tid {} pid {} {}", kWhat[static_cast<size_t>(report.what)], report.tid,
                                report.pid, report.error));
    EXPECT_NE(report.at_ns, 0u);
    files.push_back(report.file);
  }
  void OnAdapter(const AdapterReport& report) override {
    constexpr const char* kWhat[] = {"arrived", "stopped", "removed"};
    notes.push_back(fmt::format("{} {}", report.luid, kWhat[static_cast<size_t>(report.what)]));
  }
  void OnSignal(const SignalReport& report) override {
    notes.push_back(
        fmt::format("eventfd {} pid {} of {} value {}", report.fd, report.pid, report.object, report.value));
    EXPECT_NE(report.at_ns, 0u);
    EXPECT_NE(report.process, 0u);
    if (on_signal) on_signal();
  }
  std::function<void()> on_signal;
  std::vector<std::string> Take() { return std::exchange(notes, {}); }

  std::vector<std::string> notes;
  std::vector<uint64_t> files;
};

using Lines = std::vector<std::string>;

class ObserverTest : public DriverTest {
 protected:
  ObserverTest() { driver.set_observer(&notes); }
  Notes notes;
};

TEST_F(ObserverTest, SeesOpensCallsAndCloses) {
  const uint64_t first = Open(100), second = Open(100);
  d3dkmt_enumadapters2 args{};
  EXPECT_EQ(Call(first, 100, LX_DXENUMADAPTERS2, &args), 0);
  driver.Release(second);
  driver.Release(first);
  EXPECT_EQ(notes.Take(),
            (Lines{"open tid 100 pid 100 0", "open tid 100 pid 100 0", "EnumAdapters2 tid 100 pid 100 0",
                   "close tid 0 pid 100 0", "close tid 0 pid 100 0"}));
  ASSERT_EQ(notes.files.size(), 4u);
  EXPECT_NE(notes.files[0], notes.files[1]);
  EXPECT_EQ(notes.files[2], notes.files[1]);
  EXPECT_EQ(notes.files[3], notes.files[0]);
}

TEST_F(ObserverTest, SeesAnOpenThatTheHostRefuses) {
  host.refuse.insert("CREATEPROCESS");
  EXPECT_EQ(StartOpen(100)->Wait(), -EBADF);
  EXPECT_EQ(notes.Take(), (Lines{fmt::format("open tid 100 pid 100 {}", EBADF)}));
}

TEST_F(ObserverTest, SeesWhatNoHandlerSees) {
  const uint64_t file = Open(100);
  notes.Take();
  d3dkmt_enumadapters2 args{};
  EXPECT_EQ(Call(file, 200, LX_DXENUMADAPTERS2, &args), -ENOTTY);
  EXPECT_EQ(StartRaw(file, 100, 0x4712, reinterpret_cast<uint64_t>(&args), 8)->Wait(), -ENOTTY);
  EXPECT_EQ(notes.Take(), (Lines{fmt::format("EnumAdapters2 tid 200 pid 100 inherited {}", -ENOTTY),
                                 fmt::format("ioctl tid 100 pid 100 8 raw bytes {}", -ENOTTY)}));
  driver.Release(file);
}

TEST_F(ObserverTest, SeesAdaptersComeAndGo) {
  HostAdapter adapter;
  adapter.luid = 77;
  driver.AdapterArrived(adapter);
  driver.AdapterStopped(77);
  driver.AdapterRemoved(77);
  EXPECT_EQ(notes.Take(), (Lines{"77 arrived", "77 stopped", "77 stopped", "77 removed"}));
}

// A call that is refused for what it was looked at has that in its Request: else nobody could make it again.
class SeenObserverTest : public FenceTest {
 protected:
  class Requests final : public CallObserver {
   public:
    void OnCall(const CallReport& report) override {
      last.reset(report.request->New());
      last->CopyFrom(*report.request);
    }
    template <class T>
    const typename T::Request& Last() const {
      return dynamic_cast<const typename T::Request&>(*last);
    }
    std::unique_ptr<contract::Message> last;
  };
  SeenObserverTest() { driver.set_observer(&requests); }
  ~SeenObserverTest() override { driver.set_observer(nullptr); }
  Requests requests;
};

TEST_F(SeenObserverTest, WhatAnEscapeIs) {
  d3dddi_buildtestcommandbuffer data{};
  data.escape_type = _D3DDDI_DRIVERESCAPETYPE_BUILDTESTCOMMANDBUFFER;
  d3dkmt_escape args{};
  args.adapter.v = adapter;
  args.type = _D3DKMT_ESCAPE_DRIVERPRIVATE;
  args.flags.driver_known_escape = 1;
  args.priv_drv_data = reinterpret_cast<uint64_t>(&data);
  args.priv_drv_data_size = sizeof(data) - 1;
  EXPECT_EQ(Call(file, 100, LX_DXESCAPE, &args), -EINVAL);
  EXPECT_EQ(requests.Last<calls::Escape>().priv_drv_data(),
            std::string(reinterpret_cast<const char*>(&data), sizeof(uint32_t)));
  args.priv_drv_data_size = sizeof(data);
  EXPECT_EQ(Call(file, 100, LX_DXESCAPE, &args), -EINVAL);  // no room for a command
  EXPECT_EQ(requests.Last<calls::Escape>().priv_drv_data().size(), sizeof(data));
}

TEST_F(SeenObserverTest, WhoseContextASignalIsOf) {
  d3dkmt_createcontextvirtual create{};
  create.device.v = device;
  ASSERT_EQ(Call(file, 100, LX_DXCREATECONTEXTVIRTUAL, &create), 0);
  d3dkmt_signalsynchronizationobjectfromgpu2 args{};
  args.object_count = 1;
  args.context_count = 1;
  args.contexts = reinterpret_cast<uint64_t>(&create.context);
  args.objects = 0x10;  // where nothing is
  EXPECT_EQ(Call(file, 100, LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2, &args), -EFAULT);
  ASSERT_EQ(requests.Last<calls::SignalSynchronizationObjectFromGpu2>().contexts_size(), 1);
  EXPECT_EQ(requests.Last<calls::SignalSynchronizationObjectFromGpu2>().contexts(0), create.context.v);
}

class SignalObserverTest : public FenceTest {
 protected:
  SignalObserverTest() { driver.set_observer(&notes); }
  ~SignalObserverTest() override { driver.set_observer(nullptr); }  // before the notes end
  Notes notes;
};

TEST_F(SignalObserverTest, SeesAnEventfdWithItsFenceBeforeItIsSignalled) {
  uint32_t objects[] = {0x40000123, 0x40000456};
  uint64_t values[] = {7, 8};
  d3dkmt_waitforsynchronizationobjectfromcpu wait{};
  wait.device.v = device;
  wait.object_count = 2;
  wait.objects = reinterpret_cast<uint64_t>(objects);
  wait.fence_values = reinterpret_cast<uint64_t>(values);
  wait.async_event = kEventfd;
  ASSERT_EQ(Call(file, 100, LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &wait), 0);
  notes.Take();
  int before = -1;
  notes.on_signal = [&] { before = eventfd().count; };
  driver.GuestEvent(host.events[0]);
  EXPECT_EQ(notes.Take(),
            (Lines{fmt::format("eventfd {} pid 100 of {} value 7", int{kEventfd}, 0x40000123)}));
  EXPECT_EQ(before, 0);
  EXPECT_EQ(eventfd().count, 1);
  EXPECT_EQ(delivery.eventfds[kEventfd].use_count(), 1);
}

TEST_F(SignalObserverTest, SeesACpuNotificationAsOftenAsItIsRaised) {
  d3dkmt_createsynchronizationobject2 args{};
  args.device.v = device;
  args.info.type = _D3DDDI_CPU_NOTIFICATION;
  args.info.cpu_notification.event = kEventfd;
  ASSERT_EQ(Call(file, 100, LX_DXCREATESYNCHRONIZATIONOBJECT, &args), 0);
  notes.Take();
  for (int i = 0; i < 2; ++i) driver.GuestEvent(args.info.cpu_notification.event);
  const std::string line = fmt::format("eventfd {} pid 100 of {} value 0", int{kEventfd}, args.sync_object.v);
  EXPECT_EQ(notes.Take(), (Lines{line, line}));
}

}  // namespace
}  // namespace dxg::guest
