// The device process's half of --attach=preload, with the test as the library: also as one that lies.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/attach/library_fixture.h"

namespace dxg::attach::library {
namespace {

// -- Who may speak

TEST_F(LibraryTest, WhoHasNotTheSecretIsLetGo) {
  Connection stranger = Connect();
  Said hello = stranger.Hello();
  hello.secret[31] ^= 1;
  stranger.Send(hello);
  EXPECT_TRUE(stranger.IsLetGo());
}

TEST_F(LibraryTest, AnotherVersionIsLetGo) {
  Connection other = Connect();
  Said hello = other.Hello();
  ++hello.code;
  other.Send(hello);
  EXPECT_TRUE(other.IsLetGo());
}

TEST_F(LibraryTest, AThreadOfAnotherProcessIsLetGo) {
  Connection liar = Connect();
  Said hello = liar.Hello();
  hello.tid = 1;
  liar.Send(hello);
  EXPECT_TRUE(liar.IsLetGo());
}

TEST_F(LibraryTest, ACallBeforeTheGreetingIsLetGo) {
  Connection rude = Connect();
  EXPECT_TRUE(rude.Open().ended);
}

TEST_F(LibraryTest, WhatMakesNoSenseIsLetGo) {
  const std::byte extra[8] = {};
  for (uint32_t kind = 0; kind < 8; ++kind) {
    Connection rude = Connect();
    rude.Greet();
    Said said = {};
    said.kind = kind;
    said.code = kCode;
    // A struct of a wrong length, or one where there is none; kInterrupt of nothing is no more than late.
    rude.Send(said, std::span(extra, kind == say::kIoctl ? 7 : 8));
    EXPECT_TRUE(rude.IsLetGo()) << kind;
  }
}

TEST_F(LibraryTest, ASecondCallBesideTheFirstIsLetGo) {
  std::unique_ptr<IoctlRequest> kept;
  node_.ioctl = [&](auto request) { kept = std::move(request); };
  Connection hasty = Connect();
  const Heard opened = hasty.Greet().Open();
  hasty.Say(opened.told.file);
  hasty.Say(opened.told.file);
  EXPECT_TRUE(hasty.IsLetGo());
  session_->Stop();
  kept->Answer(0, {});
}

// -- Open files

TEST_F(LibraryTest, TheLastCloseOfADescriptorIsTheRelease) {
  Event released;
  std::atomic<uint64_t> file = 0;
  node_.open = [](auto request) { request->Accept(42); };
  node_.release = [&](uint64_t which) {
    file = which;
    released.Set();
  };
  Connection client = Connect();
  Heard opened = client.Greet().Open();
  ASSERT_EQ(opened.files.size(), 1u);
  UniqueFd copy(fcntl(opened.files[0].get(), F_DUPFD_CLOEXEC, 0));
  opened.files.clear();
  EXPECT_FALSE(released.WaitFor(std::chrono::milliseconds(20)));
  copy.reset();
  released.Wait();
  EXPECT_EQ(file, 42u);
}

TEST_F(LibraryTest, ACloseComesBeforeTheNextOpen) {
  std::atomic<int> open = 0;
  node_.open = [&](auto request) {
    EXPECT_EQ(open++, 0);
    request->Accept(7);
  };
  node_.release = [&](uint64_t) { --open; };
  Connection client = Connect();
  client.Greet();
  for (int i = 0; i < 200; ++i) EXPECT_EQ(client.Open().told.result, 0);  // closed when it goes
  session_->Stop();  // the last one is released by then, or not any more
}

TEST_F(LibraryTest, AnOpenIsRefused) {
  node_.open = [](auto request) { request->Refuse(EBADF); };
  Connection client = Connect();
  const Heard opened = client.Greet().Open();
  EXPECT_EQ(opened.told.result, -EBADF);
  EXPECT_TRUE(opened.files.empty());
}

TEST_F(LibraryTest, ACallKeepsItsFileOpen) {
  Event called, released;
  std::unique_ptr<IoctlRequest> kept;
  node_.ioctl = [&](auto request) {
    kept = std::move(request);
    called.Set();
  };
  node_.release = [&](uint64_t) { released.Set(); };
  Connection client = Connect();
  Heard opened = client.Greet().Open();
  client.Say(opened.told.file);
  called.Wait();
  opened.files.clear();
  EXPECT_FALSE(released.WaitFor(std::chrono::milliseconds(20)));
  kept->Answer(5, {});
  EXPECT_EQ(client.Hear().told.result, 5);
  released.Wait();
}

// A number is a name and no right.
TEST_F(LibraryTest, AFileOfAnotherConnectionHasToBeShown) {
  Connection owner = Connect(), other = Connect();
  const Heard opened = owner.Greet().Open();
  other.Greet().Say(opened.told.file);
  Heard ask = other.Hear();
  ASSERT_EQ(ask.told.kind, tell::kShowFile);
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reads(ends[0]), writes(ends[1]);
  other.Done(ask.told, 0, 0, std::span(ends, 1));
  EXPECT_EQ(other.Hear().told.result, -EBADF);

  other.Say(opened.told.file);
  ask = other.Hear();
  const int right = opened.files[0].get();
  other.Done(ask.told, 0, 0, std::span(&right, 1));
  EXPECT_EQ(other.Hear().told.kind, tell::kAnswer);
  other.Say(opened.told.file);  // once is enough
  EXPECT_EQ(other.Hear().told.kind, tell::kAnswer);
}

TEST_F(LibraryTest, ADescriptorThatGoesAlongIsEnough) {
  Connection owner = Connect(), other = Connect();
  const Heard opened = owner.Greet().Open();
  const int right = opened.files[0].get();
  other.Greet().Say(opened.told.file, 0, std::span(&right, 1));
  EXPECT_EQ(other.Hear().told.kind, tell::kAnswer);
}

TEST_F(LibraryTest, AFileThatIsNotThereIsEbadf) {
  Connection client = Connect();
  client.Greet().Say(12345);
  EXPECT_EQ(client.Hear().told.result, -EBADF);
}

TEST_F(LibraryTest, AFileBecomesReadableWhenItIsReady) {
  std::mutex mutex;
  std::unique_ptr<PollWaiter> sleeper;
  std::atomic<uint32_t> ready = 0;
  node_.poll = [&](uint64_t, auto waiter) {
    std::lock_guard lock(mutex);
    sleeper = std::move(waiter);
    return ready.load();
  };
  Connection client = Connect();
  const Heard opened = client.Greet().Open();
  pollfd file = {opened.files[0].get(), POLLIN, 0};
  EXPECT_EQ(poll(&file, 1, 0), 0);
  ready = POLLIN;
  {
    std::lock_guard lock(mutex);
    sleeper->Wake();
  }
  EXPECT_EQ(poll(&file, 1, -1), 1);
  EXPECT_EQ(file.revents, POLLIN);
  session_->Stop();  // the node asks again, by what is here
}

// -- Calls

TEST_F(LibraryTest, AnswersGoBackWithTheStruct) {
  node_.ioctl = [tid = gettid()](auto request) {
    uint64_t value = 0;
    EXPECT_EQ(request->in().size(), sizeof(value));
    std::memcpy(&value, request->in().data(), sizeof(value));
    EXPECT_EQ(request->caller().tid, tid);
    EXPECT_EQ(request->caller().uid, getuid());
    value += 1;
    request->Answer(3, std::as_bytes(std::span(&value, 1)));
  };
  Connection client = Connect();
  const Heard opened = client.Greet().Open();
  client.Say(opened.told.file, 41);
  const Heard answer = client.Hear();
  uint64_t value = 0;
  ASSERT_EQ(answer.extra.size(), sizeof(value));
  std::memcpy(&value, answer.extra.data(), sizeof(value));
  EXPECT_EQ(value, 42u);
  EXPECT_EQ(answer.told.result, 3);
}

TEST_F(LibraryTest, AnInterruptReachesItsCallAndNoOther) {
  Event waits, interrupted;
  std::unique_ptr<IoctlRequest> kept;
  node_.ioctl = [&](auto request) {
    kept = std::move(request);
    kept->OnInterrupt([&] { interrupted.Set(); });
    waits.Set();
  };
  Connection client = Connect();
  const Heard opened = client.Greet().Open();
  const uint32_t number = client.Say(opened.told.file);
  waits.Wait();
  client.Interrupt(number - 1);  // a late one
  EXPECT_FALSE(interrupted.WaitFor(std::chrono::milliseconds(20)));
  client.Interrupt(number);
  interrupted.Wait();
  kept->Answer(IoctlRequest::kRestart, {});
  EXPECT_EQ(client.Hear().told.result, -EINTR);
}

TEST_F(LibraryTest, ACallHearsThatItsThreadIsDeadUntilItAnswers) {
  Event waits, answered;
  std::unique_ptr<IoctlRequest> kept;
  std::atomic<int> asked = 0;
  node_.ioctl = [&](auto request) {
    kept = std::move(request);
    kept->OnKilled([&] {
      if (++asked < 3) return false;
      kept->Answer(-EINTR, {});
      answered.Set();
      return true;
    });
    waits.Set();
  };
  Connection client = Connect();
  const Heard opened = client.Greet().Open();
  client.Say(opened.told.file);
  waits.Wait();
  client.Close();
  answered.Wait();
  EXPECT_EQ(asked, 3);
}

// -- In the client

TEST_F(LibraryTest, AVisitIsWhatTheThreadDoes) {
  const auto delivery = session_->MakeDelivery();
  std::unique_ptr<IoctlRequest> kept;
  node_.ioctl = [&](auto request) {
    kept = std::move(request);
    delivery->Enter(
        {kept->caller().tid, kept->code(), kept->argument()}, {}, [] { ADD_FAILURE(); },
        [&](Result<std::unique_ptr<client::Visit>> visit) {
          ASSERT_TRUE(visit.ok());
          std::vector<client::Step> steps(2);
          steps[0].kind = client::Step::Kind::kUnmap;
          steps[1].kind = client::Step::Kind::kCloseFile;
          (*visit)->Do(std::move(steps), [&](Result<std::vector<uint64_t>> results) {
            kept->Answer(results.ok() ? static_cast<int32_t>((*results)[1]) : results.status().value(), {});
          });
        });
  };
  Connection client = Connect();
  const Heard opened = client.Greet().Open();
  client.Say(opened.told.file);
  Heard ask = client.Hear();
  EXPECT_EQ(ask.told.kind, tell::kUnmap);
  client.Done(ask.told, 8);
  ask = client.Hear();
  EXPECT_EQ(ask.told.kind, tell::kCloseFile);
  client.Done(ask.told, 9);
  EXPECT_EQ(client.Hear().told.result, 9);

  client.Say(opened.told.file);
  ask = client.Hear();
  client.Done(ask.told, 0, ENOMEM);
  EXPECT_EQ(client.Hear().told.result, -ENOMEM);

  client.Say(opened.told.file);
  ask = client.Hear();
  ++ask.told.number;  // of what nobody has asked
  client.Done(ask.told, 0);
  EXPECT_TRUE(client.IsLetGo());
  session_->Stop();  // by then its call has ended
}

TEST_F(LibraryTest, TheEndEndsWhatWasAsked) {
  const auto delivery = session_->MakeDelivery();
  std::unique_ptr<IoctlRequest> kept;
  node_.ioctl = [&](auto request) {
    kept = std::move(request);
    delivery->TakeEventFile({kept->caller().tid, kept->code(), kept->argument()}, {}, 0,
                            [&](Result<std::shared_ptr<client::EventFile>> file) {
                              kept->Answer(file.status().value(), {});
                              kept = nullptr;
                            });
  };
  Connection client = Connect();
  const Heard opened = client.Greet().Open();
  client.Say(opened.told.file);
  EXPECT_EQ(client.Hear().told.kind, tell::kTakeFile);
  session_->Stop();
  EXPECT_EQ(kept, nullptr);
  EXPECT_TRUE(client.IsLetGo());
}

TEST_F(LibraryTest, MemoryThatCannotBeReachedIsCarried) {
  const auto access = session_->MakeAccess();
  std::vector<std::byte> carried(100'000);
  node_.ioctl = [&](auto request) {
    const bool read = access->Read(request->caller().tid, 8, carried);
    const bool written = read && access->Write(request->caller().tid, 8, std::span(carried).first(10));
    request->Answer(read + 2 * written, {});
  };
  Connection client = Connect();
  const Heard opened = client.Greet().Open();
  const std::vector<std::byte> memory(100'000, std::byte{7});
  client.Say(opened.told.file);
  for (size_t at = 0; at < memory.size();) {
    const Heard ask = client.Hear();
    ASSERT_EQ(ask.told.kind, tell::kLoad);
    ASSERT_EQ(ask.told.address, 8 + at);
    client.Done(ask.told, 0, 0, {}, std::span(memory).subspan(at, ask.told.size));
    at += ask.told.size;
  }
  const Heard ask = client.Hear();
  EXPECT_EQ(ask.told.kind, tell::kStore);
  EXPECT_EQ(ask.told.size, 10u);
  (void)client.Hear();  // the bytes, which are shorter than a message of another kind
  client.Done(ask.told, 0, EFAULT);
  EXPECT_EQ(client.Hear().told.result, 1);
  EXPECT_EQ(carried, memory);
}

}  // namespace
}  // namespace dxg::attach::library
