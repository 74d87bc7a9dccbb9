// Calls by a page in common, with --attach=preload: those of a library, and of a client that scribbles there.

#include "tests/attach/library_ring.h"

#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "tests/attach/library_fixture.h"

namespace dxg::attach::library {
namespace {

namespace ring = preload::node::ring;

class RingTest : public LibraryTest {
 protected:
  RingTest() {
    node_.ioctl = [](auto request) {
      uint64_t value = 0;
      EXPECT_EQ(request->in().size(), sizeof(value));
      std::memcpy(&value, request->in().data(), sizeof(value));
      ++value;
      request->Answer(3, std::as_bytes(std::span(&value, 1)));
    };
    opened_ = client_.Greet().Open();
    ring_ = std::make_unique<RingClient>(client_);
    EXPECT_TRUE(ring_->has());
  }
  Said Call() { return ring_->Call(opened_.told.file); }
  void TheNextClientIsServed() {
    Connection next = Connect();
    const Heard opened = next.Greet().Open();
    RingClient its(next);
    its.Put(its.Call(opened.told.file), 1, ring::kSpins);
    EXPECT_EQ(its.After(ring::kSpins), ring::kAnswered);
    EXPECT_EQ(its.value(), 2u);
  }

  Connection client_ = Connect();
  Heard opened_;
  std::unique_ptr<RingClient> ring_;
};

// -- Calls

TEST_F(RingTest, WhoLooksFindsItsAnswerThere) {
  for (uint64_t value = 41; value < 141; ++value) {
    ring_->Put(Call(), value, ring::kSpins);
    ASSERT_EQ(ring_->After(ring::kSpins), ring::kAnswered);
    EXPECT_EQ(ring_->value(), value + 1);
    EXPECT_EQ(ring_->page().told.kind, tell::kAnswer);
    EXPECT_EQ(ring_->page().told.result, 3);
  }
  EXPECT_TRUE(client_.HearsNothing());
}

TEST_F(RingTest, WhoSleepsReadsItsAnswerAtTheSocket) {
  for (uint64_t value = 41; value < 61; ++value) {
    const Said call = Call();
    ring_->Put(call, value, ring::kSleeps);
    const Heard answer = client_.Hear();
    EXPECT_EQ(answer.told.kind, tell::kAnswer);
    EXPECT_EQ(answer.told.number, call.number);
    ASSERT_EQ(answer.extra.size(), sizeof(value));
    uint64_t came = 0;
    std::memcpy(&came, answer.extra.data(), sizeof(came));
    EXPECT_EQ(came, value + 1);
    EXPECT_EQ(ring_->page().state, ring::kSleeps);
  }
}

TEST_F(RingTest, AQuestionSendsWhoLooksToTheSocket) {
  const auto delivery = session_->MakeDelivery();
  node_.set_ioctl([&](auto request) {
    auto kept = std::make_shared<std::unique_ptr<IoctlRequest>>(std::move(request));
    delivery->TakeEventFile({(*kept)->caller().tid, (*kept)->code(), (*kept)->argument()}, {}, 5,
                            [kept](Result<std::shared_ptr<client::EventFile>>) { (*kept)->Answer(9, {}); });
  });
  ring_->Put(Call(), 1, ring::kSpins);
  EXPECT_EQ(ring_->After(ring::kSpins), ring::kSocket);
  const Heard ask = client_.Hear();
  EXPECT_EQ(ask.told.kind, tell::kTakeFile);
  client_.Done(ask.told, 0, EBADF);
  const Heard answer = client_.Hear();
  EXPECT_EQ(answer.told.kind, tell::kAnswer);
  EXPECT_EQ(answer.told.result, 9);
  session_->Stop();
}

TEST_F(RingTest, ASignalReachesACallThatWasPutThere) {
  Event interrupted;
  std::unique_ptr<IoctlRequest> kept;
  Event waits;
  node_.set_ioctl([&](auto request) {
    kept = std::move(request);
    kept->OnInterrupt([&] { interrupted.Set(); });
    waits.Set();
  });
  const Said call = Call();
  ring_->Put(call, 1, ring::kSleeps);
  waits.Wait();
  client_.Interrupt(call.number);
  interrupted.Wait();
  kept->Answer(IoctlRequest::kRestart, {});
  EXPECT_EQ(client_.Hear().told.result, -EINTR);
}

// As a call of the kernel's keeps its file open. It has not rung where the session looks by itself.
TEST_F(RingTest, ACallComesBeforeTheCloseOfItsFile) {
  for (uint64_t i = 0; i < 300; ++i) {
    Heard opened = client_.Open();
    const uint64_t file = opened.told.file;
    ASSERT_EQ(opened.told.result, 0);
    ring_->Put(ring_->Call(file), i, ring::kSpins);
    opened.files.clear();
    ASSERT_EQ(ring_->After(ring::kSpins), ring::kAnswered);
    ASSERT_EQ(ring_->page().told.result, 3);
  }
}

TEST_F(RingTest, AFileHasToBeShownForACallThereToo) {
  Connection owner = Connect();
  const Heard others = owner.Greet().Open();
  ring_->Put(ring_->Call(others.told.file), 1, ring::kSpins);
  EXPECT_EQ(ring_->After(ring::kSpins), ring::kSocket);
  const Heard ask = client_.Hear();
  EXPECT_EQ(ask.told.kind, tell::kShowFile);
  const int own = opened_.files[0].get();
  client_.Done(ask.told, 0, 0, std::span(&own, 1));
  EXPECT_EQ(client_.Hear().told.result, -EBADF);
}

TEST_F(RingTest, ACallHearsThatItsThreadIsDead) {
  Event waits, dead;
  std::unique_ptr<IoctlRequest> kept;
  node_.set_ioctl([&](auto request) {
    kept = std::move(request);
    kept->OnKilled([&] {
      kept->Answer(-EINTR, {});
      dead.Set();
      return true;
    });
    waits.Set();
  });
  ring_->Put(Call(), 1, ring::kSpins);
  waits.Wait();
  client_.Close();
  dead.Wait();
}

TEST_F(RingTest, TheEndOfTheSessionSendsWhoLooksToTheSocket) {
  std::unique_ptr<IoctlRequest> kept;
  Event waits;
  node_.set_ioctl([&](auto request) {
    kept = std::move(request);
    waits.Set();
  });
  ring_->Put(Call(), 1, ring::kSpins);
  waits.Wait();
  session_->Stop();
  EXPECT_EQ(ring_->After(ring::kSpins), ring::kSocket);
  EXPECT_TRUE(client_.IsLetGo());
  kept->Answer(0, {});
}

// -- What makes no sense

TEST_F(RingTest, ASecondRingIsLetGo) {
  Said ask = {};
  ask.kind = say::kRing;
  client_.Send(ask);
  EXPECT_TRUE(client_.IsLetGo());
  TheNextClientIsServed();
}

TEST_F(RingTest, WhatIsNoCallIsLetGo) {
  Said open = Call();
  open.kind = say::kOpen;
  ring_->Put(open, 1, ring::kSpins);
  EXPECT_TRUE(client_.IsLetGo());
  EXPECT_EQ(ring_->After(ring::kSpins), ring::kSocket);
  TheNextClientIsServed();
}

TEST_F(RingTest, AStructThatDoesNotFitIsLetGo) {
  for (const uint32_t flags : {0u, preload::node::flag::kWithoutStruct}) {
    Connection liar = Connect();
    const Heard opened = liar.Greet().Open();
    RingClient its(liar);
    Said call = its.Call(opened.told.file);
    call.code = _IOC(_IOC_READ | _IOC_WRITE, 't', 1, ring::kStructMax + 1);
    call.flags = flags;
    its.Put(call, 1, ring::kSpins);
    EXPECT_TRUE(liar.IsLetGo()) << flags;
  }
  TheNextClientIsServed();
}

TEST_F(RingTest, TheLargestStructFits) {
  std::atomic<size_t> bytes = 0;
  node_.set_ioctl([&](auto request) {
    bytes = request->in().size();
    const std::vector<std::byte> out(request->in().size(), std::byte{7});
    request->Answer(0, out);
  });
  Said call = Call();
  call.code = _IOC(_IOC_READ | _IOC_WRITE, 't', 1, ring::kStructMax);
  ring_->Put(call, 1, ring::kSpins);
  ASSERT_EQ(ring_->After(ring::kSpins), ring::kAnswered);
  EXPECT_EQ(bytes, ring::kStructMax);
  EXPECT_EQ(ring_->page().out_bytes, ring::kStructMax);
  EXPECT_EQ(ring_->page().out[ring::kStructMax - 1], 7);
}

TEST_F(RingTest, ASecondCallBesideTheFirstIsLetGo) {
  std::unique_ptr<IoctlRequest> kept;
  Event waits;
  node_.set_ioctl([&](auto request) {
    kept = std::move(request);
    waits.Set();
  });
  ring_->Put(Call(), 1, ring::kSleeps);
  waits.Wait();
  ring_->Put(Call(), 2, ring::kSleeps);
  EXPECT_TRUE(client_.IsLetGo());
  session_->Stop();
  kept->Answer(0, {});
}

// What is judged and what is used are one copy.
TEST_F(RingTest, WhatIsWrittenLaterIsNotRead) {
  Event waits, scribbled, done;
  node_.set_ioctl([&, tid = gettid()](auto request) {
    waits.Set();
    scribbled.Wait();
    uint64_t value = 0;
    EXPECT_EQ(request->in().size(), sizeof(value));
    std::memcpy(&value, request->in().data(), sizeof(value));
    EXPECT_EQ(value, 77u);
    EXPECT_EQ(request->code(), kCode);
    EXPECT_EQ(request->argument(), 0x1000u);
    EXPECT_EQ(request->caller().tid, tid);
    request->Answer(5, std::as_bytes(std::span(&value, 1)));
    done.Set();
  });
  ring_->Put(Call(), 77, ring::kSpins);
  waits.Wait();
  std::memset(ring_->page().in, 0xff, sizeof(ring_->page().in));
  std::memset(&ring_->page().said, 0xff, sizeof(ring_->page().said));
  std::memset(&ring_->page().told, 0xff, sizeof(ring_->page().told));
  ring_->page().out_bytes = ~0u;
  scribbled.Set();
  done.Wait();
  EXPECT_EQ(ring_->After(ring::kSpins), ring::kAnswered);
  EXPECT_EQ(ring_->value(), 77u);
  EXPECT_EQ(ring_->page().told.result, 5);
}

// Its own thread may wait for ever then, and nobody else does.
TEST_F(RingTest, AStateThatIsNoneHarmsNobodyElse) {
  for (const uint32_t state : {0u, 3u, 4u, 5u, ~0u}) {
    ring_->Put(Call(), 1, static_cast<ring::State>(state));
    EXPECT_EQ(client_.Hear().told.result, 3) << state;
    TheNextClientIsServed();
  }
}

TEST_F(RingTest, WhoRingsForNothingOrAfterItsEndHarmsNobody) {
  for (int i = 0; i < 1000; ++i) ring_->Ring();
  client_.Close();
  ++RingClient::Word(ring_->page().called);
  for (int i = 0; i < 1000; ++i) ring_->Ring();
  TheNextClientIsServed();
}

// A thread that always has the next call ready does not keep others from being heard.
TEST_F(RingTest, WhoCallsWithoutEndIsNotAlone) {
  std::atomic<bool> ends = false;
  std::thread busy([&] {
    Connection its = Connect();
    const Heard opened = its.Greet().Open();
    RingClient ring(its);
    while (!ends) {
      ring.Put(ring.Call(opened.told.file), 1, ring::kSpins);
      EXPECT_EQ(ring.After(ring::kSpins), ring::kAnswered);
    }
  });
  for (int i = 0; i < 50; ++i) TheNextClientIsServed();
  ends = true;
  busy.join();
}

// -- How many there are

class FewRings : public testing::Test {
 protected:
  FewRings() {
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    rlimit few = before_;
    few.rlim_cur = 256;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    session_ = *LibrarySession::Create();
    EXPECT_TRUE(session_->Start(node_, 1).ok());
  }
  ~FewRings() override {
    session_->Stop();
    setrlimit(RLIMIT_NOFILE, &before_);
  }

  rlimit before_ = {};
  ScriptedNode node_;
  std::unique_ptr<LibrarySession> session_;
};

TEST_F(FewRings, AProcessHasHalfOfThemAndTheRestIsServedByTheSocket) {
  std::vector<std::unique_ptr<Connection>> connections;
  std::vector<std::unique_ptr<RingClient>> rings;
  const auto one_more = [&] {
    connections.push_back(std::make_unique<Connection>(session_->place()));
    connections.back()->Greet();
    rings.push_back(std::make_unique<RingClient>(*connections.back()));
    return rings.back()->result();
  };
  for (int i = 0; i < 8; ++i) EXPECT_EQ(one_more(), 0);
  EXPECT_EQ(one_more(), -EMFILE);
  EXPECT_FALSE(rings.back()->has());
  const Heard opened = connections.back()->Open();
  connections.back()->Say(opened.told.file);
  EXPECT_EQ(connections.back()->Hear().told.kind, tell::kAnswer);

  connections.front()->Close();
  EXPECT_EQ(one_more(), 0);
}

}  // namespace
}  // namespace dxg::attach::library
