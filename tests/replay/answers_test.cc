// What a recording answers, and what it refuses.
#include "cuse-dxg/replay/answers.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "tests/replay/made_recording.h"

namespace dxg::replay {
namespace {

constexpr uint32_t kThread = 100;

class AnswersTest : public testing::Test {
 protected:
  // The recording is whole: answer from it.
  void Begin(bool strict = false) {
    answers = std::make_unique<Answers>(made.Take(), strict);
    process = answers->Begin("program");
  }
  template <class Traits>
  Result<Answers::Found> Ask(const typename Traits::Request& request, uint32_t thread = kThread) {
    return answers->Find({.process = process,
                          .thread = thread,
                          .pid = 1,
                          .row = Traits::Row(),
                          .request = request,
                          .descriptor = [](uint64_t) { return 0u; }});
  }
  Result<Answers::Found> OpenAdapter() {
    calls::OpenAdapterFromLuid::Request open;
    open.set_adapter_luid(MadeRecording::kLuid);
    return Ask<calls::OpenAdapterFromLuid>(open);
  }
  Result<Answers::Found> CreateDevice(uint32_t adapter = MadeRecording::kAdapter) {
    calls::CreateDevice::Request create;
    create.set_adapter(adapter);
    return Ask<calls::CreateDevice>(create);
  }
  Result<Answers::Found> DestroyDevice(uint32_t device, uint32_t thread = kThread) {
    calls::DestroyDevice::Request destroy;
    destroy.set_device(device);
    return Ask<calls::DestroyDevice>(destroy, thread);
  }
  void AddQuery(uint32_t type, const std::string& answer) {
    calls::QueryAdapterInfo::Request query;
    calls::QueryAdapterInfo::Reply reply;
    query.set_adapter(MadeRecording::kAdapter);
    query.set_type(type);
    reply.set_private_data(answer);
    made.Add<calls::QueryAdapterInfo>(query, reply);
  }
  Result<Answers::Found> Query(uint32_t type) {
    calls::QueryAdapterInfo::Request query;
    query.set_adapter(MadeRecording::kAdapter);
    query.set_type(type);
    return Ask<calls::QueryAdapterInfo>(query);
  }
  void AddDestroy(uint32_t device, int32_t result = 0, uint32_t thread = 7) {
    calls::DestroyDevice::Request destroy;
    destroy.set_device(device);
    made.Call(7, thread, LX_DXDESTROYDEVICE, destroy, calls::DestroyDevice::Reply(), result);
  }
  static void ExpectRefused(const Result<Answers::Found>& found, const std::string& part) {
    ASSERT_FALSE(found.ok());
    EXPECT_EQ(found.status().value(), -ENODATA);
    EXPECT_NE(found.status().why().find(part), std::string::npos) << found.status().why();
  }
  static std::string Data(const Result<Answers::Found>& found) {
    if (!found.ok()) return found.status().why();
    Answers::Found copy{};
    copy = *Result<Answers::Found>(found);
    const auto reply = copy.call->Reply();
    return static_cast<const calls::QueryAdapterInfo::Reply&>(*reply).private_data();
  }

  MadeRecording made;
  std::unique_ptr<Answers> answers;
  uint64_t process = 0;
};

TEST_F(AnswersTest, TheSameQuestionGetsItsAnswersInOrderAndThenTheLastAgain) {
  made.BeginWithDevice();
  AddQuery(1, "first");
  AddQuery(2, "other");
  AddQuery(1, "second");
  Begin();
  ASSERT_TRUE(OpenAdapter().ok());
  EXPECT_EQ(Data(Query(1)), "first");
  EXPECT_EQ(Data(Query(1)), "second");
  auto again = Query(1);
  EXPECT_EQ(Data(again), "second");
  EXPECT_TRUE(again->again);
  auto other = Query(2);
  EXPECT_EQ(Data(other), "other");
  EXPECT_FALSE(other->again);
}

TEST_F(AnswersTest, WhatMadeAnObjectIsNotAnsweredAgain) {
  made.BeginWithDevice();
  Begin();
  ASSERT_TRUE(OpenAdapter().ok());
  ASSERT_TRUE(CreateDevice().ok());
  ExpectRefused(CreateDevice(), "asked for the 2. time; made.dxg has 1 answers to it");
}

TEST_F(AnswersTest, ARefusalSaysTheNearestQuestion) {
  made.BeginWithDevice();
  AddQuery(1, "first");
  Begin();
  ASSERT_TRUE(OpenAdapter().ok());
  ExpectRefused(Query(5), "was never asked; the nearest question of made.dxg is record 4: QueryAdapterInfo(");
  ExpectRefused(Query(5), "other: type");
  ExpectRefused(DestroyDevice(1), "made.dxg has no DestroyDevice of process \"program\"");
}

// An adapter and a device have one number here, and each is itself.
TEST_F(AnswersTest, AHandleOfAnAdapterIsNoOtherHandle) {
  made.BeginWithDevice();
  AddDestroy(MadeRecording::kDevice);
  Begin();
  ExpectRefused(CreateDevice(), "its objects are others");  // the adapter is not open yet
  ASSERT_TRUE(OpenAdapter().ok());
  auto created = CreateDevice();
  ASSERT_TRUE(created.ok()) << created.status().why();
  ASSERT_EQ(created->call->handles.size(), 1u);
  EXPECT_TRUE(DestroyDevice(MadeRecording::kDevice).ok());
}

// The number is given again to another device: the answer is the one of the device that is meant.
TEST_F(AnswersTest, AHandleThatIsUsedAgainMeansAnotherObject) {
  made.BeginWithDevice();
  AddDestroy(MadeRecording::kDevice);
  AddDestroy(MadeRecording::kDevice, -EINVAL);
  calls::CreateDevice::Request create;
  calls::CreateDevice::Reply created;
  create.set_adapter(MadeRecording::kAdapter);
  created.set_device(MadeRecording::kDevice);
  made.Add<calls::CreateDevice>(create, created);
  AddDestroy(MadeRecording::kDevice);
  Begin();
  ASSERT_TRUE(OpenAdapter().ok());
  ASSERT_TRUE(CreateDevice().ok());
  ASSERT_TRUE(CreateDevice().ok());
  auto destroyed = DestroyDevice(MadeRecording::kDevice);
  ASSERT_TRUE(destroyed.ok());
  EXPECT_EQ(destroyed->call->record, 7u);
}

// A driver that refuses before it reads a list has no list to record.
TEST_F(AnswersTest, ListsThatWereNotReadAreNotAsked) {
  made.BeginWithDevice();
  calls::Evict::Request evict;
  evict.set_device(MadeRecording::kDevice);
  evict.set_alloc_count(1);
  made.Add<calls::Evict>(evict, calls::Evict::Reply(), -EINVAL);
  Begin();
  ASSERT_TRUE(OpenAdapter().ok());
  ASSERT_TRUE(CreateDevice().ok());
  evict.add_allocations(5);
  auto found = Ask<calls::Evict>(evict);
  ASSERT_TRUE(found.ok()) << found.status().why();
  EXPECT_EQ(found->call->result, -EINVAL);
}

TEST_F(AnswersTest, RoomForAnAnswerIsNoPartOfTheQuestion) {
  made.BeginWithDevice();
  calls::GetDeviceState::Request state;
  state.set_device(MadeRecording::kDevice);
  state.set_state(std::string(48, '\1'));
  made.Add<calls::GetDeviceState>(state, calls::GetDeviceState::Reply());
  Begin();
  ASSERT_TRUE(OpenAdapter().ok());
  ASSERT_TRUE(CreateDevice().ok());
  state.set_state(std::string(48, '\2'));
  EXPECT_TRUE(Ask<calls::GetDeviceState>(state).ok());
}

TEST_F(AnswersTest, InStrictOrderAThreadAsksWhatTheRecordedOneAskedNext) {
  made.BeginWithDevice();
  AddDestroy(MadeRecording::kDevice, -EINVAL, 8);
  AddDestroy(MadeRecording::kDevice);
  Begin(true);
  ExpectRefused(CreateDevice(), "the recorded thread asked OpenAdapterFromLuid(");
  ASSERT_TRUE(OpenAdapter().ok());
  ASSERT_TRUE(CreateDevice().ok());
  // The second thread that asks is the second one that was recorded.
  auto other = DestroyDevice(MadeRecording::kDevice, kThread + 1);
  ASSERT_TRUE(other.ok()) << other.status().why();
  EXPECT_EQ(other->call->result, -EINVAL);
  auto own = DestroyDevice(MadeRecording::kDevice);
  ASSERT_TRUE(own.ok());
  EXPECT_EQ(own->call->result, 0);
  ExpectRefused(DestroyDevice(MadeRecording::kDevice), "asked nothing more after its 3 calls");
  ExpectRefused(DestroyDevice(MadeRecording::kDevice, kThread + 2), "the recorded one has 2 threads");
}

TEST_F(AnswersTest, AProcessIsOneOfItsNameThatFewestAre) {
  made.Open(7, "one");
  made.Open(8, "two");
  made.Open(9, "one");
  AddDestroy(7, 0);
  calls::DestroyDevice::Request destroy;
  destroy.set_device(9);
  made.Call(9, 9, LX_DXDESTROYDEVICE, destroy, calls::DestroyDevice::Reply());
  destroy.set_device(8);
  made.Call(8, 8, LX_DXDESTROYDEVICE, destroy, calls::DestroyDevice::Reply());
  Begin();
  // Nobody is named "program", which became the first.
  for (const auto& [name, device] :
       {std::pair{"one", 9u}, {"two", 8u}, {"one", 7u}, {"one", 9u}, {"two", 8u}}) {
    process = answers->Begin(name);
    EXPECT_TRUE(DestroyDevice(device).ok()) << name << " " << device;
    EXPECT_FALSE(DestroyDevice(device + 1).ok()) << name << " " << device;
  }
}

TEST_F(AnswersTest, StrictProcessesAreUsedOnce) {
  made.BeginWithDevice();
  Begin(true);
  process = answers->Begin("program");
  ExpectRefused(OpenAdapter(), "made.dxg has no process left for one named \"program\"");
}

TEST(Recording, RefusesWhatCannotBeReplayed) {
  MadeRecording made;
  made.BeginWithDevice();
  made.header.set_side(TraceHeader::HOST);
  EXPECT_NE(made.Read().status().why().find("a recording of host commands"), std::string::npos);
  made.header.set_side(TraceHeader::NODE);
  made.header.set_redacted(true);
  EXPECT_NE(made.Read().status().why().find("without --redact"), std::string::npos);
  made.header.set_redacted(false);
  made.records.back().mutable_call()->set_reply("\xff\xff");
  auto read = made.Read();
  EXPECT_EQ(read.status().value(), -EINVAL);
  EXPECT_NE(read.status().why().find("made.dxg: record 3: the messages of CreateDevice cannot be read"),
            std::string::npos)
      << read.status().why();
}

TEST(Recording, LeavesOutWhatIsNoQuestion) {
  MadeRecording made;
  made.BeginWithDevice();
  calls::DestroyDevice::Request destroy;
  made.Add<calls::DestroyDevice>(destroy, {}, -kErestartsys);
  made.Add<calls::DestroyDevice>(destroy, {}, -ENOTTY).mutable_call()->set_inherited(true);
  made.Add<calls::DestroyDevice>(destroy, {}).mutable_call()->clear_request();
  made.Call(0x4712, destroy, destroy, -ENOTTY);
  const auto recording = made.Take();
  EXPECT_EQ(recording->left_out(), 4u);
  EXPECT_EQ(recording->calls().size(), 2u);
}

// The number of a process that ended is another one's later.
TEST(Recording, AProcessEndsWithItsLastFile) {
  MadeRecording made;
  made.BeginWithDevice();
  made.Close(7);
  made.BeginWithDevice();
  const auto recording = made.Take();
  ASSERT_EQ(recording->processes().size(), 2u);
  EXPECT_NE(recording->processes()[0].closed_ns, 0u);
  EXPECT_EQ(recording->processes()[1].calls.size(), 2u);
}

}  // namespace
}  // namespace dxg::replay
