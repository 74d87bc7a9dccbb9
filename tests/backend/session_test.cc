// A device that makes trouble for the host process.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ringbuffer_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <functional>

#include "base/printable.h"
#include "hostsim/serve/socket_session.h"
#include "link/socket/connection.h"
#include "proto/dxg/protocol.pb.h"
#include "tests/backend/backend_client.h"
#include "tests/backend/raw_peer.h"
#include "tests/backend/running_host.h"

namespace dxg {
namespace {

using protocol::FromHost;
using protocol::ToHost;
using socket::Framed;
using socket::MemoryFile;
using socket::ReceiveMessage;
using socket::SendMessage;
using socket::SendRaw;

// A device of our own, by hand.
UniqueFd ConnectRaw(const std::string& path) {
  auto connected = socket::Connect(path, "--backend");
  EXPECT_TRUE(connected.ok()) << connected.status().why();
  UniqueFd peer = *std::move(connected);
  fcntl(peer.get(), F_SETFL, 0);  // it blocks
  return peer;
}

// Returns when the host serves it.
void GreetRaw(const UniqueFd& peer, const std::string& program = {}) {
  ToHost hello;
  hello.mutable_hello()->set_version(1);
  hello.mutable_hello()->set_program(program);
  SendMessage(peer, hello);
  for (FromHost message; !message.has_started();) ASSERT_TRUE(ReceiveMessage(peer, &message));
}

struct Intruder {
  const char* name;
  bool greets;
  std::function<void(const UniqueFd& peer)> make;
};
void PrintTo(const Intruder& intruder, std::ostream* out) { *out << intruder.name; }

ToHost CallOf(uint32_t command, std::string request = {}) {
  ToHost message;
  auto& call = *message.mutable_calls()->add_calls();
  call.set_number(1);
  call.set_command(command);
  call.set_request(std::move(request));
  return message;
}

const Intruder kIntruders[] = {
    {"does_not_greet", false, [](auto& peer) { SendMessage(peer, CallOf(1000)); }},
    {"sends_nothing_as_a_greeting", false, [](auto& peer) { SendRaw(peer, Framed("")); }},
    {"speaks_another_version", false,
     [](auto& peer) {
       ToHost message;
       message.mutable_hello()->set_version(2);
       SendMessage(peer, message);
     }},
    {"wants_too_many_adapters", false,
     [](auto& peer) {
       ToHost message;
       message.mutable_hello()->set_version(1);
       for (int i = 0; i < 65; ++i) message.mutable_hello()->add_adapters()->set_name("compute");
       SendMessage(peer, message);
     }},
    {"offers_rings_without_their_descriptors", false,
     [](auto& peer) {
       ToHost message;
       message.mutable_hello()->set_version(1);
       message.mutable_hello()->add_features(socket::kFeatureRings);
       SendMessage(peer, message);
     }},
    {"greets_twice", true,
     [](auto& peer) {
       ToHost message;
       message.mutable_hello()->set_version(1);
       SendMessage(peer, message);
     }},
    {"sends_a_frame_that_is_too_long", true,
     [](auto& peer) { SendRaw(peer, socket::LengthOf(socket::kFrameBytesMax + 1)); }},
    {"sends_no_message", true, [](auto& peer) { SendRaw(peer, Framed("\xFF\xFF\xFF")); }},
    {"sends_an_unknown_command", true, [](auto& peer) { SendMessage(peer, CallOf(123456)); }},
    {"sends_no_request", true, [](auto& peer) { SendMessage(peer, CallOf(1000, "\xFF\xFF\xFF")); }},
    {"promises_descriptors", true,
     [](auto& peer) {
       ToHost message;
       message.set_descriptors(1);
       message.set_ping(1);
       SendMessage(peer, message);
     }},
    {"removes_pages_that_it_has_not", true,
     [](auto& peer) {
       ToHost message;
       auto& question = *message.mutable_question();
       question.set_number(1);
       question.mutable_add_client_pages()->set_size(kPage);
       message.set_descriptors(1);
       const UniqueFd file = MemoryFile(kPage);
       const int descriptors[] = {file.get()};
       SendMessage(peer, message, descriptors);
       message.Clear();
       message.set_remove_client_pages(4711);
       SendMessage(peer, message);
     }},
};

class DeviceTrouble : public SocketHostTest, public testing::WithParamInterface<Intruder> {};

TEST_P(DeviceTrouble, EndsItsConnectionAndNothingElse) {
  BackendClient other(ConnectTo(path()));
  other.OpenProcess();
  const UniqueFd peer = ConnectRaw(path());
  if (GetParam().greets) GreetRaw(peer);
  GetParam().make(peer);
  while (!socket::ReceiveRaw(peer, 1).empty()) {
  }  // until the host closes it
  EXPECT_NE(other.NewDevice().handle, 0u);
}

INSTANTIATE_TEST_SUITE_P(All, DeviceTrouble, testing::ValuesIn(kIntruders),
                         [](const auto& each) { return each.param.name; });

// What is logged from here on, instead of being printed.
class KeptLog {
 public:
  KeptLog() { spdlog::set_default_logger(std::make_shared<spdlog::logger>("kept", lines_)); }
  ~KeptLog() { spdlog::set_default_logger(before_); }
  std::string text() const {
    std::string text;
    for (const std::string& line : lines_->last_formatted()) text += line;
    return text;
  }

 private:
  const std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
  const std::shared_ptr<spdlog::sinks::ringbuffer_sink_mt> lines_ =
      std::make_shared<spdlog::sinks::ringbuffer_sink_mt>(100);
};

class HostLog : protected KeptLog, public SocketHostTest {};  // kept before the host runs

TEST_F(HostLog, HasNoLinesOfADevicesMaking) {
  const UniqueFd peer = ConnectRaw(path());
  GreetRaw(peer, "cuse-dxg\n00:00 \x1b[2J" + std::string(socket::kFrameBytesMax / 2, 'x'));
  const std::string log = text();
  EXPECT_NE(log.find(": cuse-dxg\\x0a00:00 \\x1b[2Jxxx"), std::string::npos) << log;
  EXPECT_EQ(log.find('\x1b'), std::string::npos);
  EXPECT_LT(log.size(), 2 * kPrintableBytesMax);
}

// The host's answers to QueryAdapterInfo take an hour from here on.
void SlowDown(const UniqueFd& peer) {
  ToHost message;
  auto& question = *message.mutable_question();
  question.set_number(1);
  FaultRule& rule = *question.mutable_control()->mutable_set_fault();
  rule.set_point("host-slow");
  rule.set_command("QUERYADAPTERINFO");
  rule.set_every(1);
  rule.set_delay_ns(3'600'000'000'000);
  SendMessage(peer, message);
  FromHost answer;
  ASSERT_TRUE(ReceiveMessage(peer, &answer) && answer.has_controlled()) << answer.ShortDebugString();
  ASSERT_EQ(answer.controlled().reply().error(), "");
}

constexpr size_t kLongBytes = 512 * 1024;
static_assert(hostsim::serve::SocketSession::kWaitingBytesMax % kLongBytes == 0);
constexpr size_t kLongsThatMayWait = hostsim::serve::SocketSession::kWaitingBytesMax / kLongBytes;

// A call with a request of exactly so many bytes.
ToHost CallOfBytes(uint64_t number, size_t bytes) {
  constexpr size_t kTagAndLengthBytes = 1 + 3;
  host::QueryAdapterInfo::Request request;
  if (bytes != 0) request.set_private_data(std::string(bytes - kTagAndLengthBytes, 'x'));
  EXPECT_EQ(request.ByteSizeLong(), bytes);
  ToHost message =
      CallOf(contract::kHostCommandId<host::QueryAdapterInfo::Request>, request.SerializeAsString());
  message.mutable_calls()->mutable_calls(0)->set_number(number);
  return message;
}

// The host has taken all that was sent, and only says that.
void ExpectOnlyAPong(const UniqueFd& peer) {
  ToHost ping;
  ping.set_ping(1);
  SendMessage(peer, ping);
  FromHost answer;
  ASSERT_TRUE(ReceiveMessage(peer, &answer)) << "the host has closed it";
  EXPECT_TRUE(answer.has_pong()) << answer.ShortDebugString().substr(0, 100);
}

TEST_F(HostLog, SaysWhyADeviceWithTooManyBytesThatWaitIsLetGo) {
  const UniqueFd peer = ConnectRaw(path());
  GreetRaw(peer);
  SlowDown(peer);
  uint64_t number = 0;
  for (size_t i = 0; i < kLongsThatMayWait; ++i) SendMessage(peer, CallOfBytes(++number, kLongBytes));
  ExpectOnlyAPong(peer);
  SendMessage(peer, CallOfBytes(++number, 0));
  ExpectOnlyAPong(peer);
  host::QueryAdapterInfo::Request beyond;
  beyond.set_query_type(1);  // two bytes, which is the fewest
  SendMessage(peer,
              CallOf(contract::kHostCommandId<host::QueryAdapterInfo::Request>, beyond.SerializeAsString()));
  ToHost ping;  // so that a host which lives on says so
  ping.set_ping(2);
  SendMessage(peer, ping);
  EXPECT_EQ(socket::ReceiveRaw(peer, 1), "") << "the host closes it";
  EXPECT_NE(text().find("over: the requests of its calls that wait have more than 67108864 bytes"),
            std::string::npos)
      << text();
}

TEST_F(SocketHostTest, CallsThatHaveTheirAnswerDoNotWait) {
  const UniqueFd peer = ConnectRaw(path());
  GreetRaw(peer);
  for (uint64_t number = 1; number <= kLongsThatMayWait + 2; ++number) {
    SendMessage(peer, CallOfBytes(number, kLongBytes));
    FromHost message;
    do {
      ASSERT_TRUE(ReceiveMessage(peer, &message)) << "the host has closed it after " << number;
    } while (!message.has_answer());
    EXPECT_EQ(message.answer().number(), number);
  }
}

// As a user with limits (root has none), in a process of its own. Ends it.
[[noreturn]] void ServeWithoutThreads() {
  constexpr uid_t kNobody = 65534;
  spdlog::set_default_logger(spdlog::stderr_logger_mt("host"));
  if (geteuid() == 0 && setuid(kNobody) != 0) _exit(2);
  {
    RunningHost host;
    rlimit processes = {};
    EXPECT_EQ(getrlimit(RLIMIT_NPROC, &processes), 0);
    const rlimit none = {.rlim_cur = 0, .rlim_max = processes.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NPROC, &none), 0);
    const UniqueFd refused = ConnectRaw(host.path());
    EXPECT_EQ(socket::ReceiveRaw(refused, 1), "") << "the host closes it";
    EXPECT_EQ(setrlimit(RLIMIT_NPROC, &processes), 0);
    GreetRaw(ConnectRaw(host.path()));
  }
  _exit(testing::Test::HasFailure() ? 1 : 0);
}

TEST(SocketHostDeathTest, ADeviceThatGetsNoThreadIsLetGoAndTheNextIsServed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(ServeWithoutThreads(), testing::ExitedWithCode(0), "is let go: no thread to serve it");
}

}  // namespace
}  // namespace dxg
