// Accounts go down as well as up: more than the maximum in total, never at once.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "base/unique_fd.h"
#include "hostsim/serve/socket_session.h"
#include "link/simulated_bus/packet_channel.h"
#include "link/socket/connection.h"
#include "proto/contract/host_commands.gen.h"
#include "proto/dxg/host.pb.h"
#include "proto/dxg/protocol.pb.h"
#include "tests/backend/raw_peer.h"
#include "tests/backend/running_host.h"

namespace dxg {
namespace {

using protocol::FromHost;
using protocol::ToHost;

// Two ends of a connection; what the one keeps is flushed by hand.
class ConnectionAccounts : public testing::Test {
 protected:
  ConnectionAccounts() {
    auto [one, other] = socket::SocketPair();
    sender = std::make_unique<socket::Connection>(std::move(one));
    receiver = std::make_unique<socket::Connection>(std::move(other));
  }
  static FromHost Message(size_t bytes, uint32_t descriptors) {
    FromHost message;
    message.mutable_answer()->set_number(1);
    message.mutable_answer()->set_reply(std::string(bytes, 'x'));
    message.set_descriptors(descriptors);
    return message;
  }
  // Until nothing is kept or under way; what came is taken.
  void Flush() {
    while (sender->keeps() || receiver->HasMore()) {
      for (socket::Connection* each : {sender.get(), receiver.get()}) {
        const auto woken = each->Wait(0);
        ASSERT_TRUE(woken.ok()) << woken.status().why();
      }
      while (receiver->Next()) ++frames;
      while (receiver->TakeDescriptor().valid()) ++descriptors;
    }
  }

  std::unique_ptr<socket::Connection> sender, receiver;
  size_t frames = 0, descriptors = 0;
};

TEST_F(ConnectionAccounts, OfDescriptorsThatAreKept) {
  const UniqueFd file = socket::MemoryFile(1);
  const int one[] = {file.get()};
  size_t sent = 0;
  while (sent < 3 * socket::Connection::kKeptDescriptorsMax) {
    while (!sender->keeps()) ASSERT_TRUE(sender->Send(Message(100'000, 0)));
    for (size_t i = 0; i < socket::Connection::kKeptDescriptorsMax / 2; ++i, ++sent)
      ASSERT_TRUE(sender->Send(Message(0, 1), one)) << "after " << sent;
    Flush();
  }
  Flush();
  EXPECT_EQ(descriptors, sent);
}

TEST_F(ConnectionAccounts, OfBytesThatAreKept) {
  constexpr size_t kBytes = socket::kFrameBytesMax / 2;
  size_t sent = 0;
  while (sent < 2 * socket::Connection::kKeptBytesMax) {
    for (size_t i = 0; i < socket::Connection::kKeptBytesMax / 2 / kBytes; ++i, sent += kBytes)
      ASSERT_TRUE(sender->Send(Message(kBytes, 0))) << "after " << sent;
    Flush();
  }
  EXPECT_EQ(frames, sent / kBytes);
}

TEST(PacketInboxAccounts, OfBytesThatWait) {
  constexpr size_t kPayload = 1 << 20;
  vmbus::PacketInbox inbox;
  const std::vector<std::byte> payload(kPayload);
  vmbus::link::Received received{};
  received.payload = payload;
  size_t handled = 0;
  const size_t all = 3 * vmbus::PacketInbox::kBytesMax / kPayload;
  for (int i = 0; i < 4; ++i) inbox.Put(received);
  const Status status = inbox.Run([&](const vmbus::Packet& packet) {
    EXPECT_EQ(packet.payload.size(), kPayload);
    if (++handled + 4 <= all) return inbox.Put(received);
    if (handled == all) inbox.End(Status::Ok());
  });
  EXPECT_TRUE(status.ok()) << status.why();
  EXPECT_EQ(handled, all);
}

// Calls that are answered do not count any more, neither by number nor by bytes.
TEST(SessionAccounts, OfCallsThatWait) {
  constexpr size_t kBytes = 120'000;
  RunningHost host;
  auto connected = socket::Connect(host.path(), "--backend");
  ASSERT_TRUE(connected.ok());
  const UniqueFd peer = *std::move(connected);
  fcntl(peer.get(), F_SETFL, 0);  // it blocks
  ToHost hello;
  hello.mutable_hello()->set_version(1);
  socket::SendMessage(peer, hello);
  for (FromHost message; !message.has_started();) ASSERT_TRUE(socket::ReceiveMessage(peer, &message));

  host::Escape::Request request;
  request.set_priv_drv_data(std::string(kBytes, 'x'));
  request.set_priv_drv_data_size(kBytes);
  ToHost message;
  auto& call = *message.mutable_calls()->add_calls();
  call.set_command(contract::FindHostCommand(contract::kHostCommandId<host::Escape::Request>)->id);
  call.set_request(request.SerializeAsString());
  const size_t calls = 2 * hostsim::serve::SocketSession::kWaitingBytesMax / kBytes;
  for (size_t i = 1; i <= calls; ++i) {
    call.set_number(i);
    socket::SendMessage(peer, message);
    for (FromHost answer; answer.answer().number() != i;)
      ASSERT_TRUE(socket::ReceiveMessage(peer, &answer)) << "after " << i * kBytes << " bytes";
  }
}

}  // namespace
}  // namespace dxg
