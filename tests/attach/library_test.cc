// The device process's half of --attach=preload, with the test as the library: also as one that lies.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cuse-dxg/attach/library/session.h"
#include "tests/attach/library_client.h"
#include "tests/attach/scripted_node.h"

namespace dxg::attach::library {
namespace {

class LibraryTest : public testing::Test {
 protected:
  LibraryTest() : session_(*LibrarySession::Create()) { EXPECT_TRUE(session_->Start(node_, 2).ok()); }
  ~LibraryTest() override { session_->Stop(); }
  Connection Connect() { return Connection(session_->place()); }

  ScriptedNode node_;
  const std::unique_ptr<LibrarySession> session_;
};

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

// Who connects and says nothing has no more than some dozens of connections, the oldest of which end.
TEST_F(LibraryTest, TheOldestOfManyWhoSayNothingIsLetGo) {
  std::vector<Connection> silent;
  for (int i = 0; i < 100; ++i) silent.push_back(Connect());
  EXPECT_TRUE(silent.front().IsLetGo());
  Connection client = Connect();
  EXPECT_EQ(client.Greet().Open().told.result, 0);
}

TEST_F(LibraryTest, AThreadHasNotManyConnections) {
  std::vector<Connection> many;
  for (int i = 0; i < 16; ++i) {
    many.push_back(Connect());
    EXPECT_EQ(many.back().Greet().Open().told.result, 0);
  }
  Connection one_more = Connect();
  EXPECT_TRUE(one_more.Greet().IsLetGo());
}

// Its number is somebody else's soon, and another process may have its connection.
TEST_F(LibraryTest, AConnectionOfAProcessThatHasEndedIsLetGo) {
  auto ends = *MakeSocketPair();
  const pid_t child = fork();
  if (child == 0) {
    Connection client = Connect();
    const Heard opened = client.Greet().Open();
    const int files[] = {client.socket(), opened.files.empty() ? -1 : opened.files[0].get()};
    (void)SendDatagram(ends.second.get(), std::as_bytes(std::span(&opened.told.file, 1)), files);
    _exit(0);
  }
  uint64_t file = 0;
  Result<Datagram> got = ReceiveDatagram(ends.first.get(), std::as_writable_bytes(std::span(&file, 1)));
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(got.ok());
  ASSERT_EQ(got->files.size(), 2u);
  std::atomic<int> calls = 0;
  node_.ioctl = [&](auto request) {
    ++calls;
    request->Answer(0, {});
  };
  Connection heir(std::move(got->files[0]));
  heir.Say(file);
  EXPECT_TRUE(heir.IsLetGo());
  EXPECT_EQ(calls, 0);
}

// -- Files that are slow to close

// A file whose last close waits until this goes: what it has sent is not read by anybody.
class Lingering {
 public:
  Lingering() {
    const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    socklen_t bytes = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);  // Safety: the interface's way
    EXPECT_EQ(bind(listener.get(), any, bytes), 0);
    EXPECT_EQ(listen(listener.get(), 1), 0);
    EXPECT_EQ(getsockname(listener.get(), any, &bytes), 0);
    file_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(file_.get(), any, bytes), 0);
    reader_ = UniqueFd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const linger long_time = {.l_onoff = 1, .l_linger = 3600};
    EXPECT_EQ(setsockopt(file_.get(), SOL_SOCKET, SO_LINGER, &long_time, sizeof(long_time)), 0);
    const std::vector<char> text(1 << 16);
    while (send(file_.get(), text.data(), text.size(), MSG_DONTWAIT) > 0) {
    }
  }
  int file() const { return file_.get(); }
  void GiveAway() { file_.reset(); }

 private:
  UniqueFd file_, reader_;
};

class SlowClose : public LibraryTest {
 protected:
  SlowClose() {
    node_.open = [this](auto request) {
      Event* const held = held_.exchange(nullptr);
      if (held == nullptr) return request->Accept(7);
      Event* const sent = sent_;
      held->Set();
      sent->Wait();
      request->Refuse(EBADF);
    };
  }
  ~SlowClose() override {
    slow_.clear();  // the closes end before the session does
  }
  // Sends a file whose last descriptor is the one that is sent: who reads for all does not until then.
  void SendSlow(const std::function<void(int file)>& send) {
    Lingering& slow = *slow_.emplace_back(std::make_unique<Lingering>());
    Event held, sent;
    sent_ = &sent;
    held_ = &held;
    Connection holder = Connect();
    Said asks = {};
    asks.kind = say::kOpen;
    asks.number = 1;
    holder.Greet().Send(asks);
    held.Wait();
    send(slow.file());
    slow.GiveAway();
    sent.Set();
    EXPECT_EQ(holder.Hear().told.result, -EBADF);
  }
  void SendSlow(Connection& connection, const Said& said) {
    SendSlow([&](int file) { connection.Send(said, {}, std::span(&file, 1)); });
  }
  void OthersGoOn() {
    Connection other = Connect();
    const Heard opened = other.Greet().Open();
    ASSERT_FALSE(opened.ended);
    other.Say(opened.told.file);
    EXPECT_EQ(other.Hear().told.kind, tell::kAnswer);
  }
  std::vector<std::unique_ptr<Lingering>> slow_;
  std::atomic<Event*> held_ = nullptr, sent_ = nullptr;  // of an open that who reads for all waits in
};

TEST_F(SlowClose, OfAStrangerKeepsNobodyWaiting) {
  for (int i = 0; i < 8; ++i) {
    Connection stranger = Connect();
    SendSlow(stranger, stranger.Hello());
    EXPECT_TRUE(stranger.IsLetGo());
    OthersGoOn();
  }
}

TEST_F(SlowClose, OfAClientKeepsNobodyWaiting) {
  for (int i = 0; i < 8; ++i) {
    Connection client = Connect();
    Said senseless = {};
    senseless.kind = say::kInterrupt;
    SendSlow(client.Greet(), senseless);
    EXPECT_TRUE(client.IsLetGo());
    OthersGoOn();
  }
}

TEST_F(SlowClose, OfWhatIsShownInsteadOfTheNodeKeepsNobodyWaiting) {
  Connection owner = Connect();
  const Heard opened = owner.Greet().Open();
  for (int i = 0; i < 8; ++i) {
    Connection liar = Connect();
    liar.Greet().Say(opened.told.file);
    const Heard ask = liar.Hear();
    Said done = {};
    done.kind = say::kDone;
    done.number = ask.told.number;
    SendSlow(liar, done);
    EXPECT_EQ(liar.Hear().told.result, -EBADF);
    OthersGoOn();
  }
}

TEST_F(SlowClose, OfWhatNobodyHasReadKeepsNobodyWaiting) {
  Connection client = Connect();
  client.Greet();
  Said senseless = {};
  senseless.kind = 99;
  SendSlow([&](int file) {
    client.Send(senseless);
    client.Send(senseless, {}, std::span(&file, 1));
  });
  EXPECT_TRUE(client.IsLetGo());
  OthersGoOn();
}

TEST_F(SlowClose, OfWhatWasSentToADescriptorOfTheNodeKeepsNobodyWaiting) {
  Connection client = Connect();
  Heard opened = client.Greet().Open();
  SendSlow([&](int file) {
    const std::byte text[1] = {};
    iovec piece = PieceOf(text);
    EXPECT_EQ(SendPieces(opened.files[0].get(), std::span(&piece, 1), std::span(&file, 1), true), 1);
    opened.files.clear();
  });
  OthersGoOn();
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
