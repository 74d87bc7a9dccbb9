// The table of commands to the host and its codecs: lengths, versions, garbage.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <set>

#include "tests/contract/packets.h"

namespace dxg::contract::packets {
namespace {

using Random = std::mt19937_64;

constexpr uint64_t kSeed = 20260517;

// -- The table ------------------------------------------------------------------------------------

TEST(HostCommands, AreInOrderAndFound) {
  uint32_t next = 0;
  for (const CommandRow& command : HostCommands()) {
    EXPECT_GE(command.id, next) << command.name;
    next = command.id + 1;
    EXPECT_EQ(FindHostCommand(command.id), &command);
    EXPECT_EQ(command.id >= 1000, command.channel == GLOBAL) << command.name;
  }
  std::set<uint32_t> ids;
  for (const CommandRow& command : HostCommands()) ids.insert(command.id);
  for (uint32_t id = 0; id < 1100; ++id) EXPECT_EQ(FindHostCommand(id) != nullptr, ids.contains(id)) << id;
  EXPECT_EQ(FindHostCommand(~0u), nullptr);
}

// What the VMBus has no place for.
bool IsForOurHostsAlone(const FieldDescriptor& field) {
  return field.full_name() == "dxg.host.CreateProcess.Request.user";
}

TEST(HostCommands, FieldsLieInsideAndApart) {
  for (const CommandRow& command : HostCommands()) {
    const bool echo = Options(command).echo();
    for (const Message* message : {command.request, command.reply}) {
      const bool is_request = message == command.request;
      SCOPED_TRACE(message->GetTypeName());
      const uint32_t begin = is_request || echo ? kCommandHeader : 0;
      const uint32_t end = is_request ? Options(command).request_bytes() : Options(command).reply_bytes();
      EXPECT_GE(end, is_request ? kCommandHeader : 0);
      uint32_t free_from = begin;
      bool behind_tail = false;
      for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
        const FieldDescriptor* field = message->GetDescriptor()->field(i);
        ASSERT_NE(field->options().HasExtension(dxg::wire), IsForOurHostsAlone(*field)) << field->full_name();
        if (IsForOurHostsAlone(*field)) continue;
        if (!Wire(field).tail()) {
          EXPECT_FALSE(behind_tail) << field->name() << ": only tails come behind a tail";
          EXPECT_GE(Wire(field).at(), free_from) << field->name();
          free_from = Wire(field).at() + WidthOf(field);
          EXPECT_LE(free_from, end) << field->name();
          continue;
        }
        // The first tail has a place, the others follow it.
        EXPECT_EQ(Wire(field).at() == 0 && !(is_request == false && free_from == 0), behind_tail)
            << field->name();
        if (!behind_tail) {
          EXPECT_GE(Wire(field).at(), free_from) << field->name();
          EXPECT_LE(Wire(field).at(), end) << field->name();
        }
        behind_tail = true;
        if (const std::string count = CountName(field); is_request && !count.empty()) {
          EXPECT_NE(message->GetDescriptor()->FindFieldByName(count), nullptr) << field->name();
        }
      }
    }
  }
}

struct PublishedCommand {
  uint32_t id;
  const char* name;
  uint32_t request;    // with an empty tail
  uint32_t reply;      // interface 40, with an empty tail
  uint32_t old_reply;  // interface 27
};

// All that the driver sends and what it expects. Data, not another list of the commands: what no golden
// packet shows would otherwise be checked by nothing.
constexpr PublishedCommand kPublished[] = {
    {0, "CREATEDEVICE", 40, 4, 4},
    {1, "DESTROYDEVICE", 32, 4, 4},
    {2, "QUERYADAPTERINFO", 39, 4, 0},
    {4, "CREATEALLOCATION", 64, 16, 16},
    {5, "DESTROYALLOCATION", 48, 4, 4},
    {6, "CREATECONTEXTVIRTUAL", 55, 55, 55},
    {7, "DESTROYCONTEXT", 32, 4, 4},
    {8, "CREATESYNCOBJECT", 128, 32, 32},
    {9, "CREATEPAGINGQUEUE", 56, 24, 24},
    {10, "DESTROYPAGINGQUEUE", 32, 0, 0},
    {11, "MAKERESIDENT", 44, 24, 24},
    {12, "EVICT", 36, 8, 8},
    {13, "ESCAPE", 55, 0, 0},
    {14, "OPENADAPTER", 40, 16, 16},
    {15, "CLOSEADAPTER", 32, 0, 0},
    {16, "FREEGPUVIRTUALADDRESS", 48, 4, 4},
    {17, "MAPGPUVIRTUALADDRESS", 136, 24, 24},
    {18, "RESERVEGPUVIRTUALADDRESS", 96, 16, 16},
    {19, "UPDATEGPUVIRTUALADDRESS", 56, 4, 4},
    {20, "SUBMITCOMMAND", 408, 4, 4},
    {21, "QUERYVIDEOMEMORYINFO", 40, 32, 32},
    {22, "WAITFORSYNCOBJECTFROMCPU", 56, 4, 4},
    {23, "LOCK2", 64, 16, 16},
    {24, "UNLOCK2", 40, 4, 4},
    {25, "WAITFORSYNCOBJECTFROMGPU", 40, 4, 4},
    {26, "SIGNALSYNCOBJECT", 56, 4, 4},
    {28, "GETDEVICESTATE", 80, 64, 64},
    {29, "MARKDEVICEASERROR", 32, 4, 4},
    {32, "OPENRESOURCE", 48, 8, 8},
    {33, "SETCONTEXTSCHEDULINGPRIORITY", 40, 4, 4},
    {36, "GETINTERNALADAPTERINFO", 24, 712, 704},
    {37, "FLUSHHEAPTRANSITIONS", 24, 4, 4},
    {39, "DDIGETSTANDARDALLOCATIONDRIVERDATA", 64, 40, 40},
    {41, "QUERYALLOCATIONRESIDENCY", 56, 8, 8},
    {42, "FLUSHDEVICE", 32, 4, 4},
    {45, "SETEXISTINGSYSMEMSTORE", 40, 4, 4},
    {48, "QUERYSTATISTICS", 832, 784, 784},
    {49, "CHANGEVIDEOMEMORYRESERVATION", 56, 4, 4},
    {50, "CREATEHWQUEUE", 72, 72, 72},
    {51, "DESTROYHWQUEUE", 32, 4, 4},
    {52, "SUBMITCOMMANDTOHWQUEUE", 80, 4, 4},
    {56, "UPDATEALLOCATIONPROPERTY", 64, 16, 16},
    {57, "OFFERALLOCATIONS", 44, 4, 4},
    {58, "RECLAIMALLOCATIONS", 44, 16, 16},
    {59, "SETALLOCATIONPRIORITY", 40, 4, 4},
    {60, "GETALLOCATIONPRIORITY", 48, 8, 8},
    {61, "GETCONTEXTSCHEDULINGPRIORITY", 32, 8, 8},
    {62, "QUERYCLOCKCALIBRATION", 64, 32, 32},
    {66, "SETEXISTINGSYSMEMPAGES", 126976, 4, 4},
    {67, "INVALIDATECACHE", 56, 4, 4},
    {68, "ISFEATUREENABLED", 32, 16, 16},
    {1000, "CREATEPROCESS", 568, 4, 4},
    {1001, "DESTROYPROCESS", 24, 4, 4},
    {1002, "OPENSYNCOBJECT", 40, 24, 24},
    {1003, "DESTROYSYNCOBJECT", 32, 4, 4},
    {1004, "CREATENTSHAREDOBJECT", 32, 4, 4},
    {1005, "DESTROYNTSHAREDOBJECT", 32, 4, 4},
    {1010, "SETIOSPACEREGION", 48, 4, 4},
    {1021, "SHAREOBJECTWITHHOST", 40, 16, 16},
    {1022, "ISFEATUREENABLED_GLOBAL", 32, 16, 16},
};

TEST(HostCommands, AreThePublishedOnes) {
  ASSERT_EQ(HostCommands().size(), std::size(kPublished));
  for (const PublishedCommand& published : kPublished) {
    const CommandRow* command = FindHostCommand(published.id);
    ASSERT_NE(command, nullptr) << published.name;
    EXPECT_STREQ(command->name, published.name);
    EXPECT_EQ(command->request_size(*command->request), published.request) << published.name;
    EXPECT_EQ(command->reply_size(*command->request, kVersion), published.reply) << published.name;
    EXPECT_EQ(command->reply_size(*command->request, kOldVersion), published.old_reply) << published.name;
  }
}

struct CountingHandler {
  static constexpr int32_t kStatus = -7;
  int handled = 0;
  template <class Request, class Reply>
  int32_t Handle(uint32_t& id, const Request&, Reply*) {
    ++handled;
    EXPECT_EQ(id, kHostCommandId<Request>);
    return kStatus;
  }
};

TEST(HostCommands, AreDispatchedByNumber) {
  CountingHandler handler;
  for (const CommandRow& command : HostCommands()) {
    uint32_t id = command.id;
    const auto request = New(command.request), reply = New(command.reply);
    EXPECT_TRUE(DispatchHostCommand(id, handler, id, *request, reply.get())) << command.name;
    if (const auto* status = reply->GetDescriptor()->FindFieldByName("status")) {
      EXPECT_EQ(reply->GetReflection()->GetInt32(*reply, status), CountingHandler::kStatus) << command.name;
    }
  }
  EXPECT_EQ(handler.handled, static_cast<int>(HostCommands().size()));
  uint32_t unknown = 3;  // known to the host's side of the protocol, never sent by a guest
  host::CreateDevice::Request request;
  host::CreateDevice::Reply reply;
  EXPECT_FALSE(DispatchHostCommand(unknown, handler, unknown, request, &reply));
}

// -- Lengths --------------------------------------------------------------------------------------

bool IsRest(const FieldDescriptor* tail) { return Wire(tail).rest(); }

// The least bytes that are taken for a request whose tails have `tail` elements: what fills it up at its end
// may be missing, and so may a tail that no field counts.
size_t LeastSize(const CommandRow& command, size_t tail, size_t whole) {
  if (Options(command).request_at_least() != 0) whole = Options(command).request_bytes();
  for (const FieldDescriptor* field : TailsOf(command.request)) {
    const size_t width = IsBytes(field) ? 1 : field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64 ? 8 : 4;
    if (Options(command).request_at_least() != 0) whole += tail * width;
    if (IsRest(field)) whole -= tail * width;
  }
  return whole;
}

constexpr size_t kTailSizes[] = {0, 1, 4, 7, 8, 100};

// Where bytes are missing: all of the beginning, and all of the end, where the tails are.
bool IsWorthCutting(size_t size, size_t whole) { return size < 300 || whole - size < 300 || size % 97 == 0; }

TEST(HostCommands, RefuseShortRequests) {
  for (const CommandRow& command : HostCommands()) {
    for (size_t tail : kTailSizes) {
      const auto request = RequestWithTail(command, tail), decoded = New(command.request);
      const Bytes bytes = Encoded(command, *request);
      SCOPED_TRACE(std::string(command.name) + ", tail " + std::to_string(tail));
      const size_t whole = LeastSize(command, tail, bytes.size());
      for (size_t size = 0; size < whole; ++size) {
        if (!IsWorthCutting(size, whole)) continue;
        const Bytes part(bytes.begin(),
                         bytes.begin() + static_cast<ptrdiff_t>(size));  // its end is the memory's end
        ASSERT_FALSE(command.decode_request(part, decoded.get())) << size << " bytes of " << bytes.size();
      }
      ASSERT_TRUE(command.decode_request(bytes, decoded.get()));
      EXPECT_EQ(decoded->SerializeAsString(), [&] {
        const auto same = New(command.request);
        EXPECT_TRUE(command.decode_request(Encoded(command, *request), same.get()));
        return same->SerializeAsString();
      }());
    }
  }
}

// A packet is a multiple of 8 bytes long, so a payload may have more bytes than its sender wrote.
TEST(HostCommands, AcceptLongerRequestsAndIgnoreTheRest) {
  for (const CommandRow& command : HostCommands()) {
    if (std::ranges::any_of(TailsOf(command.request), IsRest))
      continue;  // there the rest is the tail: see TailsThatNothingCounts
    const auto request = RequestWithTail(command, 5), exact = New(command.request),
               longer = New(command.request);
    Bytes bytes = Encoded(command, *request);
    ASSERT_TRUE(command.decode_request(bytes, exact.get())) << command.name;
    bytes.resize(bytes.size() + 64, std::byte{0xee});
    ASSERT_TRUE(command.decode_request(bytes, longer.get())) << command.name;
    EXPECT_EQ(longer->SerializeAsString(), exact->SerializeAsString()) << command.name;
  }
}

TEST(HostCommands, RefuseShortRepliesAndAcceptLongerOnes) {
  for (const CommandRow& command : HostCommands()) {
    for (uint32_t version : {kOldVersion, kVersion}) {
      for (size_t tail : kTailSizes) {
        SCOPED_TRACE(std::string(command.name) + ", version " + std::to_string(version) + ", tail " +
                     std::to_string(tail));
        const auto request = RequestWithTail(command, tail), exact = New(command.reply),
                   longer = New(command.reply);
        const size_t size = command.reply_size(*request, version);
        Random random(kSeed);
        Bytes bytes(size + 64);
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
        for (size_t less = 1; less <= std::min<size_t>(size, 16); ++less) {
          const Bytes part(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size - less));
          ASSERT_FALSE(command.decode_reply(part, *request, version, longer.get())) << less << " bytes less";
        }
        const Bytes part(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
        ASSERT_TRUE(command.decode_reply(part, *request, version, exact.get()));
        ASSERT_TRUE(command.decode_reply(bytes, *request, version, longer.get()));
        EXPECT_EQ(longer->SerializeAsString(), exact->SerializeAsString());
      }
    }
  }
}

TEST(HostCommands, RefuseATailThatLiesAboutItsLength) {
  std::set<std::string> with_tail;
  for (const CommandRow& command : HostCommands()) {
    for (const FieldDescriptor* tail : TailsOf(command.request)) {
      const auto* length = command.request->GetDescriptor()->FindFieldByName(CountName(tail));
      if (length == nullptr) continue;  // a sum
      with_tail.insert(command.name);
      SCOPED_TRACE(std::string(command.name) + "." + tail->name());
      Bytes bytes = Encoded(command, *RequestWithTail(command, 16));
      const auto decoded = New(command.request);
      const auto declare = [&](uint32_t size) {
        std::memcpy(bytes.data() + Wire(length).at(), &size, sizeof(size));
        return command.decode_request(bytes, decoded.get());
      };
      for (uint64_t lie :
           {117ull, 16000ull, 131072ull, 0x7fffffffull, 0x80000000ull, 0xfffffff0ull, 0xffffffffull}) {
        if (lie * 8 < Options(command).request_at_least()) continue;  // there is room for it
        EXPECT_FALSE(declare(lie)) << lie;
      }
      // As long as it is, or less: as any other payload with bytes to spare.
      for (uint32_t size : {16u, 15u, 1u, 0u}) {
        if (TailsOf(command.request).size() > 1 && size != 16)
          continue;  // the next tail would begin elsewhere
        EXPECT_TRUE(declare(size)) << size;
        const auto* reflection = decoded->GetReflection();
        EXPECT_EQ(IsBytes(tail) ? reflection->GetString(*decoded, tail).size()
                                : static_cast<size_t>(reflection->FieldSize(*decoded, tail)),
                  size);
      }
    }
  }
  EXPECT_EQ(with_tail.size(), 20u);
}

// The values of a signal are there or not, and no field says so: they are what the message still holds behind
// the objects and contexts, in whole elements. The few bytes that fill a packet up are none.
TEST(HostCommands, TailsThatNothingCountsAreTheRest) {
  const CommandRow& command = *FindHostCommand(kHostCommandId<host::SignalSyncObject::Request>);
  for (const int values : {0, 1, 3}) {
    host::SignalSyncObject::Request request, decoded;
    request.set_object_count(3);
    request.set_context_count(2);
    for (uint32_t object : {0x40u, 0x80u, 0xc0u}) request.add_objects(object);
    for (uint32_t context : {0x100u, 0x140u}) request.add_contexts(context);
    for (int i = 0; i < values; ++i) request.add_fence_values(~0ull - static_cast<uint64_t>(i));
    Bytes bytes = Encoded(command, request);
    ASSERT_EQ(bytes.size(), 56u + 3 * 4 + 2 * 4 + 8 * static_cast<size_t>(values));
    bytes.resize(bytes.size() + 7, std::byte{0xee});
    ASSERT_TRUE(command.decode_request(bytes, &decoded));
    EXPECT_EQ(decoded.SerializeAsString(), request.SerializeAsString());
  }
}

// Lists of numbers at a fixed place have always the same room: what is not given is 0, what is too much is
// cut off.
TEST(HostCommands, FixedListsFillTheirRoom) {
  const CommandRow& command = *FindHostCommand(kHostCommandId<host::SubmitCommand::Request>);
  host::SubmitCommand::Request request, decoded;
  request.add_broadcast_context(0x40000040);
  for (uint32_t i = 0; i < 20; ++i) request.add_written_primaries(0x100 + i);
  const Bytes bytes = Encoded(command, request);
  ASSERT_EQ(bytes.size(), 408u);
  ASSERT_TRUE(command.decode_request(bytes, &decoded));
  ASSERT_EQ(decoded.broadcast_context_size(), 64);
  EXPECT_EQ(decoded.broadcast_context(0), 0x40000040u);
  EXPECT_EQ(decoded.broadcast_context(1), 0u);
  EXPECT_EQ(NumberAt(bytes, 308), 0u) << "written behind the list";
  ASSERT_EQ(decoded.written_primaries_size(), 16);
  EXPECT_EQ(decoded.written_primaries(15), 0x10fu);
  EXPECT_EQ(NumberAt(bytes, 392), 0u) << "written behind the list";
}

// The driver fills this one up to the size of its struct.
TEST(HostCommands, CreateHwQueueWithoutPrivateDataIsAsLongAsItsStruct) {
  const CommandRow& command = *FindHostCommand(kHostCommandId<host::CreateHwQueue::Request>);
  host::CreateHwQueue::Request request;
  EXPECT_EQ(command.request_size(request), 72u);
  EXPECT_EQ(command.reply_size(request, kVersion), 72u);
  request.set_priv_drv_data_size(2);
  request.set_priv_drv_data("ab");
  EXPECT_EQ(command.request_size(request), 73u);
  EXPECT_EQ(command.reply_size(request, kVersion), 73u);
}

// A host that answers more than was asked for must not write behind the buffer that reply_size announced.
TEST(HostCommands, CutAReplysTailToTheRequests) {
  for (const CommandRow& command : HostCommands()) {
    const auto tails = TailsOf(command.reply);
    if (tails.empty()) continue;
    for (uint32_t version : {kOldVersion, kVersion}) {
      SCOPED_TRACE(command.name);
      const auto request = RequestWithTail(command, 4), reply = New(command.reply),
                 decoded = New(command.reply);
      for (const char* number :
           {"priv_driver_data_size", "priv_driver_resource_size", "allocation_count", "write_results"}) {
        SetNumber(request.get(), number, 4);
      }
      for (const FieldDescriptor* tail : tails) FillTail(reply.get(), tail, 4000);
      const Bytes bytes = EncodedReply(command, *request, *reply, version);
      ASSERT_TRUE(command.decode_reply(bytes, *request, version, decoded.get()));
      for (const FieldDescriptor* tail : tails) {
        const auto* reflection = decoded->GetReflection();
        const size_t size = IsBytes(tail) ? reflection->GetString(*decoded, tail).size()
                                          : static_cast<size_t>(reflection->FieldSize(*decoded, tail));
        EXPECT_EQ(size, Wire(tail).count().find("allocations.") != std::string::npos ? 16u : 4u)
            << tail->name();
      }
    }
  }
}

// Where there is nothing to write there may be no memory either.
TEST(HostCommands, EncodeEmptyRepliesIntoNoMemory) {
  size_t empty = 0;
  for (const CommandRow& command : HostCommands()) {
    for (uint32_t version : {kOldVersion, kVersion}) {
      if (command.reply_size(*command.request, version) != 0) continue;
      ++empty;
      command.encode_reply(*command.request, *command.reply, version, nullptr);
      const auto reply = New(command.reply);
      EXPECT_TRUE(command.decode_reply({}, *command.request, version, reply.get())) << command.name;
    }
  }
  EXPECT_EQ(empty, 7u);  // CloseAdapter, Escape and DestroyPagingQueue, and QueryAdapterInfo of an old host
}

// -- Versions -------------------------------------------------------------------------------------

TEST(Versions, QueryAdapterInfoHasAStatusFromInterface40On) {
  const CommandRow& command = *FindHostCommand(kHostCommandId<host::QueryAdapterInfo::Request>);
  const auto request = RequestWithTail(command, 4);
  EXPECT_EQ(command.reply_size(*request, kOldVersion), 4u);
  EXPECT_EQ(command.reply_size(*request, 39), 4u);
  EXPECT_EQ(command.reply_size(*request, kVersion), 8u);

  host::QueryAdapterInfo::Reply reply;
  reply.set_status(-1);
  reply.set_private_data("data");
  EXPECT_EQ(ToHex(EncodedReply(command, *request, reply, kOldVersion)), "64617461");
  EXPECT_EQ(ToHex(EncodedReply(command, *request, reply, kVersion)), "ffffffff64617461");

  host::QueryAdapterInfo::Reply decoded;
  ASSERT_TRUE(command.decode_reply(FromHex("64617461eeeeeeee"), *request, kOldVersion, &decoded));
  EXPECT_EQ(decoded.private_data(), "data");
  EXPECT_EQ(decoded.status(), 0);
  ASSERT_TRUE(command.decode_reply(FromHex("0301000064617461"), *request, kVersion, &decoded));
  EXPECT_EQ(decoded.private_data(), "data");
  EXPECT_EQ(decoded.status(), 0x103);
}

TEST(Versions, GetInternalAdapterInfoNamesTheVgpuFromInterface40On) {
  const CommandRow& command = *FindHostCommand(kHostCommandId<host::GetInternalAdapterInfo::Request>);
  host::GetInternalAdapterInfo::Request request;
  EXPECT_EQ(command.reply_size(request, kOldVersion), 704u);
  EXPECT_EQ(command.reply_size(request, kVersion), 712u);

  host::GetInternalAdapterInfo::Reply reply, decoded;
  reply.set_host_vgpu_luid(0x1122334455667788);
  Bytes bytes = EncodedReply(command, request, reply, kVersion);
  EXPECT_EQ(ToHex(std::span(bytes).last(8)), "8877665544332211");
  ASSERT_TRUE(command.decode_reply(bytes, request, kVersion, &decoded));
  EXPECT_EQ(decoded.host_vgpu_luid(), 0x1122334455667788u);
  // The same bytes from an old host: what follows its reply is no LUID, and nothing is left of the last
  // reply.
  ASSERT_TRUE(command.decode_reply(bytes, request, kOldVersion, &decoded));
  EXPECT_EQ(decoded.host_vgpu_luid(), 0u);
}

TEST(Versions, NothingElseDepends) {
  const std::set<std::string> depends = {"QUERYADAPTERINFO", "GETINTERNALADAPTERINFO"};
  for (const CommandRow& command : HostCommands()) {
    const auto request = RequestWithTail(command, 8);
    EXPECT_EQ(command.reply_size(*request, kOldVersion) != command.reply_size(*request, kVersion),
              depends.contains(command.name))
        << command.name;
  }
}

// -- Garbage --------------------------------------------------------------------------------------

Bytes RandomBytes(size_t size, Random* random) {
  Bytes bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>((*random)());
  return bytes;
}

// Random bytes of any length: decoding never fails badly, and what it accepts comes back as it was.
TEST(Garbage, IsRefusedOrStable) {
  Random random(kSeed);
  for (const CommandRow& command : HostCommands()) {
    const auto tails = TailsOf(command.request);
    for (int attempt = 0; attempt < 1000; ++attempt) {
      SCOPED_TRACE(std::string(command.name) + ", seed " + std::to_string(kSeed) + ", try " +
                   std::to_string(attempt));
      Bytes bytes = RandomBytes(random() % 1200, &random);
      for (const FieldDescriptor* tail : tails) {
        const auto* length = command.request->GetDescriptor()->FindFieldByName(CountName(tail));
        if (length == nullptr || attempt % 2 != 0 || bytes.size() < Options(command).request_bytes())
          continue;
        // Otherwise hardly any tail is as long as it says.
        const uint32_t size = static_cast<uint32_t>(random() % (attempt % 4 == 0 ? 4 : bytes.size() + 8));
        std::memcpy(bytes.data() + Wire(length).at(), &size, sizeof(size));
      }
      const auto request = New(command.request);
      if (!command.decode_request(bytes, request.get())) continue;
      const auto again = New(command.request);
      ASSERT_TRUE(command.decode_request(Encoded(command, *request), again.get()));
      ASSERT_EQ(again->SerializeAsString(), request->SerializeAsString());

      for (uint32_t version : {kOldVersion, kVersion}) {
        const Bytes answer = RandomBytes(random() % 1200, &random);
        const auto reply = New(command.reply), same = New(command.reply);
        if (!command.decode_reply(answer, *request, version, reply.get())) continue;
        ASSERT_TRUE(command.decode_reply(EncodedReply(command, *request, *reply, version), *request, version,
                                         same.get()));
        ASSERT_EQ(same->SerializeAsString(), reply->SerializeAsString());
      }
    }
  }
}

}  // namespace
}  // namespace dxg::contract::packets
