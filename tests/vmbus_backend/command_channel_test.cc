// Which answer is whose, a ring that stays full, and what happens to all that is on its way when the channel
// goes.
#include "cuse-dxg/backend/vmbus/command_channel.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <tuple>

#include "proto/contract/host_commands.gen.h"
#include "tests/vmbus_backend/fake_channel.h"

namespace dxg::vmbus {
namespace {

// A LOCK2 on its way: 16 bytes are its answer, a status and an address.
class Lock {
 public:
  explicit Lock(bool asynchronous = false) { call_.asynchronous = asynchronous; }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  void Submit(CommandChannel& line, bool asynchronous = false) {
    line.Submit(call_, {7, 0x1122, 40, asynchronous},
                {[](void* self, Status status) { static_cast<Lock*>(self)->Done(std::move(status)); }, this});
  }
  Status Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return times_ != 0; });
    EXPECT_EQ(times_, 1) << "a completion that runs twice";
    return *status_;
  }
  bool done() {
    std::lock_guard lock(mutex_);
    return times_ != 0;
  }
  std::function<void()> then;  // its completion goes on with this
  const host::Lock2::Reply& reply() const { return reply_; }

 private:
  void Done(Status status) {
    std::unique_lock lock(mutex_);
    ++times_;
    status_ = std::move(status);
    const auto next = then;  // whoever waits may end this once the lock is free
    changed_.notify_all();
    lock.unlock();
    if (next) next();
  }
  host::Lock2::Request request_;
  host::Lock2::Reply reply_;
  HostCall call_{contract::FindHostCommand(contract::kHostCommandId<host::Lock2::Request>), 7, 1, &request_,
                 &reply_};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Status> status_;
  int times_ = 0;
};

PacketBytes Answer(uint32_t status, size_t bytes = 16) {
  PacketBytes answer(bytes);
  if (bytes != 0) std::memcpy(answer.data(), &status, std::min(bytes, sizeof(status)));
  return answer;
}

struct CommandChannelTest : testing::Test {
  std::shared_ptr<FakeChannelState> channel = std::make_shared<FakeChannelState>();
  CommandChannel line{"test", std::make_unique<FakeChannel>(channel), nullptr, std::chrono::microseconds(10)};
};

TEST_F(CommandChannelTest, AnswersFindTheirCallsInAnyOrder) {
  Lock calls[3];
  for (Lock& each : calls) each.Submit(line);
  for (uint64_t i = 1; i <= 3; ++i) {
    const SentPacket sent = channel->WaitForSent(i);
    EXPECT_EQ(sent.type, kInBand);
    EXPECT_EQ(sent.flags, kCompletionRequested);
    EXPECT_EQ(sent.transaction, i) << "counted on each channel, from 1";
  }
  for (uint64_t i = 3; i >= 1; --i) channel->Answer(i, Answer(static_cast<uint32_t>(i)));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(calls[i].Wait().value(), 0);
    EXPECT_EQ(calls[i].reply().status(), i + 1);
  }
}

// The caller lets go of it then: an answer, or the channel's end, must not find it.
TEST_F(CommandChannelTest, ACallThatCannotBeSentForLackOfMemoryIsForgotten) {
  auto lacking =
      std::make_shared<FakeChannelState>([](const SentPacket&) -> Channel::Sent { throw std::bad_alloc(); });
  CommandChannel without{"test", std::make_unique<FakeChannel>(lacking), nullptr,
                         std::chrono::microseconds(10)};
  Lock waits, asynchronous(true);
  EXPECT_THROW(waits.Submit(without), std::bad_alloc);
  EXPECT_THROW(asynchronous.Submit(without, true), std::bad_alloc);
  lacking->Answer(1, Answer(1));
  without.End();
  EXPECT_FALSE(waits.done());
  EXPECT_FALSE(asynchronous.done());
}

TEST_F(CommandChannelTest, AnswersThatNobodyWaitsForAreDropped) {
  Lock first, second;
  first.Submit(line);
  second.Submit(line);
  channel->Answer(0, Answer(9));
  channel->Answer(77, Answer(9));
  channel->Answer(1, Answer(1));
  channel->Answer(1, Answer(9));
  channel->Deliver(kInBand, 2, Answer(9));  // without a handler of messages
  channel->Deliver(1234, 2, Answer(9));
  channel->Deliver(kSendFailed, 2, PacketBytes(3));
  channel->Answer(2, Answer(2));
  EXPECT_EQ(second.Wait().value(), 0);
  EXPECT_EQ(first.Wait().value(), 0);
  EXPECT_EQ(first.reply().status(), 1);
  EXPECT_EQ(second.reply().status(), 2);
}

TEST_F(CommandChannelTest, ShortAnswersOverflowAndLongOnesDoNot) {
  for (const auto& [bytes, expected] : {std::pair<size_t, int>{0, -EOVERFLOW},
                                        {8, -EOVERFLOW},
                                        {15, -EOVERFLOW},
                                        {16, 0},
                                        {24, 0},
                                        {4096, 0}}) {
    Lock call;
    call.Submit(line);
    channel->Answer(channel->sent().back().transaction, Answer(5, bytes));
    EXPECT_EQ(call.Wait().value(), expected) << bytes;
  }
}

TEST_F(CommandChannelTest, ACallThatDidNotGetThroughEndsWithItsErrno) {
  for (const auto& [error, expected] :
       {std::pair<int32_t, int>{EAGAIN, -EAGAIN}, {0, -EIO}, {-1, -EIO}, {100000, -EIO}}) {
    Lock call;
    call.Submit(line);
    PacketBytes payload(4);
    std::memcpy(payload.data(), &error, 4);
    channel->Deliver(kSendFailed, channel->sent().back().transaction, payload);
    EXPECT_EQ(call.Wait().value(), expected) << error;
  }
}

TEST_F(CommandChannelTest, AsynchronousMessagesAreOverWhenTheyAreSent) {
  Lock call(true), next;
  call.Submit(line, true);
  EXPECT_EQ(call.Wait().value(), 0);
  const SentPacket sent = channel->WaitForSent(1);
  EXPECT_EQ(sent.flags, 0);
  EXPECT_EQ(sent.transaction, 0u);
  next.Submit(line);
  EXPECT_EQ(channel->WaitForSent(2).transaction, 1u);
  channel->Answer(1, Answer(0));
  EXPECT_EQ(next.Wait().value(), 0);
}

TEST_F(CommandChannelTest, AnswersToAsynchronousCallsAreNotLookedAt) {
  Lock call(true);
  call.Submit(line);  // as where the host has not announced asynchronous messages
  channel->Answer(1, {});
  EXPECT_EQ(call.Wait().value(), 0);
}

TEST_F(CommandChannelTest, MessagesThatNoPacketHoldsAreRefused) {
  host::Escape::Request request;
  host::Escape::Reply reply;
  std::vector<int> results;
  for (size_t bytes : {131001u, 131002u}) {  // the driver's limit
    request.set_priv_drv_data(std::string(bytes, 'x'));
    request.set_priv_drv_data_size(static_cast<uint32_t>(bytes));
    line.Submit(
        {contract::FindHostCommand(contract::kHostCommandId<host::Escape::Request>), 1, 1, &request, &reply},
        {1, 1, 40, false},
        {[](void* context, Status status) {
           static_cast<std::vector<int>*>(context)->push_back(status.value());
         },
         &results});
  }
  line.End();
  EXPECT_EQ(channel->sent().size(), 1u);
  EXPECT_EQ(results, (std::vector<int>{-EINVAL, -ENODEV}));
}

// 1 as it is submitted, then 50 again.
TEST_F(CommandChannelTest, AFullRingIsTriedFiftyTimes) {
  channel->SetFull(true);
  Lock call;
  call.Submit(line);
  EXPECT_EQ(call.Wait().value(), -EAGAIN);
  EXPECT_EQ(channel->tries(), 51u);
  channel->SetFull(false);
  Lock next;
  next.Submit(line);
  EXPECT_EQ(channel->WaitForSent(1).transaction, 2u);
  channel->Answer(1, Answer(0));
  channel->Answer(2, Answer(0));
  EXPECT_EQ(next.Wait().value(), 0);
}

TEST_F(CommandChannelTest, AsynchronousMessagesAreTriedFiveThousandTimes) {
  channel->SetFull(true);
  Lock call(true);
  call.Submit(line, true);
  EXPECT_EQ(call.Wait().value(), -EAGAIN);
  EXPECT_EQ(channel->tries(), 5001u);
}

TEST_F(CommandChannelTest, ARingThatGetsRoomTakesThemInOrder) {
  channel->SetFull(true);
  Lock first, second(true), third;
  first.Submit(line);
  second.Submit(line, true);
  third.Submit(line);
  EXPECT_FALSE(first.done() || second.done() || third.done());
  channel->SetFull(false);
  EXPECT_EQ(second.Wait().value(), 0);
  channel->WaitForSent(3);
  const auto sent = channel->sent();
  EXPECT_EQ(sent[0].transaction, 1u);
  EXPECT_EQ(sent[1].transaction, 0u);
  EXPECT_EQ(sent[2].transaction, 2u);
  channel->Answer(2, Answer(0));
  channel->Answer(1, Answer(0));
  EXPECT_EQ(first.Wait().value(), 0);
  EXPECT_EQ(third.Wait().value(), 0);
}

TEST_F(CommandChannelTest, ALostChannelEndsAllThatIsOnItsWay) {
  Lock answered, waiting, queued(true);
  answered.Submit(line);
  waiting.Submit(line);
  channel->SetFull(true);
  queued.Submit(line, true);
  channel->Answer(1, Answer(0));
  EXPECT_EQ(answered.Wait().value(), 0);
  channel->Lose();
  EXPECT_EQ(waiting.Wait().value(), -ENODEV);
  EXPECT_EQ(queued.Wait().value(), -ENODEV);
  Lock late;
  late.Submit(line);
  EXPECT_EQ(late.Wait().value(), -ENODEV);
}

TEST_F(CommandChannelTest, EndsForAllWhoEndIt) {
  Lock calls[4];
  for (Lock& each : calls) each.Submit(line);
  std::vector<std::thread> enders;
  for (int i = 0; i < 4; ++i) {
    enders.emplace_back([&] {
      line.End();
      EXPECT_TRUE(channel->closed());
    });
  }
  for (Lock& each : calls) EXPECT_EQ(each.Wait().value(), -ENODEV);
  for (std::thread& each : enders) each.join();
  Lock late;
  late.Submit(line, true);
  EXPECT_EQ(late.Wait().value(), -ENODEV);
}

// Whoever is told that a call is over submits the next one at once.
TEST_F(CommandChannelTest, TakesCallsFromItsOwnCompletions) {
  struct Chain {
    CommandChannel* line = nullptr;
    Lock next;
  } chain;
  chain.line = &line;
  host::Lock2::Request request;
  host::Lock2::Reply reply;
  line.Submit(
      {contract::FindHostCommand(contract::kHostCommandId<host::Lock2::Request>), 1, 1, &request, &reply},
      {1, 1, 40, false},
      {[](void* context, Status) {
         auto* to = static_cast<Chain*>(context);
         to->next.Submit(*to->line);
       },
       &chain});
  channel->Lose();
  EXPECT_EQ(chain.next.Wait().value(), -ENODEV);
}

// A completion that is in memory which does not answer, by each way to a completion: what comes behind it
// goes on, and nobody has to wait for the channel's end.
TEST(CommandChannelInBlockedMemory, HoldsUpNoOtherCall) {
  using Way = void (*)(FakeChannelState&, CommandChannel&);
  const std::tuple<const char*, bool, Way> ways[] = {
      {"answered", false,
       [](FakeChannelState& channel, CommandChannel&) {
         channel.Answer(1, Answer(0));
         channel.Answer(2, Answer(0));
       }},
      {"not sent", false,
       [](FakeChannelState& channel, CommandChannel&) {
         for (const uint64_t transaction : {1, 2}) channel.Deliver(kSendFailed, transaction, PacketBytes(4));
       }},
      {"lost", false, [](FakeChannelState& channel, CommandChannel&) { channel.Lose(); }},
      {"closed", false, [](FakeChannelState&, CommandChannel& line) { line.Close(); }},
      {"tried too often", true, [](FakeChannelState&, CommandChannel&) {}},
      {"sent late", true, [](FakeChannelState& channel, CommandChannel&) { channel.SetFull(false); }},
      {"closed, not sent yet", true, [](FakeChannelState&, CommandChannel& line) { line.Close(); }},
  };
  for (const auto& [name, full, way] : ways) {
    SCOPED_TRACE(name);
    auto channel = std::make_shared<FakeChannelState>();
    CommandChannel line("test", std::make_unique<FakeChannel>(channel), nullptr,
                        std::chrono::microseconds(10));
    std::promise<void> blocked, goes_on;
    Lock first(full), second(full);
    first.then = [&] {
      const Relay::Pause pause;
      blocked.set_value();
      goes_on.get_future().wait();
    };
    channel->SetFull(full);
    first.Submit(line, full);
    second.Submit(line, full);
    way(*channel, line);
    blocked.get_future().wait();
    EXPECT_LE(second.Wait().value(), 0);
    EXPECT_FALSE(line.EndFor(std::chrono::milliseconds(1)));
    goes_on.set_value();
    EXPECT_TRUE(line.EndFor(std::chrono::seconds(60)));
  }
}

TEST_F(CommandChannelTest, AskAnswersWithTheReply) {
  std::thread host([&] { channel->Answer(channel->WaitForSent(1).transaction, Answer(6)); });
  host::Lock2::Request request;
  host::Lock2::Reply reply;
  EXPECT_EQ(line.Ask({contract::FindHostCommand(contract::kHostCommandId<host::Lock2::Request>), 0, 0,
                      &request, &reply},
                     {})
                .value(),
            0);
  EXPECT_EQ(reply.status(), 6);
  host.join();
}

TEST_F(CommandChannelTest, AskGivesUpOnASilentHostAndIgnoresItsLateAnswer) {
  host::Lock2::Request request;
  auto reply = std::make_unique<host::Lock2::Reply>();
  EXPECT_EQ(line.Ask({contract::FindHostCommand(contract::kHostCommandId<host::Lock2::Request>), 0, 0,
                      &request, reply.get()},
                     {}, std::chrono::milliseconds(1))
                .value(),
            -ETIMEDOUT);
  reply.reset();
  channel->Answer(1, Answer(6));
  Lock next;
  next.Submit(line);
  channel->Answer(2, Answer(0));
  EXPECT_EQ(next.Wait().value(), 0);
}

}  // namespace
}  // namespace dxg::vmbus
