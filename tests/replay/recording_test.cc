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

// A process that closed the node is gone, and one number may have been that of many.
TEST_F(RecordingLimits, ProcessesOneAfterAnother) {
  for (uint32_t i = 1; i <= Recording::kProcessesMax + 1; ++i) {
    made.Open(7 + i % 2, "program");
    AddCall(7 + i % 2, 7 + i % 2);
    made.Close(7 + i % 2);
  }
  EXPECT_EQ(made.Take()->processes().size(), Recording::kProcessesMax + 1);
}

class RecordingDescriptors : public testing::Test {
 protected:
  TraceRecord& Share(uint32_t pid, uint64_t number, uint64_t descriptor) {
    calls::ShareObjects::Reply reply;
    reply.add_shared_handle(descriptor);
    TraceRecord& record = made.Call(pid, pid, LX_DXSHAREOBJECTS, calls::ShareObjects::Request(), reply);
    record.mutable_call()->set_shared_object(number);
    return record;
  }
  TraceRecord& Query(uint32_t pid, uint64_t descriptor) {
    calls::QueryResourceInfoFromNtHandle::Request request;
    request.set_nt_handle(descriptor);
    return made.Call(pid, pid, LX_DXQUERYRESOURCEINFOFROMNTHANDLE, request,
                     calls::QueryResourceInfoFromNtHandle::Reply());
  }
  MadeRecording made;
};

// Numbers of descriptors tell nothing of where they came from; the recorder has seen what they are of.
TEST_F(RecordingDescriptors, AreOfWhatTheRecorderHasSeen) {
  Share(1, 31, 5);
  Share(1, 32, 6);
  Query(2, 6).mutable_call()->set_shared_object(31);
  TraceRecord& none = Query(1, 5);
  none.mutable_call()->set_shared_object(0);
  none.set_result(-EINVAL);
  Query(1, 6).mutable_call()->set_shared_object(33);  // nobody's call made it
  const auto recording = made.Take();
  const auto& calls = recording->calls();
  EXPECT_EQ(calls[2].borrowed, calls[0].descriptors[0].object);
  EXPECT_FALSE(calls[2].names_none);
  for (const size_t i : {3, 4}) {
    EXPECT_EQ(calls[i].borrowed, 0u);
    EXPECT_TRUE(calls[i].names_none);
  }
}

// Its thread was dead before it was answered.
TEST_F(RecordingDescriptors, CallsOfTheKilledAreNotPlayed) {
  TraceRecord& record = Share(1, 31, 5);
  record.set_result(-ENOTRECOVERABLE);
  record.set_reason("no descriptor can be given to the client: thread 1 was killed during its call");
  const auto recording = made.Take();
  EXPECT_TRUE(recording->calls().empty());
  EXPECT_EQ(recording->left_out(), 1u);
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

class RecordingPaging : public testing::Test {
 protected:
  static constexpr uint32_t kQueue = 0x40000040, kFence = 0x40000080;
  RecordingPaging() {
    made.BeginWithDevice();
    calls::CreatePagingQueue::Request create;
    calls::CreatePagingQueue::Reply created;
    create.set_device(MadeRecording::kDevice);
    created.set_paging_queue(kQueue);
    created.set_sync_object(kFence);
    made.Add<calls::CreatePagingQueue>(create, created);
  }
  void MakeResident(uint64_t value) {
    calls::MakeResident::Request request;
    calls::MakeResident::Reply reply;
    request.set_paging_queue(kQueue);
    reply.set_paging_fence_value(value);
    made.Add<calls::MakeResident>(request, reply, 0x103);
  }
  void Ask() { made.Add<calls::DestroyDevice>({}, {}, -EINVAL); }
  // How far a call's process knew its paging to be; 0: not at all.
  static uint64_t Known(const RecordedCall& call) {
    return call.paging.empty() ? 0 : call.paging.front().value;
  }
  MadeRecording made;
};

TEST_F(RecordingPaging, IsDoneWhenItsFenceSaysSo) {
  MakeResident(3);
  Ask();
  TraceRecord& event = made.records.emplace_back();
  event.set_pid(7);
  event.set_begin_ns(made.records[made.records.size() - 2].end_ns());
  event.mutable_event()->set_kind(TraceEvent::FENCE);
  event.mutable_event()->set_object(kFence);
  event.mutable_event()->set_value(2);
  MakeResident(4);
  Ask();
  const auto recording = made.Take();
  EXPECT_EQ(Known(recording->calls()[5]), 2u);
  EXPECT_EQ(Known(recording->calls()[6]), 2u);
  EXPECT_EQ(recording->calls()[6].paging.front().queue, recording->calls()[2].handles.front().object);
}

// Its record comes when it ends.
TEST_F(RecordingPaging, IsWhereItWasWhenALongCallBegan) {
  const uint64_t begin_ns = made.records.back().end_ns();
  for (const uint64_t value : {1, 2, 3}) MakeResident(value);
  Ask();
  made.records.back().set_begin_ns(begin_ns);
  EXPECT_EQ(Known(made.Take()->calls().back()), 0u);
}

TEST_F(RecordingPaging, WithoutEventsIsDoneWithItsCall) {
  MakeResident(3);
  Ask();
  calls::DestroyDevice::Request destroy;
  destroy.set_device(MadeRecording::kDevice);
  made.Add<calls::DestroyDevice>(destroy, {});
  Ask();
  const auto recording = made.Take();
  EXPECT_EQ(Known(recording->calls()[3]), 0u);
  EXPECT_EQ(Known(recording->calls()[4]), 3u);
  EXPECT_EQ(Known(recording->calls()[6]), 0u) << "the queue ended with its device";
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
