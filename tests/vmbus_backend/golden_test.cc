// The bytes of messages against the golden packets, and what the back-end does on its bus, in which order,
// against what the real driver did.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "cuse-dxg/backend/vmbus/vmbus_backend.h"
#include "tests/golden/record.h"
#include "tests/vmbus_backend/fake_bus.h"

namespace dxg::vmbus {
namespace {

using golden::Json;

// -- Messages -------------------------------------------------------------------------------------

// Where the driver's commands have addresses of its client, from the command header on; ours have zeros.
void ClearClientAddresses(const std::string& title, std::span<std::byte> command) {
  const auto clear = [&](size_t at) {
    std::fill_n(command.begin() + static_cast<ptrdiff_t>(at), 8, std::byte{0});
  };
  if (title.starts_with("SUBMITCOMMANDTOHWQUEUE")) clear(56), clear(72);
}

std::vector<Json> Examples() {
  std::ifstream file(DXG_GOLDEN_DIR "/vmbus-golden.json");
  std::vector<Json> examples;
  for (const Json& each : Json::parse(file)) examples.push_back(each);
  return examples;
}

bool IsToGuest(const Json& example) {
  return example.at("channel").get<std::string>().find("host->guest") != std::string::npos;
}

TEST(GoldenMessages, CommandsAreEncodedAndDecodedForBothVersions) {
  int commands = 0;
  for (const Json& example : Examples()) {
    if (IsToGuest(example)) continue;
    const std::string title = example.at("title");
    SCOPED_TRACE(title);
    golden::Bytes golden = golden::FromHex(example.at("payload"));
    const bool has_ext = contract::wire::Get<4>(golden.data()) == kExtHeaderBytes;
    ClearClientAddresses(title, std::span(golden).subspan(has_ext ? kExtHeaderBytes : 0));
    const auto head = DecodeHead(golden, has_ext);
    ASSERT_TRUE(head);
    EXPECT_EQ(head->asynchronous, example.at("flags") == 0);
    const contract::CommandRow* command = contract::FindHostCommand(head->command);
    ASSERT_NE(command, nullptr);
    EXPECT_EQ(head->channel_type, command->channel == GLOBAL ? kChannelTypeGlobal : kChannelTypeAdapter);
    const std::unique_ptr<contract::Message> request(command->request->New()), reply(command->reply->New());
    ASSERT_TRUE(command->decode_request(head->bytes, request.get()));
    ++commands;

    for (uint32_t version : {27u, 40u}) {
      auto ours =
          EncodeRequest(*command, {head->process, head->vgpu_luid, version, head->asynchronous}, *request);
      const size_t ours_ext = version >= kExtHeaderSince ? kExtHeaderBytes : 0;
      if (title.starts_with("SETEXISTINGSYSMEMPAGES"))
        ours.resize(ours_ext + head->bytes.size());  // a short form
      EXPECT_EQ(Hex(std::span(ours).subspan(ours_ext)), Hex(head->bytes)) << version;
      if (has_ext && ours_ext != 0) {
        EXPECT_EQ(Hex(ours), Hex(golden));
      }
    }
    if (example.at("response").is_null()) continue;
    const golden::Bytes response = golden::FromHex(example.at("response"));
    const uint32_t version = has_ext ? 40 : 27;
    ASSERT_EQ(command->reply_size(*request, version), response.size());
    ASSERT_TRUE(command->decode_reply(response, *request, version, reply.get()));
    golden::Bytes again(response.size());
    command->encode_reply(*request, *reply, version, again.data());
    if (again.size() > 24 && command->id == 6)
      std::copy_n(head->bytes.begin(), 24, again.begin());  // an echo, header and all
    EXPECT_EQ(Hex(again), Hex(response));
  }
  EXPECT_EQ(commands, 24);
}

TEST(GoldenMessages, WhatTheHostSendsUnasked) {
  int messages = 0;
  for (const Json& example : Examples()) {
    if (!IsToGuest(example)) continue;
    SCOPED_TRACE(example.at("title").get<std::string>());
    const golden::Bytes golden = golden::FromHex(example.at("payload"));
    const auto head = DecodeHead(golden, false);
    ASSERT_TRUE(head);
    EXPECT_EQ(head->channel_type, kChannelTypeGuest);
    const contract::GuestMessage* row = contract::FindGuestMessage(head->command);
    ASSERT_NE(row, nullptr);
    const std::unique_ptr<contract::Message> message(row->message->New());
    ASSERT_TRUE(row->decode(golden, message.get()));
    EXPECT_EQ(Hex(EncodeGuestMessage(*row, head->process, *message)), Hex(golden));
    EXPECT_FALSE(row->decode(std::span(golden).first(row->size - 1), message.get()));
    ++messages;
  }
  EXPECT_EQ(messages, 2);
}

TEST(GoldenMessages, TooShortForAHead) {
  const PacketBytes zeros(64);
  EXPECT_FALSE(DecodeHead(std::span(zeros).first(23), false));
  EXPECT_TRUE(DecodeHead(std::span(zeros).first(24), false));
  EXPECT_FALSE(DecodeHead(std::span(zeros).first(15), true));
  EXPECT_FALSE(DecodeHead(std::span(zeros).first(39), true));
  EXPECT_TRUE(DecodeHead(std::span(zeros).first(40), true));
}

// -- What the driver did --------------------------------------------------------------------------

// Of one action of one run: what concerns the bus, in a BusLog's words.
std::vector<std::string> Recorded(const std::string& file, const std::string& run, const std::string& label) {
  std::vector<std::string> lines;
  const auto add = [&](const Json& record) {
    if (record.at("kind") != "action" || record.at("run") != run || record.at("label") != label) return;
    for (const Json& event : record.at("events")) {
      const std::string what = event.at("t");
      const std::string channel = event.value("ch", "");
      if (what == "pci_read" || what == "pci_write") {
        lines.push_back(fmt::format("{} {} {}", what, event.at("offset").get<int>(),
                                    event.at("value").get<std::string>()));
      } else if (what == "vmbus_open" || what == "vmbus_close") {
        lines.push_back(what + " " + channel);
      } else if (what == "mmio_alloc") {
        lines.push_back("mmio_alloc 64");
      } else if (what == "pkt") {
        lines.push_back(fmt::format("pkt {} {} {} {} {}", channel, event.at("name").get<std::string>(),
                                    event.at("trans").get<int>(), event.at("flags").get<int>(),
                                    event.at("data").get<std::string>()));
      }
    }
  };
  const Status read = golden::ForEachRecord(std::string(DXG_GOLDEN_DIR "/") + file + ".jsonl.zst", add);
  EXPECT_TRUE(read.ok()) << read.why();
  EXPECT_FALSE(lines.empty()) << file << ", " << run << ", " << label;
  return lines;
}

// Transactions are counted by all that came before, so where calls lie between they differ.
std::vector<std::string> WithoutTransactions(std::vector<std::string> lines) {
  for (std::string& line : lines) {
    if (!line.starts_with("pkt ")) continue;
    const size_t from = line.find(' ', line.find(' ', 4) + 1);
    line.erase(from, line.find(' ', from + 1) - from);
  }
  return lines;
}

// The bus of a record's mode.
struct Rig {
  explicit Rig(uint32_t version = 40, uint32_t bits = 0x40, bool compute = false) {
    auto owned = std::make_unique<FakeBus>();
    bus = owned.get();
    log = bus->log;
    bus->answers = [bits](const std::string&, uint32_t command) {
      return FakeBus::DefaultAnswer(command, bits);
    };
    function = bus->Function(0, version);
    function->compute = compute;
    bus->at_start = [this](BusEvents& events) {
      events.Offered(FakeBus::Global());
      events.Offered(FakeBus::Vgpu());
      events.FunctionArrived(function);
    };
    backend = CreateVmbusBackend(std::move(owned));
    EXPECT_TRUE(backend->Start(&heard).ok());
  }
  ~Rig() {
    if (backend) backend->Stop();
  }
  // What has happened since the log was last looked at, and then.
  std::vector<std::string> Unload() {
    backend->Stop();
    auto lines = log->Take();
    std::erase(lines, "stop");
    return lines;
  }

  Heard heard;
  FakeBus* bus;
  std::shared_ptr<BusLog> log;
  std::shared_ptr<FakeFunction> function;
  std::unique_ptr<Backend> backend;
};

TEST(GoldenLife, Version40) {
  Rig rig(40, 0);
  EXPECT_EQ(rig.log->Take(), Recorded("v40", "v40", "insmod dxgkrnl"));
  EXPECT_EQ(WithoutTransactions(rig.Unload()), WithoutTransactions(Recorded("v40", "v40", "rmmod dxgkrnl")));
}

TEST(GoldenLife, AsynchronousMessages) {
  Rig rig(40, 0x40);
  EXPECT_EQ(rig.log->Take(), Recorded("async", "async", "insmod dxgkrnl"));
  EXPECT_EQ(WithoutTransactions(rig.Unload()),
            WithoutTransactions(Recorded("async", "async", "rmmod dxgkrnl")));
}

TEST(GoldenLife, Version27) {
  Rig rig(0, 0);
  EXPECT_EQ(rig.log->Take(), Recorded("v27", "v27", "insmod dxgkrnl"));
  EXPECT_EQ(WithoutTransactions(rig.Unload()), WithoutTransactions(Recorded("v27", "v27", "rmmod dxgkrnl")));
}

TEST(GoldenLife, OtherVersionsAndAComputeDevice) {
  struct {
    const char* run;
    uint32_t version;
    bool compute;
  } const modes[] = {{"v45", 45, false}, {"v39", 39, false}, {"compute", 40, true}};
  for (const auto& [run, version, compute] : modes) {
    SCOPED_TRACE(run);
    Rig rig(version, 0, compute);
    EXPECT_EQ(rig.log->Take(), Recorded("versions", run, "insmod dxgkrnl"));
    EXPECT_EQ(rig.heard.adapter().compute_only, compute);
    EXPECT_EQ(WithoutTransactions(rig.Unload()),
              WithoutTransactions(Recorded("versions", run, "rmmod dxgkrnl")));
  }
}

TEST(GoldenLife, ARescindedVgpuIsNotClosedAndNotRevived) {
  Rig rig(40, 0);
  rig.log->Take();
  rig.bus->events->Rescinded(FakeBus::kVgpu);
  rig.heard.Wait(2);
  rig.bus->events->Offered(FakeBus::Vgpu());
  EXPECT_EQ(rig.Unload(), (std::vector<std::string>{"vmbus_close vgpu", "vmbus_close global"}));
  EXPECT_EQ(Recorded("removal", "rmvgpu", "vgpu channel rescinded"),
            (std::vector<std::string>{"vmbus_close vgpu"}));
  EXPECT_EQ(rig.heard.told(),
            (std::vector<std::string>{"arrived 0xbadbeef00c0ffee", "stopped 0xbadbeef00c0ffee"}));
}

TEST(GoldenLife, ARemovedFunctionIsClosedAndComesBack) {
  Rig rig(40, 0);
  rig.log->Take();
  rig.bus->events->FunctionRemoved(rig.function->name());
  rig.bus->events->FunctionArrived(rig.function);
  rig.heard.Wait(3);
  auto expected = Recorded("removal", "rmpci", "pci device removed");
  const auto back = Recorded("removal", "rmpci", "pci device comes back");
  expected.insert(expected.end(), back.begin(), back.end());
  EXPECT_EQ(WithoutTransactions(rig.log->Take()), WithoutTransactions(expected));
  EXPECT_EQ(rig.heard.told(),
            (std::vector<std::string>{"arrived 0xbadbeef00c0ffee", "removed 0xbadbeef00c0ffee",
                                      "arrived 0xbadbeef00c0ffee"}));
}

TEST(GoldenLife, ARescindedGlobalChannelIsClosedAndNothingElse) {
  Rig rig(40, 0);
  rig.log->Take();
  rig.bus->events->Rescinded(FakeBus::kGlobal);
  while (rig.backend->FindRegion(WindowAddress(rig.bus->window.start)))
    std::this_thread::yield();  // until it is heard of
  EXPECT_EQ(Recorded("removal", "rmglobal", "global channel rescinded"),
            (std::vector<std::string>{"vmbus_close global"}));
  const auto lines = WithoutTransactions(rig.Unload());
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], "vmbus_close global");
  EXPECT_TRUE(lines[1].starts_with("pkt vgpu CLOSEADAPTER")) << lines[1];
  EXPECT_EQ(lines[2], "vmbus_close vgpu");
}

}  // namespace
}  // namespace dxg::vmbus
