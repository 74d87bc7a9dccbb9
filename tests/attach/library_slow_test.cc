// Clients of --attach=preload that want more than they may: connections, and files that are slow to close.

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "tests/attach/library_fixture.h"

namespace dxg::attach::library {
namespace {

// -- Connections

// Who connects and says nothing has no more than some dozens of connections, the oldest of which end.
TEST_F(LibraryTest, TheOldestOfManyWhoSayNothingIsLetGo) {
  std::vector<Connection> silent;
  for (int i = 0; i < 100; ++i) silent.push_back(Connect());
  Connection client = Connect();
  EXPECT_EQ(client.Greet().Open().told.result, 0);
  ASSERT_FALSE(silent.front().HearsNothing());  // all who came before are let in, or not
  EXPECT_TRUE(silent.front().IsLetGo());
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
    Connection holder = Connect();
    SendSlow(holder.Greet(), send);
  }
  // With a connection that has no other call.
  void SendSlow(Connection& holder, const std::function<void(int file)>& send) {
    Lingering& slow = *slow_.emplace_back(std::make_unique<Lingering>());
    Event held, sent;
    sent_ = &sent;
    held_ = &held;
    Said asks = {};
    asks.kind = say::kOpen;
    asks.number = 1;
    holder.Send(asks);
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

// More of them than may wait to be closed.
TEST_F(SlowClose, OfManyStrangersKeepsNobodyOut) {
  Said senseless = {};
  senseless.kind = 99;
  Connection holder = Connect();
  holder.Greet();
  for (int i = 0; i < 100; ++i) {
    Connection stranger = Connect();
    SendSlow(holder, [&](int file) {
      stranger.Send(senseless);
      stranger.Send(senseless, {}, std::span(&file, 1));
    });
    EXPECT_TRUE(stranger.IsLetGo());
  }
  OthersGoOn();
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

// Nobody has read what it has sent when it is let go: by who reads for all, for one who has connected since.
TEST_F(SlowClose, OfWhoMakesRoomForOthersKeepsNobodyWaiting) {
  constexpr int kNewcomersOfUserMax = 32;
  Connection holder = Connect(), other = Connect();
  holder.Greet();
  const Heard opened = other.Greet().Open();
  std::vector<Connection> silent;
  for (int i = 0; i < kNewcomersOfUserMax; ++i) {
    silent.push_back(Connect());
    // By the answer, one more of those who came before is let in.
    for (int call = 0; call < 2; ++call) {
      other.Say(opened.told.file);
      EXPECT_EQ(other.Hear().told.kind, tell::kAnswer);
    }
  }
  EXPECT_TRUE(silent.front().HearsNothing());
  std::optional<Connection> one_more;
  SendSlow(holder, [&](int file) {
    one_more.emplace(session_->place());
    silent.front().Send(silent.front().Hello(), {}, std::span(&file, 1));
  });
  EXPECT_TRUE(silent.front().IsLetGo());
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

}  // namespace
}  // namespace dxg::attach::library
