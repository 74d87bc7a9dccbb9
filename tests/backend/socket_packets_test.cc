// Calls and answers that are packets of their own in a ring (packets.h): how they look, and what becomes of
// those that make no sense.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "link/socket/connection.h"
#include "link/socket/packets.h"
#include "link/socket/rings.h"
#include "proto/dxg/host.pb.h"
#include "proto/dxg/protocol.pb.h"
#include "tests/backend/backend_client.h"
#include "tests/backend/running_host.h"

namespace dxg {
namespace {

using protocol::FromHost;
using protocol::ToHost;
using socket::Connection;
using socket::Rings;
using vmbus::kCompletion;
using vmbus::kCompletionRequested;
using vmbus::kInBand;
using Bytes = std::vector<std::byte>;

Bytes BytesOf(std::initializer_list<int> values) {
  Bytes bytes;
  for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}
Bytes Copy(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

FromHost Pong(uint64_t number) {
  FromHost message;
  message.set_pong(number);
  return message;
}

const contract::CommandRow& CreateProcess() {
  return *contract::FindHostCommand(contract::kHostCommandId<host::CreateProcess::Request>);
}

// -- How they look --------------------------------------------------------------------------------

TEST(SocketPackets, ACallIsItsHeadAndTheRequest) {
  const auto packet = socket::MakeCall({7, 0x1234, 0x40000005, 0x0102030405060708, {}}, Pong(5));
  EXPECT_TRUE(socket::IsCall(packet));
  EXPECT_FALSE(socket::IsAnswer(packet));
  EXPECT_EQ(packet.transaction, 7u);
  EXPECT_EQ(Copy(packet.payload), BytesOf({0x34, 0x12, 0, 0, 5, 0, 0, 0x40, 8, 7, 6, 5,    4,
                                           3,    2,    1, 2, 0, 0, 0, 0,    0, 0, 0, 0x60, 5}));
  const auto call = socket::ReadCall(packet);
  ASSERT_TRUE(call);
  EXPECT_EQ(call->number, 7u);
  EXPECT_EQ(call->command, 0x1234u);
  EXPECT_EQ(call->process, 0x40000005u);
  EXPECT_EQ(call->adapter, 0x0102030405060708u);
  EXPECT_EQ(Copy(call->request), BytesOf({0x60, 5}));
}

TEST(SocketPackets, AnAnswerIsItsHeadAndTheReply) {
  const auto packet = socket::MakeAnswer(7, Pong(5));
  EXPECT_TRUE(socket::IsAnswer(packet));
  EXPECT_FALSE(socket::IsCall(packet));
  EXPECT_EQ(packet.transaction, 7u);
  EXPECT_EQ(Copy(packet.payload), BytesOf({2, 0, 0, 0, 0, 0, 0, 0, 0x60, 5}));
  const auto answer = socket::ReadAnswer(packet);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->number, 7u);
  EXPECT_EQ(Copy(answer->reply), BytesOf({0x60, 5}));
}

TEST(SocketPackets, WhatIsShorterThanItSaysIsNone) {
  const Bytes call = Copy(socket::MakeCall({1, 2, 3, 4, {}}, Pong(5)).payload);
  for (size_t bytes = 0; bytes < call.size(); ++bytes)
    EXPECT_FALSE(socket::ReadCall({kInBand, kCompletionRequested, 1, std::span(call).first(bytes)})) << bytes;
  const Bytes answer = Copy(socket::MakeAnswer(1, Pong(5)).payload);
  for (size_t bytes = 0; bytes < answer.size(); ++bytes)
    EXPECT_FALSE(socket::ReadAnswer({kCompletion, 0, 1, std::span(answer).first(bytes)})) << bytes;
}

// -- On their way ---------------------------------------------------------------------------------

// Both ends of a connection, this one with its rings in its own hands.
struct ByHand {
  explicit ByHand(UniqueFd socket)
      : socket_(std::move(socket)), channel(UniqueFd(fcntl(socket_.get(), F_DUPFD_CLOEXEC, 0))) {}

  // The next frame that comes by the socket.
  template <class Message>
  Message Receive() {
    std::optional<socket::Incoming> incoming;
    while (!(incoming = channel.Next())) {
      if (!channel.Wait(-1).ok()) return {};
    }
    Message message;
    EXPECT_TRUE(message.ParseFromArray(incoming->message.data(), static_cast<int>(incoming->message.size())));
    return message;
  }
  void Put(uint16_t type, uint16_t flags, uint64_t transaction, std::span<const std::byte> payload) {
    EXPECT_EQ(rings->outgoing.Add({type, flags, transaction, payload}), vmbus::OutgoingRing::Put::kYes);
    rings->outgoing.Publish();
    rings->Ring();
  }
  void Put(const vmbus::Packet& packet) {
    Put(packet.type, packet.flags, packet.transaction, packet.payload);
  }
  void PutFrame(const google::protobuf::Message& message) {
    const std::string frame = socket::Framed(message.SerializeAsString());
    Put(kInBand, 0, 0, std::as_bytes(std::span(frame)));
  }
  // The next that comes by the ring, and is no frame.
  vmbus::Packet Take() {
    vmbus::Packet packet;
    for (;;) {
      while (rings->incoming.Next(&packet) != vmbus::IncomingRing::Got::kPacket) {
        pollfd bell = {rings->bell(), POLLIN, 0};
        poll(&bell, 1, -1);
      }
      if (socket::IsCall(packet) || socket::IsAnswer(packet)) return packet;
    }
  }
  // Until the other side closes it.
  void AwaitEnd() {
    while (!socket::ReceiveRaw(socket_, 1).empty()) {
    }
  }

  UniqueFd socket_;
  Connection channel;
  std::unique_ptr<Rings> rings;
};

// A device.
struct Device : ByHand {
  explicit Device(const std::string& path) : ByHand(*socket::Connect(path, "--backend")) {
    fcntl(socket_.get(), F_SETFL, 0);  // it blocks
    rings = *Rings::Make();
    ToHost hello;
    hello.mutable_hello()->set_version(1);
    hello.mutable_hello()->add_features(socket::kFeatureRings);
    hello.set_descriptors(Rings::kDescriptors);
    EXPECT_TRUE(channel.Send(hello, rings->descriptors()));
    EXPECT_TRUE(Receive<FromHost>().has_hello());
  }
};

using Packets = SocketHostTest;

TEST_F(Packets, ACallIsAnsweredByOne) {
  Device device(path());
  host::CreateProcess::Request request;
  device.Put(socket::MakeCall({7, CreateProcess().id, 0, 0, {}}, request));
  const vmbus::Packet packet = device.Take();
  const auto answer = socket::ReadAnswer(packet);
  ASSERT_TRUE(socket::IsAnswer(packet) && answer);
  EXPECT_EQ(answer->number, 7u);
  host::CreateProcess::Reply reply;
  ASSERT_TRUE(reply.ParseFromArray(answer->reply.data(), static_cast<int>(answer->reply.size())));
  EXPECT_NE(reply.process(), 0u);
}

struct Nonsense {
  const char* name;
  std::function<void(ByHand& by)> put;
};
void PrintTo(const Nonsense& nonsense, std::ostream* out) { *out << nonsense.name; }
std::string NameOf(const testing::TestParamInfo<Nonsense>& each) { return each.param.name; }

const Nonsense kOfDevices[] = {
    {"an_answer", [](ByHand& by) { by.Put(socket::MakeAnswer(1, Pong(1))); }},
    {"a_call_that_is_short",
     [](ByHand& by) {
       by.Put(kInBand, kCompletionRequested, 1, BytesOf({1, 0, 0, 0, 0, 0, 0, 0}));
     }},
    {"an_unknown_command",
     [](ByHand& by) {
       by.Put(socket::MakeCall({1, 123456, 0, 0, {}}, Pong(1)));
     }},
    {"a_request_that_is_none",
     [](ByHand& by) {
       Bytes call = Copy(socket::MakeCall({1, CreateProcess().id, 0, 0, {}}, Pong(1)).payload);
       call.back() = call[call.size() - 2] = std::byte{0xff};
       by.Put(kInBand, kCompletionRequested, 1, call);
     }},
    {"a_packet_of_no_kind", [](ByHand& by) { by.Put(99, 0, 1, {}); }},
};

class DeviceNonsense : public Packets, public testing::WithParamInterface<Nonsense> {};

TEST_P(DeviceNonsense, EndsItsConnectionAndNothingElse) {
  BackendClient other(ConnectTo(path()));
  other.OpenProcess();
  Device device(path());
  GetParam().put(device);
  device.AwaitEnd();
  EXPECT_NE(other.NewDevice().handle, 0u);
}

INSTANTIATE_TEST_SUITE_P(All, DeviceNonsense, testing::ValuesIn(kOfDevices), NameOf);

const Nonsense kOfHosts[] = {
    {"a_call",
     [](ByHand& by) {
       by.Put(socket::MakeCall({1, 2, 3, 4, {}}, Pong(1)));
     }},
    {"an_answer_to_nothing", [](ByHand& by) { by.Put(socket::MakeAnswer(12345, Pong(1))); }},
    {"an_answer_to_number_0", [](ByHand& by) { by.Put(socket::MakeAnswer(0, Pong(1))); }},
    {"an_answer_that_is_short",
     [](ByHand& by) {
       by.Put(kCompletion, 0, 1, BytesOf({1, 0, 0, 0, 0, 0, 0, 0}));
     }},
    {"a_reply_that_is_none",
     [](ByHand& by) {
       by.Put(kCompletion, 0, 1, BytesOf({2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}));
     }},
    {"a_packet_of_no_kind", [](ByHand& by) { by.Put(99, 0, 1, {}); }},
};

class HostNonsense : public testing::TestWithParam<Nonsense> {};

// The host of these takes the call, and then says what makes no sense.
TEST_P(HostNonsense, EndsTheCallAndIsALossOfTheHost) {
  socket::TestDirectory directory;
  const std::string path = directory.path() + "/host";
  UniqueFd listener = *socket::Listen(path, "--listen");
  std::thread host([&] {
    pollfd somebody = {listener.get(), POLLIN, 0};
    poll(&somebody, 1, -1);
    ByHand peer(UniqueFd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)));
    EXPECT_TRUE(peer.Receive<ToHost>().has_hello());
    std::vector<UniqueFd> descriptors(Rings::kDescriptors);
    for (UniqueFd& each : descriptors) each = peer.channel.TakeDescriptor();
    peer.rings = *Rings::Take(std::move(descriptors));
    FromHost message;
    message.mutable_hello()->set_version(1);
    message.mutable_hello()->add_features(socket::kFeatureRings);
    EXPECT_TRUE(peer.channel.Send(message));
    message.mutable_started();
    peer.PutFrame(message);
    EXPECT_TRUE(socket::IsCall(peer.Take()));
    GetParam().put(peer);
    peer.AwaitEnd();
  });
  struct Guest final : NoEvents {
    void HostLost() override { lost.set_value(); }
    std::promise<void> lost;
  } guest;
  const auto backend = ConnectTo(path);
  ASSERT_TRUE(backend->Start(&guest).ok());
  host::CreateProcess::Request request;
  host::CreateProcess::Reply reply;
  std::promise<int> ended;
  const auto complete = [](void* context, Status status) {
    static_cast<std::promise<int>*>(context)->set_value(status.value());
  };
  backend->Submit({&CreateProcess(), 0, 0, &request, &reply}, {complete, &ended});
  guest.lost.get_future().wait();
  EXPECT_EQ(ended.get_future().get(), -ENODEV);
  EXPECT_EQ(reply.ByteSizeLong(), 0u);
  backend->Stop();
  host.join();
}

INSTANTIATE_TEST_SUITE_P(All, HostNonsense, testing::ValuesIn(kOfHosts), NameOf);

}  // namespace
}  // namespace dxg
