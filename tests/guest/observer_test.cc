// What the driver tells an observer: also of what no handler sees.
#include "cuse-dxg/guest/observer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "proto/abi/d3dkmthk.h"
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

}  // namespace
}  // namespace dxg::guest
