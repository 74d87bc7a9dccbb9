// What a bpftrace script prints of dxgkrnl's packets becomes records. The packets are those that the real
// driver sent, and the answers that it took.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cuse-dxg/trace/vmbus_capture.h"
#include "tests/trace/random_message.h"

namespace dxg::trace {
namespace {

using Json = nlohmann::json;

constexpr const char* kChannel = "0xffff8881047c2000";

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

// As bpftrace prints a buffer; `plain`: printable bytes as they are.
std::string Dump(const std::string& bytes, bool plain) {
  std::string text;
  for (const unsigned char c : bytes)
    text +=
        plain && c >= ' ' && c < 0x7f ? std::string(1, static_cast<char>(c)) : fmt::format("\\x{:02x}", c);
  return text;
}

// An in-band packet that asks for an answer has flags 1.
std::string Sent(const std::string& payload, uint64_t transaction, int flags = 1, bool plain = true) {
  return fmt::format("> {} {} {:x} type 6 flags {} {}\n", kChannel, payload.size(), transaction, flags,
                     Dump(payload, plain));
}
std::string Received(const std::string& packet, bool plain = true) {
  return fmt::format("< {} {} {}\n", kChannel, packet.size(), Dump(packet, plain));
}
// With its descriptor.
std::string PacketOf(uint16_t type, uint64_t transaction, const std::string& payload) {
  std::string packet(16, '\0');
  const uint16_t numbers[] = {type, 2, static_cast<uint16_t>(2 + payload.size() / 8), 0};
  std::memcpy(packet.data(), numbers, sizeof(numbers));
  std::memcpy(packet.data() + 8, &transaction, sizeof(transaction));
  return packet + payload;
}

struct Converted {
  Status status;
  std::vector<TraceItem> items;
  uint64_t packets = 0, not_understood = 0, first = 0;
};

Converted Convert(std::string text) {
  Converted converted;
  VmbusCapture capture([&](const TraceItem& item) {
    converted.items.push_back(item);
    return Status::Ok();
  });
  if (text.empty()) return converted;
  std::FILE* const file = fmemopen(text.data(), text.size(), "r");
  converted.status = capture.Read(file);
  std::fclose(file);
  converted.packets = capture.packets();
  converted.not_understood = capture.not_understood();
  converted.first = capture.first_not_understood();
  return converted;
}

Json Golden() {
  std::ifstream file(DXG_GOLDEN);
  return Json::parse(file);
}

TEST(VmbusCapture, WhatTheRealDriverSentIsAsItWas) {
  size_t answered = 0;
  for (const Json& record : Golden()) {
    if (!record.at("response_packet").is_string() || record.at("typ") != 6) continue;
    const std::string payload = FromHex(record.at("payload"));
    const std::string answer = FromHex(record.at("response_packet"));
    for (const bool plain : {false, true}) {
      const Converted converted =
          Convert(Sent(payload, record.at("trans"), record.at("flags"), plain) + Received(answer, plain));
      ASSERT_TRUE(converted.status.ok());
      ASSERT_EQ(converted.items.size(), 1u) << record.at("title");
      const TraceHostCommand& command = converted.items[0].record().host_command();
      // Before the command's header, one that names the adapter; older interfaces have none.
      const bool has_ext_header = payload[0] == 16;
      const std::string from_header = payload.substr(has_ext_header ? 16 : 0);
      uint64_t luid = 1;  // the first channel whose adapter is not known
      if (has_ext_header) std::memcpy(&luid, payload.data() + 8, sizeof(luid));
      EXPECT_EQ(command.packet(), from_header) << record.at("title");
      uint32_t number = 0;
      std::memcpy(&number, from_header.data() + 16, sizeof(number));
      EXPECT_EQ(command.command(), number);
      EXPECT_EQ(command.answer(), answer.substr(16));
      EXPECT_EQ(command.channel(), luid);
      EXPECT_FALSE(command.to_guest());
    }
    ++answered;
  }
  EXPECT_GT(answered, 3u);
}

std::string Command(uint32_t command, uint32_t process = 7) {
  std::string bytes(40, '\0');
  std::memcpy(bytes.data() + 8, &process, sizeof(process));
  std::memcpy(bytes.data() + 16, &command, sizeof(command));
  return bytes;
}

TEST(VmbusCapture, AnswersFindTheirCommandsInAnyOrder) {
  const Converted converted =
      Convert(Sent(Command(1), 0xa) + Sent(Command(2), 0xb) + Received(PacketOf(11, 0xb, "of b....")) +
              Received(PacketOf(11, 0xa, "of a....")) + Received(PacketOf(11, 0xc, "of none.")));
  ASSERT_EQ(converted.items.size(), 2u);
  EXPECT_EQ(converted.items[0].record().host_command().command(), 2u);
  EXPECT_EQ(converted.items[0].record().host_command().answer(), "of b....");
  EXPECT_EQ(converted.items[1].record().host_command().answer(), "of a....");
  EXPECT_EQ(converted.items[1].record().host_command().process(), 7u);
  EXPECT_EQ(converted.packets, 5u);
}

TEST(VmbusCapture, WhatIsNotAnsweredIsThereAtTheEnd) {
  const Converted converted = Convert(Sent(Command(1), 1) + Sent(Command(2), 2, 0));
  ASSERT_EQ(converted.items.size(), 2u);
  EXPECT_EQ(converted.items[0].record().host_command().command(), 2u);  // which wants no answer
  EXPECT_EQ(converted.items[1].record().host_command().command(), 1u);
  EXPECT_TRUE(converted.items[1].record().host_command().answer().empty());
}

TEST(VmbusCapture, WhatTheHostSendsIsToTheGuest) {
  const Converted converted = Convert(Received(PacketOf(6, 0, Command(3))));
  ASSERT_EQ(converted.items.size(), 1u);
  EXPECT_TRUE(converted.items[0].record().host_command().to_guest());
  EXPECT_EQ(converted.items[0].record().host_command().command(), 3u);
}

TEST(VmbusCapture, TimesAreTaken) {
  const std::string sent =
      fmt::format("> {} 40 1 type 6 flags 1 at 1000 {}\n", kChannel, Dump(Command(1), true));
  const std::string answer = PacketOf(11, 1, "12345678");
  const Converted converted =
      Convert(sent + fmt::format("< {} {} at 3000 {}\n", kChannel, answer.size(), Dump(answer, true)));
  ASSERT_EQ(converted.items.size(), 1u);
  EXPECT_EQ(converted.items[0].record().begin_ns(), 1000u);
  EXPECT_EQ(converted.items[0].record().end_ns(), 3000u);
  EXPECT_EQ(converted.items[0].record().host_command().answer(), "12345678");
}

TEST(VmbusCapture, APacketThatTheScriptCutSaysSo) {
  const std::string line =
      fmt::format("> {} 568 1 type 6 flags 0 {}\n", kChannel, Dump(Command(1000), false));
  const Converted converted = Convert(line);
  ASSERT_EQ(converted.items.size(), 1u);
  EXPECT_EQ(converted.items[0].record().reason(), "the capture has 40 of the packet's 568 bytes");
}

TEST(VmbusCapture, OtherLinesAreSkippedAndLostEventsSaid) {
  const Converted converted =
      Convert("Attaching 3 probes...\n\nLost 17 events\n> nonsense\n" + Sent(Command(1), 1, 0));
  ASSERT_EQ(converted.items.size(), 2u);
  EXPECT_EQ(converted.items[0].lost().records(), 17u);
  EXPECT_EQ(converted.not_understood, 1u);
  EXPECT_EQ(converted.first, 4u);
}

TEST(VmbusCapture, MoreWaitingThanThereMayBeGoWithoutAnAnswer) {
  std::string text;
  for (size_t i = 0; i <= VmbusCapture::kWaitingMax; ++i) text += Sent(Command(1), i + 1);
  const Converted converted = Convert(text + Received(PacketOf(11, 1, "too late")));
  EXPECT_EQ(converted.items.size(), VmbusCapture::kWaitingMax + 1);
  EXPECT_TRUE(converted.items[0].record().host_command().answer().empty());
}

TEST(VmbusCapture, CutAnywhereItHasWhatIsBeforeThat) {
  std::string text;
  size_t whole = 0;
  std::vector<size_t> ends;  // of lines with a record
  for (const Json& record : Golden()) {
    if (record.value("typ", 0) != 6) continue;
    text += Sent(FromHex(record.at("payload")), record.at("trans"), 0);
    ends.push_back(text.size());
  }
  ASSERT_EQ(Convert(text).items.size(), ends.size());
  Random random(20261130);
  for (int i = 0; i < 1000; ++i) {
    const size_t cut = random() % text.size();
    const Converted converted = Convert(text.substr(0, cut));
    EXPECT_TRUE(converted.status.ok());
    whole = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), cut) - ends.begin());
    EXPECT_EQ(converted.items.size(), whole) << "cut at " << cut;
    EXPECT_EQ(converted.not_understood, 0u);
  }
}

TEST(VmbusCapture, AFileThatTakesNothingEndsIt) {
  VmbusCapture capture([](const TraceItem&) { return Status::Refuse(ENOSPC, "full"); });
  std::string line = Sent(Command(1), 1, 0);
  line.pop_back();
  EXPECT_EQ(capture.Line(line).value(), -ENOSPC);
}

}  // namespace
}  // namespace dxg::trace
