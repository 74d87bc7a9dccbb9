// What keeps something for others while there is no memory: each allocation of a step fails once. The step
// throws then and has kept nothing, or was done all the same; and what comes later is done as ever.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/strands.h"
#include "link/socket/connection.h"
#include "link/vmbus/port.h"
#include "proto/dxg/host.pb.h"
#include "proto/dxg/protocol.pb.h"
#include "tests/backend/backend_client.h"
#include "tests/backend/raw_peer.h"
#include "tests/backend/running_host.h"
#include "tests/guest/counted_memory.h"

namespace dxg {
namespace {

using guest::AllocationsSince;
using guest::FailAllocation;

// How often the step threw when its n-th allocation failed, for each n that it has.
template <class Step>
int FailEachAllocation(Step step) {
  constexpr uint64_t kMax = 1000;
  int thrown = 0;
  for (uint64_t n = 1; n < kMax; ++n) {
    bool threw = false;
    FailAllocation(n);
    try {
      step([&] { FailAllocation(0); });
    } catch (const std::bad_alloc&) {
      threw = true;
    }
    const uint64_t had = AllocationsSince();
    FailAllocation(0);
    thrown += threw ? 1 : 0;
    if (!threw && had < n) return thrown;
  }
  ADD_FAILURE() << "the step does not end";
  return thrown;
}

// -- Strands ------------------------------------------------------------------------------------

class StrandsWithoutMemory : public testing::Test {
 protected:
  void Note() {
    std::lock_guard lock(mutex_);
    ++done_;
    changed_.notify_all();
  }
  void WaitUntilDone(int jobs) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_ >= jobs; });
  }
  int done() {
    std::lock_guard lock(mutex_);
    return done_;
  }

  // Keys and groups that are new, and such as there are already.
  void RunEachWithoutMemory() {
    uint64_t key = 0;
    for (const uint64_t group_step : {1, 0}) {
      for (const uint64_t key_step : {1, 0}) {
        int taken = 0;
        const int before = done();
        const int thrown = FailEachAllocation([&](const auto&) {
          strands_.Run(key, group_, [this] { Note(); });
          ++taken;
          key += key_step;
          group_ += group_step;
        });
        EXPECT_GE(thrown, key_step == 0 ? 0 : 1);
        WaitUntilDone(before + taken);
        strands_.Run(key, group_, [this] { Note(); });
        WaitUntilDone(before + taken + 1);
        key += 1;
      }
    }
  }

  Strands strands_;

 private:
  uint64_t group_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  int done_ = 0;
};

TEST_F(StrandsWithoutMemory, AJobIsRefusedOrDone) {
  RunEachWithoutMemory();
  const int all = done();
  strands_.Stop();
  EXPECT_EQ(done(), all) << "a job that was refused was kept";
}

// Behind those of its key that are under way, more of them than one piece of a list has room for.
TEST_F(StrandsWithoutMemory, AJobBehindOthersIsRefusedOrDone) {
  constexpr int kWaiting = 200;
  std::promise<void> go_on;
  const std::shared_future<void> may = go_on.get_future().share();
  for (int i = 0; i < Strands::kAtOnceMax; ++i) strands_.Run(1, 1, [may] { may.wait(); });
  int taken = 0, refused = 0;
  for (int i = 0; i < kWaiting; ++i) {
    FailAllocation(1);
    try {
      strands_.Run(1, 1, [this] { Note(); });
      ++taken;
    } catch (const std::bad_alloc&) {
      ++refused;
      FailAllocation(0);
      strands_.Run(1, 1, [this] { Note(); });
      ++taken;
    }
    FailAllocation(0);
  }
  EXPECT_GE(refused, 2);
  go_on.set_value();
  strands_.Stop();
  EXPECT_EQ(taken, kWaiting);
  EXPECT_EQ(done(), taken);
}

// -- Connection ---------------------------------------------------------------------------------

class ConnectionWithoutMemory : public testing::Test {
 protected:
  ConnectionWithoutMemory() {
    auto [one, other] = socket::SocketPair();
    channel_ = std::make_unique<socket::Connection>(std::move(one));
    peer_ = std::make_unique<socket::Connection>(std::move(other));
  }
  static protocol::FromHost Message(uint64_t number, size_t bytes, uint32_t descriptors = 0) {
    protocol::FromHost message;
    message.mutable_answer()->set_number(number);
    message.mutable_answer()->set_reply(std::string(bytes, 'x'));
    message.set_descriptors(descriptors);
    return message;
  }
  void SendUntilKept() {
    while (!channel_->keeps()) {
      ASSERT_TRUE(channel_->Send(Message(++number_, 60'000)));
      sent_.push_back(number_);
    }
  }
  // The numbers of all messages that come.
  std::vector<uint64_t> Pump() {
    std::vector<uint64_t> numbers;
    while (numbers.size() < sent_.size()) {
      if (!channel_->Wait(0).ok() || !peer_->Wait(0).ok()) break;
      while (const auto frame = peer_->Next()) {
        protocol::FromHost message;
        EXPECT_TRUE(message.ParseFromArray(frame->message.data(), static_cast<int>(frame->message.size())));
        numbers.push_back(message.answer().number());
        for (uint32_t i = 0; i < message.descriptors(); ++i) EXPECT_TRUE(peer_->TakeDescriptor().valid());
      }
    }
    return numbers;
  }

  std::unique_ptr<socket::Connection> channel_, peer_;
  uint64_t number_ = 0;
  std::vector<uint64_t> sent_;
};

// What the socket does not take is kept: with its descriptors, and as a whole.
TEST_F(ConnectionWithoutMemory, WhatCannotBeKeptIsNotSent) {
  SendUntilKept();
  sent_.reserve(10'000);
  const int file = STDERR_FILENO;
  for (const uint32_t descriptors : {0u, 1u}) {
    const int thrown = FailEachAllocation([&](const auto& enough) {
      protocol::FromHost message;
      {
        const guest::OutsideCount message_of_the_test;
        message = Message(++number_, 200'000, descriptors);
      }
      EXPECT_TRUE(channel_->Send(message, {&file, descriptors}));
      enough();
      sent_.push_back(number_);
    });
    EXPECT_GE(thrown, 1);
  }
  EXPECT_EQ(Pump(), sent_) << "the messages that were kept, in order, and no other";
  ASSERT_TRUE(channel_->Send(Message(++number_, 10)));
  sent_ = {number_};
  EXPECT_EQ(Pump(), sent_);
}

// -- Port ---------------------------------------------------------------------------------------

// A channel that is full until the test says otherwise.
class FullChannel final : public vmbus::Channel {
 public:
  Sent Send(const vmbus::Packet& packet) override {
    const guest::OutsideCount outside;
    std::lock_guard lock(mutex_);
    if (closed_) return Sent::kLost;
    if (full_) return Sent::kFull;
    sent_.push_back(packet.transaction);
    changed_.notify_all();
    return Sent::kYes;
  }
  Status Run(const std::function<void(const vmbus::Packet&)>&) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_; });
    return Status::Ok();
  }
  void Close() override {
    std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
  void TakeAll() {
    std::lock_guard lock(mutex_);
    full_ = false;
  }
  std::vector<uint64_t> WaitUntilSent(size_t packets) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return sent_.size() >= packets; });
    return sent_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool full_ = true, closed_ = false;
  std::vector<uint64_t> sent_;
};

TEST(PortWithoutMemory, WhatCannotBeKeptIsNotSent) {
  auto owned = std::make_unique<FullChannel>();
  FullChannel& channel = *owned;
  std::mutex mutex;
  std::vector<uint64_t> settled;
  vmbus::Port port(std::move(owned),
                   {.handle = [](const vmbus::Packet&) {},
                    .over = [](const Status&) {},
                    .settled =
                        [&](uint64_t transaction, const Completion&, vmbus::Channel::Sent how) {
                          std::lock_guard lock(mutex);
                          if (how == vmbus::Channel::Sent::kYes) settled.push_back(transaction);
                        }},
                   {});
  ASSERT_TRUE(port.started());
  const std::array<std::byte, 100> payload{};
  uint64_t transaction = 0;
  std::vector<uint64_t> kept;
  kept.reserve(100);
  const int thrown = FailEachAllocation([&](const auto& enough) {
    const vmbus::Channel::Sent sent = port.Send({.transaction = ++transaction, .payload = payload});
    enough();
    EXPECT_EQ(sent, vmbus::Channel::Sent::kFull);
    kept.push_back(transaction);
  });
  EXPECT_GE(thrown, 2) << "for the packet and its bytes";
  EXPECT_EQ(port.Send({.transaction = ++transaction, .payload = payload}), vmbus::Channel::Sent::kFull);
  kept.push_back(transaction);
  channel.TakeAll();
  EXPECT_EQ(channel.WaitUntilSent(kept.size()), kept);
  // An errand that cannot be kept is not done; the others are.
  std::atomic<int> errands = 0;
  int taken = 0;
  std::array<char, 64> large{};  // more than a function has room for by itself
  EXPECT_GE(FailEachAllocation([&](const auto& enough) {
              port.Later([&errands, large] { errands += 1 + large[0]; });
              enough();
              ++taken;
            }),
            1);
  port.End();
  EXPECT_EQ(errands, taken);
  std::lock_guard lock(mutex);
  EXPECT_EQ(settled, kept) << "of each that was kept, once";
}

// -- The back-end -------------------------------------------------------------------------------

struct Waiting {
  static void Complete(void* context, Status) { ++static_cast<Waiting*>(context)->completions; }
  host::QueryClockCalibration::Request request;
  host::QueryClockCalibration::Reply reply;
  std::atomic<int> completions = 0;
};

class SocketBackendWithoutMemory : public SocketHostTest {};

TEST_F(SocketBackendWithoutMemory, ACallIsRefusedOrCompletes) {
  BackendClient client(ConnectTo(path()));
  client.OpenProcess();
  auto device = client.NewDevice();
  const auto fence = client.NewFence(device);
  std::deque<Waiting> calls;
  const auto* row = contract::FindHostCommand(contract::kHostCommandId<host::QueryClockCalibration::Request>);
  std::vector<bool> refused;
  refused.reserve(1000);
  FailEachAllocation([&](const auto& enough) {
    {
      const guest::OutsideCount of_the_test;
      calls.emplace_back();
      refused.push_back(true);
    }
    client.backend().Submit(
        {row, client.process(), client.adapter().address, &calls.back().request, &calls.back().reply, false},
        {&Waiting::Complete, &calls.back()});
    enough();
    refused.back() = false;
  });
  // It comes after the others.
  client.NewContext(device);
  client.backend().Stop();
  for (size_t i = 0; i < calls.size(); ++i) EXPECT_EQ(calls[i].completions, refused[i] ? 0 : 1) << i;
  (void)fence;
}

// What waits in one message for others: a call that is refused is not in it, and those before it are.
TEST_F(SocketBackendWithoutMemory, AnAsynchronousCallIsRefusedOrOnItsWay) {
  BackendClient client(ConnectTo(path()));
  client.OpenProcess();
  auto device = client.NewDevice();
  const auto fence = client.NewFence(device);
  const auto* row = contract::FindHostCommand(contract::kHostCommandId<host::SignalSyncObject::Request>);
  uint64_t value = 0, sent = 0;
  const int thrown = FailEachAllocation([&](const auto& enough) {
    host::SignalSyncObject::Request signal;
    host::SignalSyncObject::Reply reply;
    {
      const guest::OutsideCount of_the_test;
      signal.set_event_or_device(device.handle);
      signal.set_object_count(1);
      signal.add_objects(fence.handle);
      signal.add_fence_values(++value);
    }
    client.backend().Submit({row, client.process(), client.adapter().address, &signal, &reply, true},
                            {[](void*, Status) {}, nullptr});
    enough();
    sent = value;
  });
  EXPECT_GE(thrown, 1);
  client.NewContext(device);
  EXPECT_EQ(client.ValueOf(fence), sent) << "the last that was not refused";
}

}  // namespace
}  // namespace dxg
