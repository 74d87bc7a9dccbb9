// The timeline: which tracks there are, what is on them, and what leads where.
#include "cuse-dxg/trace/timeline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "proto/contract/calls.gen.h"

namespace dxg::trace {
namespace {

using perfetto::TrackDescriptor;
using perfetto::TrackEvent;

class TimelineTest : public testing::Test {
 protected:
  static constexpr uint32_t kPid = 7, kTid = 8;

  TimelineTest() : file_(open_memstream(&text_, &bytes_)), writer_(file_, 1000, 5000), timeline_(writer_) {}
  ~TimelineTest() override {
    std::fclose(file_);
    std::free(text_);
  }

  void Add(const TraceRecord& record) {
    Decoder decoder;
    ASSERT_TRUE(decoder.Decode(record).ok());
    timeline_.Add(record, decoder, ++number_);
  }
  template <typename Traits>
  void Call(const typename Traits::Request& request, const typename Traits::Reply& reply = {},
            int32_t result = 0) {
    TraceRecord record = At();
    record.set_end_ns(at_ns_ += 10);
    record.set_result(result);
    record.mutable_call()->set_code(Traits::kCode);
    record.mutable_call()->set_request(request.SerializeAsString());
    record.mutable_call()->set_reply(reply.SerializeAsString());
    Add(record);
  }
  TraceRecord At() {
    TraceRecord record;
    record.set_pid(kPid);
    record.set_tid(kTid);
    record.set_begin_ns(at_ns_ += 100);
    record.set_end_ns(at_ns_);
    return record;
  }
  void Event(TraceEvent::Kind kind, uint32_t object, uint64_t value, uint32_t node = 0) {
    TraceRecord record = At();
    record.mutable_event()->set_kind(kind);
    record.mutable_event()->set_object(object);
    record.mutable_event()->set_value(value);
    record.mutable_event()->set_node(node);
    Add(record);
  }

  // What was written, with the tracks by their numbers.
  void Read() {
    ASSERT_TRUE(writer_.Close().ok());
    ASSERT_TRUE(trace_.ParseFromString(std::string(text_, bytes_)));
    for (const perfetto::TracePacket& packet : trace_.packet()) {
      EXPECT_EQ(packet.trusted_packet_sequence_id(), 1u);
      if (!packet.has_track_descriptor()) continue;
      const TrackDescriptor& track = packet.track_descriptor();
      EXPECT_TRUE(tracks_.emplace(track.uuid(), track).second) << "described twice";
      EXPECT_TRUE(track.parent_uuid() == 0 || tracks_.contains(track.parent_uuid())) << "before its parent";
    }
  }
  uint64_t Track(const std::string& name) const {
    for (const auto& [uuid, track] : tracks_) {
      if (track.name() == name) return uuid;
    }
    ADD_FAILURE() << "no track " << name;
    return 0;
  }
  uint64_t ThreadTrack() const {
    for (const auto& [uuid, track] : tracks_) {
      if (track.has_thread()) return uuid;
    }
    return 0;
  }
  std::vector<TrackEvent> On(uint64_t track) const {
    std::vector<TrackEvent> events;
    for (const perfetto::TracePacket& packet : trace_.packet()) {
      if (packet.has_track_event() && packet.track_event().track_uuid() == track)
        events.push_back(packet.track_event());
    }
    return events;
  }
  static bool Has(const TrackEvent& event, uint64_t flow) {
    return std::ranges::find(event.flow_ids(), flow) != event.flow_ids().end();
  }

  uint64_t at_ns_ = 1000, number_ = 0;
  char* text_ = nullptr;
  size_t bytes_ = 0;
  std::FILE* const file_;
  PerfettoWriter writer_;
  Timeline timeline_;
  perfetto::Trace trace_;
  std::map<uint64_t, TrackDescriptor> tracks_;
};

void SetContext(uint32_t device, uint32_t context, CreateContextVirtual::Request* request,
                CreateContextVirtual::Reply* reply) {
  request->set_device(device);
  reply->set_context(context);
}

TEST_F(TimelineTest, CallsAreSlicesOnTheirThread) {
  TraceRecord open = At();
  open.mutable_open()->set_file(1);
  open.mutable_open()->set_name("client");
  Add(open);
  calls::DestroyDevice::Request request;
  request.set_device(0x80);
  Call<calls::DestroyDevice>(request, {}, -EINVAL);
  Read();
  const TrackDescriptor& thread = tracks_.at(ThreadTrack());
  EXPECT_EQ(thread.thread().tid(), 8);
  EXPECT_EQ(tracks_.at(thread.parent_uuid()).process().process_name(), "client");
  const auto events = On(ThreadTrack());
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].type(), TrackEvent::TYPE_SLICE_BEGIN);
  EXPECT_EQ(events[0].name(), "DestroyDevice");
  EXPECT_EQ(events[0].categories(0), "refused");
  EXPECT_EQ(events[1].type(), TrackEvent::TYPE_SLICE_END);
  EXPECT_EQ(On(Track("processes"))[0].counter_value(), 1);
  const perfetto::ClockSnapshot& clocks = trace_.packet(0).clock_snapshot();
  EXPECT_EQ(clocks.clocks(0).timestamp(), 1000u);
  EXPECT_EQ(clocks.clocks(1).timestamp(), 5000u);
}

// Submission -> signal behind it -> the wait that it ended.
TEST_F(TimelineTest, FencesLeadFromTheSubmissionToTheWait) {
  calls::CreateContextVirtual::Request make;
  calls::CreateContextVirtual::Reply made;
  SetContext(0x40, 0x80, &make, &made);
  Call<calls::CreateContextVirtual>(make, made);
  calls::SubmitCommand::Request submit;
  submit.add_broadcast_context(0x80);
  Call<calls::SubmitCommand>(submit);
  calls::SignalSynchronizationObjectFromGpu::Request signal;
  signal.set_context(0x80);
  signal.set_object_count(1);
  signal.add_objects(0xc0);
  signal.add_fence_values(5);
  Call<calls::SignalSynchronizationObjectFromGpu>(signal);
  calls::WaitForSynchronizationObjectFromCpu::Request wait;
  wait.set_object_count(1);
  wait.add_objects(0xc0);
  wait.add_fence_values(4);
  Call<calls::WaitForSynchronizationObjectFromCpu>(wait);
  Event(TraceEvent::FENCE, 0xc0, 5);  // a wait may be recorded before what it waited for
  Read();
  const auto on_thread = On(ThreadTrack());
  ASSERT_EQ(on_thread.size(), 9u);
  const TrackEvent &submitted = on_thread[2], &signalled = on_thread[4], &ended = on_thread[7];
  ASSERT_EQ(submitted.flow_ids_size(), 1);
  ASSERT_EQ(signalled.flow_ids_size(), 2);
  EXPECT_TRUE(Has(signalled, submitted.flow_ids(0)));
  EXPECT_EQ(ended.name(), "wait ended");
  ASSERT_EQ(ended.terminating_flow_ids_size(), 1);
  EXPECT_EQ(ended.terminating_flow_ids(0), signalled.flow_ids(1));
  EXPECT_TRUE(Has(On(Track("fences"))[0], signalled.flow_ids(1)));
  const uint64_t queue = Track("context 0x80");
  EXPECT_EQ(tracks_.at(queue).parent_uuid(), tracks_.at(ThreadTrack()).parent_uuid());
  ASSERT_EQ(On(queue).size(), 1u);
  EXPECT_TRUE(Has(On(queue)[0], submitted.flow_ids(0)));
}

TEST_F(TimelineTest, WorkIsASliceOfItsQueueAndOfItsEngine) {
  Event(TraceEvent::WORK_ENDED, 0x80, 1, 2);  // it began before the recording
  Event(TraceEvent::WORK_BEGAN, 0x80, 2, 2);
  Event(TraceEvent::WORK_ENDED, 0x80, 2, 2);
  Event(TraceEvent::FENCE, 0xc0, 9);
  Read();
  for (const uint64_t track : {Track("queue 0x80"), Track("node 2")}) {
    const auto events = On(track);
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[0].type(), TrackEvent::TYPE_SLICE_BEGIN);
    EXPECT_EQ(events[1].type(), TrackEvent::TYPE_SLICE_END);
  }
  EXPECT_EQ(tracks_.at(Track("node 2")).parent_uuid(), Track("GPU engines"));
  EXPECT_EQ(On(Track("fences"))[0].name(), "fence 0xc0 has 9");
}

// An engine is often quicker than the answer to the call.
TEST_F(TimelineTest, ASubmissionLeadsToItsWorkWhicheverIsRecordedFirst) {
  calls::CreateContextVirtual::Request make;
  calls::CreateContextVirtual::Reply made;
  SetContext(0x40, 0x80, &make, &made);
  Call<calls::CreateContextVirtual>(make, made);
  calls::SubmitCommand::Request submit;
  submit.add_broadcast_context(0x80);
  Event(TraceEvent::WORK_BEGAN, 0x80, 1);
  Call<calls::SubmitCommand>(submit);
  Call<calls::SubmitCommand>(submit);
  Event(TraceEvent::WORK_ENDED, 0x80, 1);
  Event(TraceEvent::WORK_BEGAN, 0x80, 2);
  Event(TraceEvent::WORK_ENDED, 0x80, 2);
  Read();
  const auto on_thread = On(ThreadTrack()), on_engine = On(Track("node 0"));
  ASSERT_EQ(on_thread.size(), 6u);
  ASSERT_EQ(on_engine.size(), 4u);
  for (const size_t nth : {0, 1}) {
    const TrackEvent &submitted = on_thread[2 + 2 * nth], &work = on_engine[2 * nth];
    ASSERT_EQ(submitted.flow_ids_size(), 1);
    EXPECT_TRUE(Has(work, submitted.flow_ids(0)));
  }
  EXPECT_NE(on_thread[2].flow_ids(0), on_thread[4].flow_ids(0));
}

TEST_F(TimelineTest, MemoryAndPagingAreCounters) {
  calls::QueryVideoMemoryInfo::Request asked;
  calls::QueryVideoMemoryInfo::Reply answered;
  answered.set_budget(1000);
  answered.set_current_usage(10);
  Call<calls::QueryVideoMemoryInfo>(asked, answered);
  calls::CreatePagingQueue::Request make;
  calls::CreatePagingQueue::Reply made;
  made.set_paging_queue(0x80);
  made.set_sync_object(0xc0);
  Call<calls::CreatePagingQueue>(make, made);
  calls::MakeResident::Request resident;
  calls::MakeResident::Reply pending;
  resident.set_paging_queue(0x80);
  pending.set_paging_fence_value(3);
  Call<calls::MakeResident>(resident, pending, 0x103);
  calls::WaitForSynchronizationObjectFromCpu::Request wait;
  wait.set_object_count(1);
  wait.add_objects(0xc0);
  wait.add_fence_values(3);
  Call<calls::WaitForSynchronizationObjectFromCpu>(wait);
  Read();
  EXPECT_EQ(On(Track("LOCAL_MEMORY of adapter 0x0 budget"))[0].counter_value(), 1000);
  EXPECT_EQ(On(Track("LOCAL_MEMORY of adapter 0x0 used"))[0].counter_value(), 10);
  EXPECT_EQ(tracks_.at(Track("LOCAL_MEMORY of adapter 0x0 used")).counter().unit(),
            perfetto::CounterDescriptor::UNIT_SIZE_BYTES);
  const auto paging = On(Track("pending paging"));
  ASSERT_EQ(paging.size(), 2u);
  EXPECT_EQ(paging[0].counter_value(), 1);
  EXPECT_EQ(paging[1].counter_value(), 0);
}

TEST_F(TimelineTest, ADeviceThatFailsIsAPointOnce) {
  calls::GetDeviceState::Request asked;
  calls::GetDeviceState::Reply state;
  asked.set_device(0x80);
  for (const char value : {1, 7, 7}) {
    std::string bytes(48, '\0');
    bytes[0] = value;
    state.set_state_type(1);
    state.set_state(bytes);
    Call<calls::GetDeviceState>(asked, state);
  }
  Read();
  const auto faults = On(Track("faults"));
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_EQ(faults[0].type(), TrackEvent::TYPE_INSTANT);
  EXPECT_EQ(faults[0].name(), "device 0x80: D3DKMT_DEVICEEXECUTION_ERROR_DMAPAGEFAULT");
}

}  // namespace
}  // namespace dxg::trace
