#include "hostsim/backend/faulty_backend.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "proto/abi/ntstatus.h"
#include "proto/contract/host_commands.gen.h"
#include "proto/dxg/host.pb.h"

namespace dxg {
namespace {

using hostsim::MessageFaults;
using Point = MessageFaults::Point;

// A host that does as it is told, and counts.
class CountingBackend final : public Backend {
 public:
  Status Start(BackendEvents* listener) override {
    events = listener;
    HostAdapter adapter;
    adapter.luid = 1;
    adapter.address = 2;
    events->AdapterArrived(adapter);
    return Status::Ok();
  }
  void Stop() override { stopped = true; }
  void Submit(const HostCall& call, Completion completion) override {
    ++submitted;
    if (answer) answer(call.reply);
    completion.run(completion.context, Status::Ok());
  }
  std::optional<HostRegion> FindRegion(WindowAddress) override { return std::nullopt; }
  std::optional<HostRegion> HomeRegion(uint32_t) override { return std::nullopt; }
  std::optional<HostRegion> FindShared(uint32_t, uint32_t) override { return std::nullopt; }
  Result<uint32_t> AddClientPages(std::shared_ptr<ClientPages>) override { return 7u; }
  void RemoveClientPages(uint32_t) override {}

  BackendEvents* events = nullptr;
  int submitted = 0;
  bool stopped = false;
  std::function<void(google::protobuf::Message*)> answer;
};

// Strikes what is in `armed`, once each; time goes by when the test says so.
class FakeFaults final : public MessageFaults {
 public:
  bool any_armed() override { return !armed.empty(); }
  std::optional<Fault> Strike(Point point, const HostCall*) override {
    const auto found = armed.find(point);
    if (found == armed.end()) return std::nullopt;
    const Fault fault = found->second;
    armed.erase(found);
    return fault;
  }
  void CallAfter(uint64_t, std::function<void()> call) override { later.push_back(std::move(call)); }
  void LoseAdapter(uint64_t address) override {
    lost.push_back(address);
    if (events) events->AdapterRemoved(1);
  }
  void TimeGoesBy() {
    for (const auto& call : std::exchange(later, {})) call();
  }

  std::map<Point, Fault> armed;
  std::vector<std::function<void()>> later;
  std::vector<uint64_t> lost;
  BackendEvents* events = nullptr;
};

class FaultyBackendTest : public testing::Test, public BackendEvents {
 protected:
  FaultyBackendTest() {
    auto owned = std::make_unique<CountingBackend>();
    host = owned.get();
    backend = hostsim::WithFaults(std::move(owned), faults);
    EXPECT_TRUE(backend->Start(this).ok());
    faults.events = host->events;
  }

  // BackendEvents
  void AdapterArrived(const HostAdapter&) override { heard.push_back("arrived"); }
  void AdapterStopped(uint64_t) override { heard.push_back("stopped"); }
  void AdapterRemoved(uint64_t) override { heard.push_back("removed"); }
  void DeviceStateChanged(uint64_t) override { heard.push_back("state"); }
  void GuestEvent(uint64_t event) override { heard.push_back(std::to_string(event)); }
  void HostLost() override { heard.push_back("host lost"); }

  struct Answer {
    bool done = false;
    int32_t transport = 1;
    static void Complete(void* self, Status transport) {
      auto* answer = static_cast<Answer*>(self);
      EXPECT_FALSE(answer->done) << "exactly once";
      answer->done = true;
      answer->transport = transport.value();
    }
  };
  void Submit(Answer* answer, bool asynchronous = false) {
    backend->Submit({contract::FindHostCommand(contract::kHostCommandId<host::MakeResident::Request>), 3, 2,
                     &request, &reply, asynchronous},
                    {&Answer::Complete, answer});
  }
  int32_t Ask(bool asynchronous = false) {
    Answer answer;
    Submit(&answer, asynchronous);
    EXPECT_TRUE(answer.done);
    return answer.transport;
  }
  void Hear(const std::vector<uint64_t>& events) {
    heard.clear();
    for (const uint64_t event : events) host->events->GuestEvent(event);
  }

  FakeFaults faults;
  CountingBackend* host = nullptr;
  std::unique_ptr<Backend> backend;
  std::vector<std::string> heard;
  host::MakeResident::Request request;
  host::MakeResident::Reply reply;
};

using Heard = std::vector<std::string>;

TEST_F(FaultyBackendTest, PassesEverythingOn) {
  host->answer = [](google::protobuf::Message* to) {
    static_cast<host::MakeResident::Reply*>(to)->set_paging_fence_value(9);
  };
  EXPECT_EQ(Ask(), 0);
  EXPECT_EQ(reply.paging_fence_value(), 9u);
  Hear({1, 2});
  EXPECT_EQ(heard, (Heard{"1", "2"}));
  host->events->HostLost();
  EXPECT_EQ(heard.back(), "host lost");
  EXPECT_EQ(*backend->AddClientPages(nullptr), 7u);
}

TEST_F(FaultyBackendTest, RefusesBeforeTheHostSeesIt) {
  faults.armed[Point::kRingFull] = {};
  EXPECT_EQ(Ask(), -EAGAIN);
  faults.armed[Point::kMessageTooLarge] = {};
  EXPECT_EQ(Ask(true), -EINVAL);
  EXPECT_EQ(host->submitted, 0);
  faults.armed[Point::kClientMemoryRefused] = {};
  EXPECT_EQ(backend->AddClientPages(nullptr).status().value(), -ENOMEM);
}

TEST_F(FaultyBackendTest, CutsLengthensAndSpoilsAnswers) {
  host->answer = [](google::protobuf::Message* to) {
    static_cast<host::MakeResident::Reply*>(to)->set_paging_fence_value(9);
  };
  faults.armed[Point::kReplyShort] = {};
  EXPECT_EQ(Ask(), -EOVERFLOW);
  EXPECT_EQ(reply.paging_fence_value(), 0u);
  faults.armed[Point::kReplyGarbage] = {};
  EXPECT_EQ(Ask(), 0);
  EXPECT_EQ(reply.status(), kStatusInvalidParameter);
  EXPECT_EQ(reply.paging_fence_value(), 0xCCCCCCCCCCCCCCCCu);

  host::Escape::Request escape;
  host::Escape::Reply data;
  escape.set_priv_drv_data_size(4);
  escape.set_priv_drv_data("wxyz");
  host->answer = [](google::protobuf::Message* to) {
    static_cast<host::Escape::Reply*>(to)->set_priv_drv_data("abcd");
  };
  faults.armed[Point::kReplyExcess] = {};
  Answer answer;
  backend->Submit(
      {contract::FindHostCommand(contract::kHostCommandId<host::Escape::Request>), 3, 2, &escape, &data},
      {&Answer::Complete, &answer});
  EXPECT_EQ(answer.transport, 0);
  EXPECT_EQ(data.priv_drv_data(), "abcd") << "and no more than was asked for";
  faults.armed[Point::kReplyGarbage] = {};
  Answer short_answer;
  backend->Submit(
      {contract::FindHostCommand(contract::kHostCommandId<host::Escape::Request>), 3, 2, &escape, &data},
      {&Answer::Complete, &short_answer});
  EXPECT_EQ(short_answer.transport, -EOVERFLOW) << "no status that could refuse";
}

TEST_F(FaultyBackendTest, AnAsynchronousCommandHasNoAnswerToSpoil) {
  faults.armed[Point::kReplyShort] = {};
  faults.armed[Point::kHostSlow] = {5, 0};
  EXPECT_EQ(Ask(true), 0);
  EXPECT_EQ(faults.armed.size(), 2u);
}

TEST_F(FaultyBackendTest, HoldsAnAnswerUntilItsTime) {
  faults.armed[Point::kAnswerHeld] = {5, 0};
  Answer held;
  Submit(&held);
  EXPECT_EQ(host->submitted, 1);
  EXPECT_FALSE(held.done);
  EXPECT_EQ(Ask(), 0) << "others go on";
  faults.TimeGoesBy();
  EXPECT_TRUE(held.done);
  EXPECT_EQ(held.transport, 0);
}

TEST_F(FaultyBackendTest, WhatIsHeldEndsWithIt) {
  faults.armed[Point::kHostSlow] = {5, 0};
  faults.armed[Point::kEventLate] = {5, 0};
  Answer held;
  Submit(&held);
  Hear({1});
  backend->Stop();
  EXPECT_TRUE(host->stopped);
  EXPECT_EQ(held.transport, -ENODEV);
  faults.TimeGoesBy();
  EXPECT_EQ(heard, Heard{}) << "after the end there are no events";
}

TEST_F(FaultyBackendTest, ALostChannelStaysLost) {
  heard.clear();
  faults.armed[Point::kChannelLoss] = {};
  EXPECT_EQ(Ask(), -ENODEV);
  EXPECT_EQ(host->submitted, 1) << "the host did it";
  EXPECT_EQ(faults.lost, std::vector<uint64_t>{2});
  EXPECT_EQ(heard, Heard{"stopped"}) << "and not removed";
  EXPECT_EQ(Ask(), -ENODEV);
  EXPECT_EQ(Ask(true), -ENODEV);
  EXPECT_EQ(host->submitted, 1);
}

TEST_F(FaultyBackendTest, EventsAreLostLateDoubledDisorderedAndMadeUp) {
  faults.armed[Point::kEventLost] = {};
  Hear({1, 2});
  EXPECT_EQ(heard, Heard{"2"});
  faults.armed[Point::kEventTwice] = {};
  Hear({1, 2});
  EXPECT_EQ(heard, (Heard{"1", "1", "2"}));
  faults.armed[Point::kEventUnknown] = {0, 99};
  Hear({1});
  EXPECT_EQ(heard, (Heard{"99", "1"}));
  faults.armed[Point::kEventLate] = {5, 0};
  Hear({1, 2});
  EXPECT_EQ(heard, Heard{"2"});
  faults.TimeGoesBy();
  EXPECT_EQ(heard, (Heard{"2", "1"}));
  faults.armed[Point::kEventReordered] = {5, 0};
  Hear({1, 2});
  EXPECT_EQ(heard, (Heard{"2", "1"}));
  faults.TimeGoesBy();
  EXPECT_EQ(heard, (Heard{"2", "1"})) << "once";
  faults.armed[Point::kEventReordered] = {5, 0};
  Hear({1});
  EXPECT_EQ(heard, Heard{});
  faults.TimeGoesBy();
  EXPECT_EQ(heard, Heard{"1"}) << "it does not wait for ever for another one";
}

}  // namespace
}  // namespace dxg
