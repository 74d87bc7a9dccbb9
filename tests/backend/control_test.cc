#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/unique_fd.h"
#include "base/unix_socket.h"
#include "cuse-dxg/control/address.h"
#include "cuse-dxg/control/ctl.h"
#include "cuse-dxg/control/server.h"
#include "hostsim/adapter/profile.h"
#include "hostsim/backend/in_process.h"

namespace dxg::control {
namespace {

std::string Packet(const ControlRequest& request) { return request.SerializeAsString(); }

class ControlTest : public testing::Test {
 protected:
  ControlTest()
      : backend_(*hostsim::CreateInProcessBackend({})), path_(std::string(mkdtemp(directory_)) + "/control") {
    Result<std::unique_ptr<Server>> server = Server::Start(path_, *backend_->control());
    EXPECT_TRUE(server.ok()) << server.status().why();
    if (server.ok()) server_ = *std::move(server);
  }
  ~ControlTest() override {
    server_.reset();
    std::filesystem::remove_all(directory_);
  }
  UniqueFd Connect() {
    UniqueFd peer(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    const sockaddr_un address = *UnixAddress(path_, kOption);
    EXPECT_EQ(connect(peer.get(), AnyAddress(address), sizeof(address)), 0);
    return peer;
  }
  static ControlReply Receive(const UniqueFd& peer) {
    std::string bytes(kReplyBytesMax, '\0');
    const ssize_t got = recv(peer.get(), bytes.data(), bytes.size(), 0);
    ControlReply reply;
    EXPECT_GT(got, 0);
    EXPECT_TRUE(reply.ParseFromArray(bytes.data(), static_cast<int>(std::max<ssize_t>(got, 0))));
    return reply;
  }
  static ControlReply Ask(const UniqueFd& peer, const std::string& packet) {
    EXPECT_EQ(send(peer.get(), packet.data(), packet.size(), 0), static_cast<ssize_t>(packet.size()));
    return Receive(peer);
  }
  static std::string StatusPacket() {
    ControlRequest request;
    request.mutable_status();
    return Packet(request);
  }
  static ControlRequest Fault(const std::string& point) {
    ControlRequest request;
    request.mutable_set_fault()->set_point(point);
    return request;
  }

  std::unique_ptr<Backend> backend_;
  char directory_[32] = "/tmp/control-test-XXXXXX";
  std::string path_;
  std::unique_ptr<Server> server_;
};

TEST_F(ControlTest, IsForItsOwnerOnly) {
  struct stat file;
  ASSERT_EQ(stat(path_.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777, 0600u);
}

TEST_F(ControlTest, MalformedRequestsAreRefusedAndHarmNobody) {
  const UniqueFd peer = Connect();
  for (const std::string& packet :
       {std::string("\xFF\xFF\xFF"), std::string(100, '\0'), std::string(1000, '\xCC')}) {
    EXPECT_NE(Ask(peer, packet).error(), "");
  }
  EXPECT_NE(Ask(peer, std::string(kRequestBytesMax + 1, 'x')).error().find("at most"), std::string::npos);
  EXPECT_NE(Ask(peer, Packet(Fault("no-such"))).error(), "");
  EXPECT_EQ(Ask(peer, StatusPacket()).error(), "") << "the same peer goes on";
}

TEST_F(ControlTest, TakesTheLargestProfile) {
  const UniqueFd peer = Connect();
  ControlRequest request;
  request.mutable_add_adapter()->set_name(std::string(PATH_MAX, 'p'));
  std::string* text = request.mutable_add_adapter()->mutable_text();
  *text = hostsim::ShippedProfiles().front().text + std::string("\n#");
  text->resize(kProfileBytesMax, 'x');
  EXPECT_EQ(Ask(peer, Packet(request)).error(), "");
}

TEST_F(ControlTest, ArmsListsAndClears) {
  const UniqueFd peer = Connect();
  EXPECT_EQ(Ask(peer, Packet(Fault("ring-full"))).error(), "");
  ControlRequest list;
  list.mutable_list_faults();
  const ControlReply points = Ask(peer, Packet(list));
  int armed = 0;
  for (const auto& point : points.points()) armed += point.rules_size();
  EXPECT_EQ(armed, 1);
  ControlRequest clear;
  clear.mutable_clear_faults()->set_point("ring-full");
  EXPECT_EQ(Ask(peer, Packet(clear)).cleared(), 1u);
}

TEST_F(ControlTest, AdaptersComeAndGo) {
  const UniqueFd peer = Connect();
  ControlRequest add;
  add.mutable_add_adapter()->set_name("compute");
  const ControlReply added = Ask(peer, Packet(add));
  ASSERT_EQ(added.error(), "");
  ASSERT_EQ(added.adapters_size(), 1);
  ControlRequest remove;
  remove.mutable_remove_adapter()->set_luid(added.adapters(0).luid());
  EXPECT_EQ(Ask(peer, Packet(remove)).error(), "");
  EXPECT_NE(Ask(peer, Packet(remove)).error(), "");
  add.mutable_add_adapter()->set_name("nothing");
  EXPECT_NE(Ask(peer, Packet(add)).error(), "");
  add.mutable_add_adapter()->set_text("name: \"x\"");
  EXPECT_NE(Ask(peer, Packet(add)).error(), "");
}

// Who never takes his replies is let go; others are answered all the while.
TEST_F(ControlTest, ASlowPeerBlocksNobody) {
  const UniqueFd slow = Connect();
  ControlRequest list;
  list.mutable_list_faults();
  const std::string packet = Packet(list);
  const UniqueFd other = Connect();
  bool let_go = false;
  for (int i = 0; i < 10'000 && !let_go; ++i) {
    let_go =
        send(slow.get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE;
    if (i % 10 == 0) {
      EXPECT_EQ(Ask(other, StatusPacket()).error(), "");
    }
  }
  EXPECT_TRUE(let_go);
}

TEST_F(ControlTest, OnePeerTooManyIsToldSo) {
  std::vector<UniqueFd> peers;
  for (size_t i = 0; i < kPeersMax; ++i) {
    peers.push_back(Connect());
    EXPECT_EQ(Ask(peers.back(), StatusPacket()).error(), "");
  }
  const UniqueFd extra = Connect();
  EXPECT_NE(Receive(extra).error(), "");
  peers.clear();
  EXPECT_EQ(Ask(peers.emplace_back(Connect()), StatusPacket()).error(), "");
}

TEST_F(ControlTest, TakesOverWhatADeadDaemonLeftAndNothingElse) {
  EXPECT_EQ(Server::Start(path_, *backend_->control()).status().value(), -EADDRINUSE);
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
  {
    const UniqueFd dead(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    const sockaddr_un address = *UnixAddress(path_, kOption);
    ASSERT_EQ(bind(dead.get(), AnyAddress(address), sizeof(address)), 0);
  }
  EXPECT_TRUE(Server::Start(path_, *backend_->control()).ok());
  std::ofstream(path_) << "precious";
  EXPECT_EQ(Server::Start(path_, *backend_->control()).status().value(), -EEXIST);
  EXPECT_TRUE(std::filesystem::exists(path_));
  EXPECT_EQ(Server::Start(std::string(200, 'x'), *backend_->control()).status().value(), -ENAMETOOLONG);
}

TEST(ControlWords, NameEveryFieldOfARule) {
  FaultRule rule;
  rule.set_point("host-slow");
  rule.set_nth(3);
  rule.set_every(2);
  rule.set_probability(0.5);
  rule.set_seed(4);
  rule.set_times(0);
  rule.set_after_ns(5);
  rule.set_process(6);
  rule.set_adapter(0x100000002);
  rule.set_node(7);
  rule.set_command("EVICT");
  rule.set_type(8);
  rule.set_delay_ns(9);
  rule.set_value(10);
  EXPECT_EQ(
      ToWords(rule),
      "host-slow --nth 3 --every 2 --probability 0.5 --seed 4 --times 0 --after-ns 5 --process 6 --adapter "
      "00000001-00000002 --node 7 --command EVICT --type 8 --delay-ns 9 --value 10");
  EXPECT_EQ(rule.GetDescriptor()->field_count(), 14) << "a new field needs an option";
}

}  // namespace
}  // namespace dxg::control
