// Which answers are the same, by the options of proto/dxg/meaning.proto.
#include "cuse-dxg/replay/comparison.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "proto/abi/ntstatus.h"
#include "tests/replay/made_recording.h"

namespace dxg::replay {
namespace {

using Fields = std::vector<std::string>;

class ComparisonTest : public testing::Test {
 protected:
  // The answer to the last recorded call that somebody gives.
  Verdict Compare(const Message& request, const Message& reply, int32_t result = 0) {
    recording = made.Take();
    return comparison.Compare(1, recording->calls().back(), request, result, reply);
  }

  MadeRecording made;
  std::unique_ptr<Recording> recording;
  Comparison comparison;
};

TEST_F(ComparisonTest, AHandleStandsForAnotherFromWhereItAppears) {
  calls::CreateDevice::Request create;
  calls::CreateDevice::Reply recorded, live;
  recorded.set_device(0x40);
  live.set_device(0x80);
  made.Add<calls::CreateDevice>(create, recorded);
  Verdict verdict = Compare(create, live);
  EXPECT_TRUE(verdict.same);
  EXPECT_TRUE(verdict.renamed);
  // And nothing else is that device from here on.
  calls::GetDeviceState::Request state;
  calls::GetDeviceState::Reply seen;
  state.set_device(0x40);
  seen.set_device(0x40);
  made.Add<calls::GetDeviceState>(state, seen);
  state.set_device(0x80);
  seen.set_device(0x80);
  EXPECT_TRUE(Compare(state, seen).same);
  seen.set_device(0x81);
  verdict = Compare(state, seen);
  EXPECT_FALSE(verdict.same);
  EXPECT_EQ(verdict.fields, Fields{"device"});
}

TEST_F(ComparisonTest, NoHandleIsNotSomeHandle) {
  calls::CreateDevice::Request create;
  calls::CreateDevice::Reply recorded, live;
  recorded.set_device(0x40);
  made.Add<calls::CreateDevice>(create, recorded);
  EXPECT_EQ(Compare(create, live).fields, Fields{"device"});
}

TEST_F(ComparisonTest, ResultsAreTheSameOrPendingWhereOneWasDone) {
  calls::DestroyDevice::Request destroy;
  made.Add<calls::DestroyDevice>(destroy, {}, 0);
  EXPECT_TRUE(Compare(destroy, calls::DestroyDevice::Reply(), 0).same);
  EXPECT_EQ(Compare(destroy, calls::DestroyDevice::Reply(), -EINVAL).fields, Fields{"result"});
  const Verdict pending = Compare(destroy, calls::DestroyDevice::Reply(), kStatusPending);
  EXPECT_TRUE(pending.same);
  EXPECT_TRUE(pending.differs_as_it_may);
  EXPECT_EQ(Compare(destroy, calls::DestroyDevice::Reply(), kStatusTimeout).fields, Fields{"result"});
}

TEST_F(ComparisonTest, TimesAndMeasuredValuesMayDiffer) {
  calls::QueryClockCalibration::Request query;
  calls::QueryClockCalibration::Reply recorded, live;
  recorded.set_gpu_frequency(5);
  recorded.set_gpu_clock_counter(100);
  live.set_gpu_frequency(5);
  live.set_gpu_clock_counter(200);
  made.Add<calls::QueryClockCalibration>(query, recorded);
  const Verdict verdict = Compare(query, live);
  EXPECT_TRUE(verdict.same);
  EXPECT_TRUE(verdict.differs_as_it_may);
  live.set_gpu_frequency(6);
  EXPECT_EQ(Compare(query, live).fields, Fields{"gpu_frequency"});
}

// Whether an answer is measured can depend on what is asked.
TEST_F(ComparisonTest, SomeQueriesAreMeasuredAndOthersAreNot) {
  calls::QueryAdapterInfo::Request query;
  calls::QueryAdapterInfo::Reply recorded, live;
  recorded.set_private_data("one");
  live.set_private_data("two");
  query.set_type(62);
  made.Add<calls::QueryAdapterInfo>(query, recorded);
  EXPECT_TRUE(Compare(query, live).same);
  query.set_type(1);
  made.Add<calls::QueryAdapterInfo>(query, recorded);
  EXPECT_EQ(Compare(query, live).fields, Fields{"private_data"});
}

// Of an element that the call has read and written only what it wrote is in the recorded reply.
TEST_F(ComparisonTest, WhatTheCallDidNotWriteIsNotCompared) {
  calls::CreateAllocation::Request create;
  calls::CreateAllocation::Reply recorded, live;
  create.add_allocation_info()->set_priv_drv_data_size(32);
  recorded.add_allocation_info()->set_allocation(0x40);
  *live.add_allocation_info() = create.allocation_info(0);
  live.mutable_allocation_info(0)->set_allocation(0x40);
  made.Add<calls::CreateAllocation>(create, recorded);
  EXPECT_TRUE(Compare(create, live).same);
  live.mutable_allocation_info(0)->set_priv_drv_data_size(16);
  EXPECT_EQ(Compare(create, live).fields, Fields{"allocation_info"});
}

TEST_F(ComparisonTest, ListsOfOtherLengthsAreDifferent) {
  calls::EnumAdapters3::Request enumerate;
  calls::EnumAdapters3::Reply recorded, live;
  recorded.add_adapters()->set_adapter_handle(0x40);
  live.add_adapters()->set_adapter_handle(0x40);
  live.add_adapters()->set_adapter_handle(0x80);
  made.Add<calls::EnumAdapters3>(enumerate, recorded);
  EXPECT_EQ(Compare(enumerate, live).fields, Fields{"adapters"});
}

TEST_F(ComparisonTest, AHistoryHasWhatMadeTheObjectsAndWhatMadeTheirs) {
  made.BeginWithDevice();
  calls::QueryClockCalibration::Request unrelated;
  made.Add<calls::QueryClockCalibration>(unrelated, {});
  calls::CreateContextVirtual::Request create;
  calls::CreateContextVirtual::Reply created;
  create.set_device(MadeRecording::kDevice);
  created.set_context(0x77);
  made.Add<calls::CreateContextVirtual>(create, created);
  calls::DestroyContext::Request destroy;
  destroy.set_context(0x77);
  made.Add<calls::DestroyContext>(destroy, {});
  const auto whole = made.Take();
  std::vector<uint64_t> records;
  for (const RecordedCall* each : HistoryOf(*whole, whole->calls().back(), 12))
    records.push_back(each->record);
  EXPECT_EQ(records, (std::vector<uint64_t>{2, 3, 5}));
  EXPECT_EQ(HistoryOf(*whole, whole->calls().back(), 1).size(), 1u);
}

TEST_F(ComparisonTest, CountsSayWhichDifferencesThereAre) {
  calls::DestroyDevice::Request destroy;
  made.Add<calls::DestroyDevice>(destroy, {}, 0);
  Counts counts;
  for (const int32_t result : {0, -EINVAL, -EINVAL}) {
    const Verdict verdict = Compare(destroy, calls::DestroyDevice::Reply(), result);
    counts.Add(recording->calls().back(), result, verdict);
  }
  EXPECT_EQ(counts.Text(),
            "3 calls compared: 1 the same (0 with other names, 0 with values that may differ), 2 different\n"
            "       2  DestroyDevice: -1 EINVAL (Invalid argument) instead of 0, first in record 1\n");
}

}  // namespace
}  // namespace dxg::replay
