#include "cuse-dxg/top/conversation.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "base/unix_socket.h"
#include "cuse-dxg/control/address.h"
#include "cuse-dxg/control/server.h"

namespace dxg::top {
namespace {

using Clock = Conversation::Clock;

// A daemon that answers as a test says.
class Daemon final : public HostControl {
 public:
  using Answer = std::function<void(const ControlRequest&, ControlReply*)>;
  explicit Daemon(Answer answer)
      : answer_(std::move(answer)), path(std::string(mkdtemp(directory_)) + "/control") {
    server_ = *control::Server::Start(path, *this);
  }
  ~Daemon() override {
    server_.reset();
    std::filesystem::remove_all(directory_);
  }
  void Serve(const ControlRequest& request, ControlReply* reply) override { answer_(request, reply); }
  void Leave() { server_.reset(); }

 private:
  const Answer answer_;
  char directory_[32] = "/tmp/top-test-XXXXXX";
  std::unique_ptr<control::Server> server_;

 public:
  const std::string path;
};

Result<ControlReply::Live> Sample(Conversation& daemon, uint64_t calls_of = 0) {
  DXG_TRY(daemon.Begin(calls_of, Clock::now()));
  for (;;) {
    pollfd answer = {daemon.fd(), POLLIN, 0};
    (void)poll(&answer, 1, -1);
    DXG_ASSIGN(const bool whole, daemon.GoOn(Clock::now()));
    if (whole) return daemon.TakeLive();
  }
}

TEST(TopConversation, PagesBecomeOne) {
  // Five processes of the guest in pages of two, three of the host in pages of one.
  Daemon daemon([](const ControlRequest& request, ControlReply* reply) {
    auto page = [](uint64_t after, uint64_t size, uint64_t all, auto add) {
      uint64_t at = after;
      for (; at < all && at < after + size; ++at) add(at + 1);
      return at < all ? at : 0;
    };
    const auto& wanted = request.live();
    auto* live = reply->mutable_live();
    live->set_guest_next(page(std::min<uint64_t>(wanted.guest_after(), 5), 2, 5,
                              [&](uint64_t id) { live->add_guest_processes()->set_process_id(id); }));
    live->set_host_next(page(std::min<uint64_t>(wanted.host_after(), 3), 1, 3, [&](uint64_t id) {
      live->add_host_processes()->set_handle(static_cast<uint32_t>(id));
    }));
    if (wanted.guest_after() == 0) live->set_calls(wanted.calls_of());
  });
  Conversation top(daemon.path);
  for (int round = 0; round < 2; ++round) {
    Result<ControlReply::Live> live = Sample(top, 42);
    ASSERT_TRUE(live.ok()) << live.status().why();
    EXPECT_EQ(live->calls(), 42u);
    ASSERT_EQ(live->guest_processes_size(), 5);
    ASSERT_EQ(live->host_processes_size(), 3);
    for (int i = 0; i < 5; ++i)
      EXPECT_EQ(live->guest_processes(i).process_id(), static_cast<uint64_t>(i + 1));
  }
}

TEST(TopConversation, WhatMakesNoSenseIsRefused) {
  struct Case {
    Daemon::Answer answer;
    const char* said;
  };
  const Case cases[] = {
      {[](const auto&, ControlReply* reply) { reply->set_error("no\x1b[2J"); }, "refuses: no\\x1b[2J"},
      {[](const auto&, ControlReply* reply) { reply->mutable_things()->Add(); }, "something else"},
      {[](const auto&, ControlReply* reply) {
         reply->mutable_live()->add_guest_processes();
         reply->mutable_live()->set_guest_next(7);  // again and again
       },
       "without end"},
      {[](const ControlRequest& request, ControlReply* reply) {
         reply->mutable_live()->set_host_next(request.live().host_after() + 1);
       },
       "empty pages"},
      {[](const ControlRequest& request, ControlReply* reply) {
         for (int i = 0; i < 2000; ++i) reply->mutable_live()->add_guest_processes();
         reply->mutable_live()->set_guest_next(request.live().guest_after() + 1);
       },
       "without end"},
  };
  for (const Case& each : cases) {
    Daemon daemon(each.answer);
    Conversation top(daemon.path);
    const Status status = Sample(top).status();
    EXPECT_EQ(status.value(), -EPROTO);
    EXPECT_NE(status.why().find(each.said), std::string::npos) << status.why();
  }
}

TEST(TopConversation, APageThatLeadsToItselfIsNotAskedForAgain) {
  std::atomic<int> asked = 0;
  Daemon daemon([&asked](const auto&, ControlReply* reply) {
    ++asked;
    reply->mutable_live()->add_guest_processes();
    reply->mutable_live()->set_guest_next(7);
  });
  Conversation top(daemon.path);
  EXPECT_EQ(Sample(top).status().value(), -EPROTO);
  EXPECT_EQ(asked, 2);
}

TEST(TopConversation, PagesMayNotFillMemory) {
  // Few processes, each with as much as a page has room for.
  std::atomic<size_t> asked = 0;
  Daemon daemon([&asked](const ControlRequest& request, ControlReply* reply) {
    ++asked;
    ControlReply::Live* live = reply->mutable_live();
    auto* process = live->add_host_processes();
    for (int i = 0; i < 70'000; ++i) process->add_uses();
    live->set_host_next(request.live().host_after() + 1);
  });
  Conversation top(daemon.path);
  EXPECT_EQ(Sample(top).status().value(), -EPROTO);
  EXPECT_LE(asked, Conversation::kBytesMax / 70'000 / sizeof(ControlReply::Live::Use) + 2);
}

TEST(TopConversation, OnlyTheFirstPageHasAdaptersAndRefusals) {
  Daemon daemon([](const ControlRequest& request, ControlReply* reply) {
    const uint64_t after = request.live().guest_after();
    ControlReply::Live* live = reply->mutable_live();
    live->add_adapters()->set_luid(after + 1);
    live->add_refusals()->set_count(after + 1);
    live->add_guest_processes();
    live->set_guest_next(after < 3 ? after + 1 : 0);
  });
  Conversation top(daemon.path);
  Result<ControlReply::Live> live = Sample(top);
  ASSERT_TRUE(live.ok()) << live.status().why();
  EXPECT_EQ(live->guest_processes_size(), 4);
  ASSERT_EQ(live->adapters_size(), 1);
  EXPECT_EQ(live->adapters(0).luid(), 1u);
  ASSERT_EQ(live->refusals_size(), 1);
  EXPECT_EQ(live->refusals(0).count(), 1u);
}

TEST(TopConversation, AllPagesTogetherHaveALimitOfTime) {
  Daemon daemon([](const ControlRequest& request, ControlReply* reply) {
    reply->mutable_live()->add_guest_processes();
    reply->mutable_live()->set_guest_next(request.live().guest_after() + 1);
  });
  Conversation top(daemon.path);
  const Clock::time_point begun = Clock::now();
  ASSERT_TRUE(top.Begin(0, begun).ok());
  // Each answer is in time.
  const auto each = Conversation::kAnswerMax - std::chrono::seconds(1);
  Clock::time_point now = begun;
  Result<bool> whole = false;
  while (whole.ok() && now < begun + 2 * Conversation::kPictureMax) {
    pollfd answer = {top.fd(), POLLIN, 0};
    (void)poll(&answer, 1, -1);
    now += each;
    whole = top.GoOn(now);
  }
  EXPECT_EQ(whole.status().value(), -ETIMEDOUT);
  EXPECT_EQ(now, begun + Conversation::kPictureMax);
}

TEST(TopConversation, NobodyThereAndNobodyMore) {
  Daemon daemon([](const auto&, ControlReply* reply) { reply->mutable_live()->set_has_guest(true); });
  Conversation top(daemon.path);
  EXPECT_TRUE(Sample(top).ok());
  daemon.Leave();
  const Status gone = Sample(top).status();
  EXPECT_EQ(gone.value(), -ECONNRESET);
  EXPECT_NE(gone.why().find("ended"), std::string::npos);
  Conversation never(daemon.path);
  EXPECT_NE(Sample(never).status().why().find("cannot reach a daemon"), std::string::npos);
}

TEST(TopConversation, SilenceHasALimit) {
  char directory[] = "/tmp/top-test-XXXXXX";
  const std::string path = std::string(mkdtemp(directory)) + "/control";
  // It listens and never takes anybody.
  const Result<UniqueFd> listener =
      ListenUnix(path, control::kOption, {.who = "daemon", .type = SOCK_SEQPACKET, .waiting_max = 4});
  ASSERT_TRUE(listener.ok());
  Conversation top(path);
  const Clock::time_point begun = Clock::now();
  ASSERT_TRUE(top.Begin(0, begun).ok());
  EXPECT_FALSE(*top.GoOn(begun));
  EXPECT_FALSE(*top.GoOn(top.deadline() - std::chrono::nanoseconds(1)));
  EXPECT_EQ(top.GoOn(top.deadline()).status().value(), -ETIMEDOUT);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace dxg::top
