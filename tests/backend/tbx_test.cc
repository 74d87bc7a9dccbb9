// The simulator channel of Intel's runtime: messages, memory, rings, and what is wrong about any of them.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <spdlog/sinks/ringbuffer_sink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <memory>
#include <ostream>
#include <string>

#include "hostsim/serve/loopback.h"
#include "hostsim/serve/tbx_options.h"
#include "tests/backend/tbx_client.h"

namespace dxg {
namespace {

using hostsim::serve::LoopbackListener;
using hostsim::serve::ParseTbxPlace;
using hostsim::serve::TbxOptionsOf;
using hostsim::serve::TbxPlace;
using hostsim::serve::TbxRoom;
using testing::HasSubstr;

constexpr uint32_t kStore = 0x1000'0002;
constexpr auto kTarget = static_cast<uint32_t>(TbxClient::kBatch + 0x2000);
constexpr uint64_t kTargetData = TbxClient::kData + 0x2000;

TEST(Tbx, MemoryIsWhatWasWrittenAndElseZero) {
  TbxClient client;
  const std::string long_text(200'000, 'x');
  client.Write(0x40'ABFB'C478, "text");
  client.Write(0xFF00, long_text);
  EXPECT_EQ(client.Read(0x40'ABFB'C476, 8), std::string("\0\0text\0\0", 8));
  EXPECT_EQ(client.Read(0xFF00, 200'000), long_text);
  EXPECT_EQ(client.Read(0, 0), "");
}

TEST(Tbx, RegistersAndTheGlobalTableAreReadBack) {
  TbxClient client;
  client.SetRegister(0x4000, 0x1234'5678);
  EXPECT_EQ(client.Register(0x4000), Words({0x1234'5678}));
  EXPECT_EQ(client.Register(0x4004), Words({0}));
  EXPECT_EQ(client.Register(0x2234), Words({0x100}));
  client.SetGlobal(9, 0x12'3456'7000);
  EXPECT_EQ(client.Global(9), Words({0x3456'7001, 0x12}));
  EXPECT_EQ(client.Global(10), Words({0, 0}));
}

TEST(Tbx, ABatchWritesByItsPageTables) {
  TbxClient client;
  client.Prepare();
  client.Submit({kStore, kTarget, 0, 0xCAFE});
  EXPECT_EQ(client.Read(kTargetData, 4), Words({0xCAFE}));
  client.Submit({kStore, kTarget, 0, 0xBEEF});
  EXPECT_EQ(client.Read(kTargetData, 4), Words({0xBEEF}));
  EXPECT_EQ(client.Read(TbxClient::kImage + 0x1014, 4), Words({client.tail}));
}

TEST(Tbx, ARingGoesOnAtItsStart) {
  TbxClient client;
  client.Prepare();
  client.tail = TbxClient::kRingBytes - 8;
  client.Write(TbxClient::kImage + 0x1014, Words({client.tail}));
  client.Submit({kStore, kTarget, 0, 5});
  EXPECT_EQ(client.tail, 8u);
  EXPECT_EQ(client.Read(kTargetData, 4), Words({5}));
}

TEST(Tbx, ABatchThatWaitsGoesOnAfterAWrite) {
  TbxClient client;
  client.Prepare();
  client.Submit({0x0E00'4002, 7, kTarget, 0, kStore, kTarget + 4, 0, 1});  // until it is equal to 7
  EXPECT_EQ(client.Register(0x2234), Words({0x80}));
  client.Write(kTargetData, Words({6}));
  EXPECT_EQ(client.Read(kTargetData + 4, 4), Words({0}));
  client.Write(kTargetData, Words({7}));
  EXPECT_EQ(client.Read(kTargetData + 4, 4), Words({1}));
  EXPECT_EQ(client.Register(0x2234), Words({0x100}));
}

TEST(Tbx, TheRingOfABatchThatWaitsGetsLonger) {
  TbxClient client;
  client.Prepare();
  client.Submit({0x0E00'4002, 7, kTarget, 0});
  client.Write(TbxClient::kData + 0x1000, Words({kStore, kTarget + 8, 0, 3, 0x0500'0000}));
  client.PutInRing({0x1880'0101, static_cast<uint32_t>(TbxClient::kBatch + 0x1000), 0, 0});
  client.SubmitRing();
  EXPECT_EQ(client.Read(kTargetData + 8, 4), Words({0}));
  client.Write(kTargetData, Words({7}));
  EXPECT_EQ(client.Read(kTargetData + 8, 4), Words({3}));
}

TEST(Tbx, TimestampsOnlyGrow) {
  TbxClient client;
  client.Prepare();
  client.Submit({0x7A00'0004, 3u << 14, kTarget, 0, 0, 0, 0x7A00'0004, 3u << 14, kTarget + 8, 0, 0, 0});
  const std::string both = client.Read(kTargetData, 16);
  uint64_t ticks[2];
  std::memcpy(ticks, both.data(), sizeof ticks);
  EXPECT_LT(0u, ticks[0]);
  EXPECT_LT(ticks[0], ticks[1]);
}

TEST(Tbx, OneConnectionSeesNothingOfAnother) {
  const auto room = std::make_shared<TbxRoom>(64u << 20);
  TbxClient one(room), other(room);
  one.Write(0x5000, "secret");
  EXPECT_EQ(one.Read(0x5000, 6), "secret");
  EXPECT_EQ(other.Read(0x5000, 6), std::string(6, '\0'));
}

TEST(Tbx, MemoryIsLimitedAndComesBack) {
  const auto room = std::make_shared<TbxRoom>(128 * 1024);
  {
    TbxClient client(room);
    client.Write(0, std::string(128 * 1024, 'x'));
    EXPECT_EQ(client.Read(0, 1), "x");
    client.Write(1u << 20, "x");
    EXPECT_THAT(client.Reason(), HasSubstr("no room for memory at 0x100000"));
  }
  TbxClient next(room);
  next.Write(1u << 20, "y");
  EXPECT_EQ(next.Read(1u << 20, 1), "y");
}

TEST(Tbx, EndsWhenItIsTold) {
  TbxClient client;
  client.Write(0, "x");
  EXPECT_EQ(client.Read(0, 1), "x");
  client.session().End();
  EXPECT_EQ(client.ReasonOfItsOwn(), "the program has gone");
}

// -- What is wrong.

struct WrongMessage {
  const char* name;
  std::string bytes;
  const char* reason;
};
void PrintTo(const WrongMessage& message, std::ostream* out) { *out << message.name; }

class TbxWrong : public testing::TestWithParam<WrongMessage> {};

TEST_P(TbxWrong, EndsTheConnectionAndSaysWhy) {
  TbxClient client;
  client.Send(GetParam().bytes);
  EXPECT_THAT(client.Reason(), HasSubstr(GetParam().reason));
}

const WrongMessage kWrongMessages[] = {
    {"Type", TbxMessage(14, {0}), "message 77 is of type 14: expected 0 (register)"},
    {"LongBody", Words({11, 1, 65}), "body of 65 bytes: expected 64"},
    {"ShortRegister", TbxMessage(0, {1, 2}), "body of 8 bytes: expected 12"},
    {"ShortEntry", TbxMessage(2, {1, 2, 3}), "body of 12 bytes: expected 16"},
    {"ShortWrite", TbxMessage(4, {0, 0}), "body of 8 bytes: expected 12"},
    {"RegisterOfOneByte", TbxMessage(0, {1u << 1, 0x2000, 0}), "1 bytes of space 0: expected 4"},
    {"RegisterOfAnotherSpace", TbxMessage(0, {4u << 1 | 1u << 6, 0x2000, 0}),
     "space 1: expected 4 of space 0"},
    {"RegisterBetween", TbxMessage(0, {1u | 4u << 1, 0x2001, 0}), "expected a multiple of 4"},
    {"RegisterFarAway", TbxMessage(0, {1u | 4u << 1, 0x800000, 0}), "below 0x800000"},
    {"HugeRead", TbxMessage(5, {0, 0, 0x100'0001}), "16777217 bytes of memory at 0x0"},
    {"HugeWrite", TbxMessage(4, {0, 0, 0xFFFF'FFFF}), "4294967295 bytes of memory at 0x0"},
    {"ReadBehindTheEnd", TbxMessage(5, {0xFF00'0000, 0xFFFF'FFFF, 2}), "below 0x10000000000"},
    {"Mask", TbxMessage(4, {2, 0, 4}), "has a mask"},
    {"OldPort", TbxMessage(0, {1u | 4u << 1, 0x2230, 0}), "set ProductFamilyOverride=tgllp"},
    {"Video", TbxMessage(0, {1u | 4u << 1, 0x1C0550, 1}), "engine for video"},
};
INSTANTIATE_TEST_SUITE_P(All, TbxWrong, testing::ValuesIn(kWrongMessages),
                         [](const auto& each) { return each.param.name; });

std::string Submitted(std::initializer_list<uint32_t> batch) {
  TbxClient client;
  client.Prepare();
  client.Submit(batch);
  return client.Reason();
}

TEST(Tbx, APageFaultHasItsAddress) {
  EXPECT_EQ(Submitted({kStore, 0x7654'3210, 0x12, 1}),
            "render engine, context 0x2000: page fault at 0x1276543210 (write of what is not mapped)");
  EXPECT_THAT(Submitted({kStore, TbxClient::kReadOnly, 0, 1}),
              HasSubstr("page fault at 0x1e000 (write of a page"));
}

TEST(Tbx, ACommandThatNobodyKnowsIsNamed) {
  EXPECT_EQ(Submitted({0x6F00'0000}),
            "render engine, context 0x2000: no valid command at 0x10000: Intel command 0x6f000000");
}

TEST(Tbx, WhatIsNotDoneAsByAGpuIsLogged) {
  const auto lines = std::make_shared<spdlog::sinks::ringbuffer_sink_mt>(16);
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("kept", lines));
  {
    TbxClient client;
    client.Prepare();
    client.Submit({0x0600'0000, 0x0600'0000});  // MI_PREDICATE, twice
    EXPECT_EQ(client.Read(0, 1), std::string(1, '\0'));
  }
  spdlog::set_default_logger(before);
  int found = 0;
  for (const std::string& line : lines->last_formatted())
    found += line.find("client: not as a GPU does it: Intel command MI_PREDICATE") != std::string::npos;
  EXPECT_EQ(found, 1);
}

TEST(Tbx, ABatchThatNeverEndsHangs) {
  EXPECT_THAT(Submitted({0x1880'0101, TbxClient::kBatch, 0}), HasSubstr("the command at 0x10000 hangs"));
}

TEST(Tbx, ARingHasOnlyBatches) {
  TbxClient client;
  client.Prepare();
  client.PutInRing({0x0500'0000, 0});
  client.SubmitRing();
  EXPECT_THAT(client.Reason(), HasSubstr("command 0x05000000 in the ring: expected MI_NOOP"));
}

TEST(Tbx, ACommandInARingThatIsCutOff) {
  TbxClient client;
  client.Prepare();
  client.PutInRing({0x1100'0001});
  client.SubmitRing();
  EXPECT_THAT(client.Reason(), HasSubstr("goes on behind its tail 0x4"));
}

TEST(Tbx, AContextThatIsNotThere) {
  TbxClient client;
  client.SubmitRing();
  EXPECT_EQ(client.Reason(), "the context at 0x2000 is not all in the global table");
}

TEST(Tbx, AContextWithoutTablesOfItsOwn) {
  TbxClient client;
  client.Prepare();
  client.SetRegister(0x2510, TbxClient::kGlobalImage | 0x19);
  client.SetRegister(0x2550, 1);
  EXPECT_THAT(client.Reason(), HasSubstr("no page tables of four levels of its own"));
}

TEST(Tbx, RegistersAreLimited) {
  TbxClient client;
  for (uint32_t i = 0; i <= hostsim::serve::TbxDevice::kRegistersMax; ++i)
    client.SetRegister(0x40000 + 4 * i, 1);
  EXPECT_THAT(client.Reason(), HasSubstr("16384 others are written"));
}

TEST(Tbx, TheGlobalTableIsLimited) {
  TbxClient client;
  for (uint32_t i = 0; i <= hostsim::serve::TbxMemory::kGlobalEntriesMax; ++i) client.SetGlobal(i, 0x1000);
  EXPECT_THAT(client.Reason(), HasSubstr("65536 others are set"));
}

// -- Where it listens.

TEST(TbxPlace, IsReadFromTheCommandLine) {
  const auto place = [](const char* text) {
    auto parsed = ParseTbxPlace(text);
    EXPECT_TRUE(parsed.ok()) << parsed.status().why();
    return (*parsed).value_or(TbxPlace{.port = 9, .memory_bytes = 9});
  };
  EXPECT_EQ(place("tbx:4321").port, 4321);
  EXPECT_EQ(place("tbx:4321").memory_bytes, 4ull << 30);
  EXPECT_EQ(place("tbx:0,memory-mib=7").port, 0);
  EXPECT_EQ(place("tbx:0,memory-mib=7").memory_bytes, 7u << 20);
  EXPECT_EQ(place("vmbus:/tmp/bus").port, 9);  // is none
}

TEST(TbxPlace, IsOfThisMachine) {
  for (const char* text : {"tbx:", "tbx:65536", "tbx:-1", "tbx:0.0.0.0:4321", "tbx:host:1", "tbx:1x",
                           "tbx:1,", "tbx:1,memory-mib=0", "tbx:1,memory-mib=", "tbx:1,other=1"}) {
    const auto parsed = ParseTbxPlace(text);
    EXPECT_EQ(parsed.status().value(), -EINVAL) << text;
    EXPECT_THAT(parsed.status().why(), HasSubstr("expected")) << text;
  }
}

TEST(TbxPlace, NeedsExecutionUnits) {
  ControlRequest::AddAdapter discrete;
  discrete.set_name("discrete");
  EXPECT_THAT(TbxOptionsOf({}, {discrete}).status().why(), HasSubstr("execution_units: GEN12LP"));
  EXPECT_THAT(TbxOptionsOf({}, {discrete, discrete}).status().why(), HasSubstr("give one profile"));
  auto options = TbxOptionsOf({}, {});
  ASSERT_TRUE(options.ok()) << options.status().why();
  EXPECT_EQ(options->gpu.clock_hz, 19'200'000u);
  EXPECT_TRUE(options->gpu.execution.executes);
}

UniqueFd ConnectTo(uint16_t port) {
  UniqueFd peer(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(peer.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return peer;
}

TEST(Loopback, KnowsWhoConnects) {
  auto listener = LoopbackListener::At(0, "--serve");
  ASSERT_TRUE(listener.ok()) << listener.status().why();
  sockaddr_in address = {};
  socklen_t bytes = sizeof address;
  ASSERT_EQ(getsockname(listener->socket(), reinterpret_cast<sockaddr*>(&address), &bytes), 0);
  EXPECT_EQ(ntohl(address.sin_addr.s_addr), INADDR_LOOPBACK);
  EXPECT_EQ(listener->Accept().status().value(), -EAGAIN);
  const UniqueFd peer = ConnectTo(listener->port());
  pollfd event = {listener->socket(), POLLIN, 0};
  ASSERT_EQ(poll(&event, 1, -1), 1);
  auto accepted = listener->Accept();
  ASSERT_TRUE(accepted.ok()) << accepted.status().why();
  EXPECT_EQ(accepted->user, geteuid());
}

// Its line in the kernel's table no longer says whose it was.
TEST(Loopback, WhoHasGoneIsNobody) {
  auto listener = LoopbackListener::At(0, "--serve");
  ASSERT_TRUE(listener.ok()) << listener.status().why();
  { const UniqueFd peer = ConnectTo(listener->port()); }
  pollfd event = {listener->socket(), POLLIN, 0};
  ASSERT_EQ(poll(&event, 1, -1), 1);
  EXPECT_EQ(listener->Accept().status().value(), -EACCES);
}

TEST(Loopback, APortThatIsTakenIsRefused) {
  auto first = LoopbackListener::At(0, "--serve");
  ASSERT_TRUE(first.ok()) << first.status().why();
  const auto second = LoopbackListener::At(first->port(), "--serve");
  EXPECT_EQ(second.status().value(), -EADDRINUSE);
  EXPECT_THAT(second.status().why(), HasSubstr("give another port"));
}

}  // namespace
}  // namespace dxg
