// The commands to the host as they lie on the VMBus, against the golden packets.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "tests/contract/packets.h"

namespace dxg::contract::packets {
namespace {

using Json = nlohmann::json;

struct GoldenCommand {
  std::string title;
  const CommandRow* command;
  Bytes bytes;     // from the command header on
  Bytes response;  // without the padding of the packet
  uint32_t version;
  bool asynchronous;  // nobody answers it
};

// Where a command of the driver has addresses of its client, 8 bytes each, from the command header on. The
// contract leaves them out, because no host can follow them: there are zeros in our packets.
struct ClientAddress {
  const char* name;
  size_t offset;
};
constexpr ClientAddress kClientAddresses[] = {
    {"SUBMITCOMMANDTOHWQUEUE", 56},  // priv_drv_data
    {"SUBMITCOMMANDTOHWQUEUE", 72},  // written_primaries
    {"SUBMITCOMMAND", 312},          // priv_drv_data
    {"SUBMITCOMMAND", 400},          // history_buffer_array
};

void ClearClientAddresses(const char* name, Bytes* bytes) {
  for (const ClientAddress& address : kClientAddresses) {
    if (std::string_view(address.name) == name)
      std::fill_n(bytes->begin() + static_cast<ptrdiff_t>(address.offset), 8, std::byte{0});
  }
}

// The examples of commands that the contract has. The others of the file wait for their command.
std::vector<GoldenCommand> GoldenCommands() {
  std::ifstream file(DXG_GOLDEN_DIR "/vmbus-golden.json");
  if (!file) throw std::runtime_error("cannot read " DXG_GOLDEN_DIR "/vmbus-golden.json");
  std::vector<GoldenCommand> found;
  for (const Json& example : Json::parse(file)) {
    const std::string channel = example.at("channel");
    if (channel.find("host->guest") != std::string::npos) continue;
    Bytes bytes = FromHex(example.at("payload"));
    // The ext header starts with its own length; without it the command id comes first, which is 0.
    const bool has_ext_header = NumberAt(bytes, 0) == kExtHeader;
    if (has_ext_header) bytes.erase(bytes.begin(), bytes.begin() + kExtHeader);
    const CommandRow* command = FindHostCommand(NumberAt(bytes, 16));
    if (command == nullptr) continue;
    ClearClientAddresses(command->name, &bytes);
    const bool answered = !example.at("response").is_null();
    found.push_back({example.at("title"), command, bytes,
                     answered ? FromHex(example.at("response")) : Bytes(),
                     has_ext_header ? kVersion : kOldVersion, !answered});
  }
  return found;
}

const GoldenCommand& Golden(const std::string& title) {
  static const auto commands = GoldenCommands();
  const auto found =
      std::ranges::find_if(commands, [&](const auto& each) { return each.title.starts_with(title); });
  if (found == commands.end()) throw std::runtime_error("vmbus-golden.json has no " + title);
  return *found;
}

// The bytes behind the command header, which the transport writes.
std::string Body(std::span<const std::byte> command) { return ToHex(command.subspan(kCommandHeader)); }

// That command, which is made of these fields.
const GoldenCommand& ExpectGolden(const std::string& title, const Message& request) {
  const GoldenCommand& golden = Golden(title);
  EXPECT_EQ(Body(Encoded(*golden.command, request)), Body(golden.bytes)) << title;
  return golden;
}

// The golden answer to the request, decoded.
template <class Reply>
Reply GoldenReply(const GoldenCommand& golden, const Message& request, uint32_t version = kVersion) {
  Reply reply;
  EXPECT_TRUE(golden.command->decode_reply(golden.response, request, version, &reply)) << golden.title;
  return reply;
}

TEST(GoldenCommands, AreNotForgotten) { EXPECT_GE(GoldenCommands().size(), 11u); }

TEST(GoldenCommands, NameTheirCommandAndChannel) {
  for (const GoldenCommand& golden : GoldenCommands()) {
    SCOPED_TRACE(golden.title);
    const std::string name = golden.command->name;
    EXPECT_TRUE(golden.title.starts_with(name)) << name;
    EXPECT_TRUE(!golden.asynchronous || golden.command->may_be_async);
    EXPECT_EQ(NumberAt(golden.bytes, 12), golden.command->channel == GLOBAL ? 1u
                                          : golden.asynchronous             ? 0x100u
                                                                            : 0u);
    EXPECT_EQ(NumberAt(golden.bytes, 8) == 0, golden.command->no_process);
  }
}

TEST(GoldenCommands, DecodeAndEncodeToTheSameBytes) {
  for (const GoldenCommand& golden : GoldenCommands()) {
    SCOPED_TRACE(golden.title);
    const auto request = New(golden.command->request);
    ASSERT_TRUE(golden.command->decode_request(golden.bytes, request.get()));
    Bytes again = Encoded(*golden.command, *request);
    if (Options(*golden.command).request_at_least() != 0)
      again.resize(golden.bytes.size());  // somebody else's short form
    EXPECT_EQ(Body(again), Body(golden.bytes)) << request->ShortDebugString();
    EXPECT_EQ(ToHex(std::span(again).first(kCommandHeader)), std::string(2 * kCommandHeader, '0'));
  }
}

TEST(GoldenCommands, RepliesDecodeAndEncodeToTheSameBytes) {
  for (const GoldenCommand& golden : GoldenCommands()) {
    if (golden.asynchronous) continue;
    SCOPED_TRACE(golden.title);
    const auto request = New(golden.command->request), reply = New(golden.command->reply);
    ASSERT_TRUE(golden.command->decode_request(golden.bytes, request.get()));
    ASSERT_EQ(golden.command->reply_size(*request, golden.version), golden.response.size());
    ASSERT_TRUE(golden.command->decode_reply(golden.response, *request, golden.version, reply.get()));
    Bytes again = EncodedReply(*golden.command, *request, *reply, golden.version);
    // An echo has the command's header too, which the transport writes.
    if (Options(*golden.command).echo()) {
      std::copy_n(golden.bytes.begin(), kCommandHeader, again.begin());
    }
    EXPECT_EQ(ToHex(again), ToHex(golden.response)) << reply->ShortDebugString();
  }
}

TEST(GoldenCommands, SetIospaceRegionFromItsFields) {
  host::SetIospaceRegion::Request request;
  request.set_start(0xFC0000000);
  request.set_length(512 << 20);
  ExpectGolden("SETIOSPACEREGION", request);
}

TEST(GoldenCommands, CreateProcessFromItsFields) {
  host::CreateProcess::Request request;
  request.set_cookie(0xFFFF888012345678);
  request.set_process_id(1234);
  request.set_process_name(std::string("v\0m\0t\0e\0s\0t\0", 12));
  request.set_process_bits(8);
  const auto reply = GoldenReply<host::CreateProcess::Reply>(ExpectGolden("CREATEPROCESS", request), request);
  EXPECT_EQ(reply.process(), 0x40000040u);
}

TEST(GoldenCommands, OpenAdapterFromItsFields) {
  for (const auto& [title, version] :
       {std::pair{"OPENADAPTER (interface 40)", 40u}, {"OPENADAPTER (interface 27", 27u}}) {
    SCOPED_TRACE(title);
    host::OpenAdapter::Request request;
    request.set_interface_version(version);
    request.set_last_compatible_interface_version(16);
    const GoldenCommand& golden = ExpectGolden(title, request);
    EXPECT_EQ(golden.version, version);
    const auto reply = GoldenReply<host::OpenAdapter::Reply>(golden, request, version);
    EXPECT_EQ(reply.host_adapter_handle(), 0x40000002u);
    EXPECT_EQ(reply.status(), 0);
    EXPECT_EQ(reply.interface_version(), version);
    EXPECT_EQ(reply.last_compatible_interface_version(), 16u);
  }
}

TEST(GoldenCommands, CreateDeviceFromItsFields) {
  host::CreateDevice::Request request;
  request.set_state_cookie(0xFFFFFFFFC0201000);
  const auto reply = GoldenReply<host::CreateDevice::Reply>(ExpectGolden("CREATEDEVICE", request), request);
  EXPECT_EQ(reply.device(), 0x40000080u);
}

TEST(GoldenCommands, QueryAdapterInfoFromItsFields) {
  host::QueryAdapterInfo::Request request;
  request.set_query_type(15);
  request.set_private_data_size(4);
  request.set_private_data(std::string(4, '\0'));
  ExpectGolden("QUERYADAPTERINFO", request);
}

TEST(GoldenCommands, CreateContextVirtualFromItsFields) {
  host::CreateContextVirtual::Request request;
  request.set_device(0x40000080);
  request.set_engine_affinity(1);
  request.set_flags(0x10);
  request.set_client_hint(10);
  request.set_priv_drv_data_size(4);
  request.set_priv_drv_data("\x11\x22\x33\x44");
  const auto reply =
      GoldenReply<host::CreateContextVirtual::Reply>(ExpectGolden("CREATECONTEXTVIRTUAL", request), request);
  EXPECT_EQ(reply.context(), 0x400000c0u);
  EXPECT_EQ(reply.priv_drv_data(), "\x55\x66\x77\x88");
}

TEST(GoldenCommands, EscapeFromItsFields) {
  host::Escape::Request request;
  request.set_adapter(0x40000002);
  request.set_device(0x40000080);
  request.set_priv_drv_data_size(4);
  request.set_priv_drv_data("\xaa\xbb\xcc\xdd");
  ExpectGolden("ESCAPE", request);
}

TEST(GoldenCommands, GetInternalAdapterInfoReply) {
  const host::GetInternalAdapterInfo::Request request;
  const auto reply =
      GoldenReply<host::GetInternalAdapterInfo::Reply>(Golden("GETINTERNALADAPTERINFO"), request);
  EXPECT_EQ(reply.device_types(), 0x4000u);
  EXPECT_EQ(reply.driver_ddi_version(), 0x9000u);
  EXPECT_EQ(reply.bits(), 0x40u);
  EXPECT_EQ(reply.host_adapter_luid(), 0xabcdu);
  EXPECT_EQ(reply.device_description().substr(0, 8), std::string("T\0e\0s\0t\0", 8));
}

TEST(GoldenCommands, CreateSyncObjectFromItsFields) {
  host::CreateSyncObject::Request request;
  request.set_device(0x40000080);
  request.set_type(5);
  request.set_info(std::string("\x07", 1));
  request.set_client_hint(1);
  const auto reply =
      GoldenReply<host::CreateSyncObject::Reply>(ExpectGolden("CREATESYNCOBJECT", request), request);
  EXPECT_EQ(reply.sync_object(), 0x400001c0u);
  EXPECT_EQ(reply.global_sync_object(), 0u);
  EXPECT_EQ(reply.fence_gpu_va(), 0x100000000u);
  EXPECT_EQ(reply.fence_storage_address(), 0xfc0002000u);
}

TEST(GoldenCommands, WaitForSyncObjectFromCpuFromItsFields) {
  host::WaitForSyncObjectFromCpu::Request request;
  request.set_device(0x40000080);
  request.set_object_count(1);
  request.set_guest_event(2);
  request.add_objects(0x400001c0);
  request.add_fence_values(8);
  ExpectGolden("WAITFORSYNCOBJECTFROMCPU", request);
}

TEST(GoldenCommands, SignalSyncObjectFromItsFields) {
  host::SignalSyncObject::Request request;
  request.set_object_count(1);
  request.set_context_count(1);
  request.add_objects(0x400001c0);
  request.add_contexts(0x400000c0);
  request.add_fence_values(9);
  ExpectGolden("SIGNALSYNCOBJECT", request);
}

TEST(GoldenCommands, WaitForSyncObjectFromGpuFromItsFields) {
  host::WaitForSyncObjectFromGpu::Request request;
  request.set_context(0x400000c0);
  request.set_object_count(1);
  request.add_fence_values(9);
  request.add_objects(0x400001c0);
  ExpectGolden("WAITFORSYNCOBJECTFROMGPU", request);
}

TEST(GoldenCommands, SubmitCommandToHwQueueFromItsFields) {
  host::SubmitCommandToHwQueue::Request request;
  request.set_hwqueue(0x40000200);
  request.set_progress_fence_id(1);
  request.set_command_buffer(0x200000);
  request.set_command_length(64);
  request.set_priv_drv_data_size(4);
  request.set_priv_drv_data("\xde\xad\xbe\xef");
  ExpectGolden("SUBMITCOMMANDTOHWQUEUE", request);
}

}  // namespace
}  // namespace dxg::contract::packets
