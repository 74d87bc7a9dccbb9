// How much of a recording is taken: a small file may say much.
#include "cuse-dxg/replay/recording.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "tests/replay/made_recording.h"

namespace dxg::replay {
namespace {

class RecordingLimits : public testing::Test {
 protected:
  void AddCall(uint32_t pid, uint32_t tid) {
    made.Call(pid, tid, LX_DXDESTROYDEVICE, calls::DestroyDevice::Request(), calls::DestroyDevice::Reply(),
              -EINVAL);
  }
  void ExpectTooMany(const std::string& what) {
    const auto read = made.Read();
    EXPECT_EQ(read.status().value(), -EFBIG);
    EXPECT_NE(read.status().why().find(what), std::string::npos) << read.status().why();
  }
  MadeRecording made;
};

TEST_F(RecordingLimits, Processes) {
  for (uint32_t pid = 1; pid <= Recording::kProcessesMax; ++pid) made.Open(pid, "program");
  EXPECT_TRUE(made.Read().ok());
  made.Open(Recording::kProcessesMax + 1, "program");
  ExpectTooMany("processes");
}

TEST_F(RecordingLimits, ThreadsOfAProcess) {
  for (uint32_t tid = 1; tid <= Recording::kThreadsMax; ++tid) AddCall(1, tid);
  AddCall(1, 1);
  const auto recording = made.Take();
  EXPECT_EQ(recording->processes()[0].threads.size(), Recording::kThreadsMax);
  EXPECT_EQ(recording->calls().back().thread, 0u);
  AddCall(2, Recording::kThreadsMax + 1);
  EXPECT_TRUE(made.Read().ok()) << "another process has threads of its own";
  AddCall(1, Recording::kThreadsMax + 1);
  ExpectTooMany("threads of process 1");
}

TEST_F(RecordingLimits, Adapters) {
  for (size_t i = 0; i <= Recording::kAdaptersMax; ++i) {
    TraceRecord& record = made.records.emplace_back();
    record.mutable_adapter()->set_change(TraceAdapter::ARRIVED);
    record.mutable_adapter()->set_luid(i + 1);
  }
  ExpectTooMany("adapters");
}

}  // namespace
}  // namespace dxg::replay
