// Bytes that calls carry without a type, as their fields; bits and values by their published names.
#include "proto/contract/answers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "proto/abi/qaitype.h"
#include "proto/contract/calls.gen.h"
#include "proto/contract/json.h"
#include "proto/contract/names.h"
#include "proto/contract/text.h"
#include "proto/dxg/answers.pb.h"

namespace dxg::contract {
namespace {

template <typename Number>
void Put(std::string* bytes, size_t at, Number number) {
  bytes->resize(std::max(bytes->size(), at + sizeof(number)));
  std::memcpy(bytes->data() + at, &number, sizeof(number));
}

void PutText(std::string* bytes, size_t at, std::u16string_view text) {
  for (size_t i = 0; i < text.size(); ++i) Put(bytes, at + 2 * i, text[i]);
}

std::string Answered(uint32_t type, const std::string& bytes) {
  calls::QueryAdapterInfo::Request request;
  calls::QueryAdapterInfo::Reply reply;
  request.set_type(type);
  reply.set_private_data(bytes);
  AnswerDecoder decoder;
  std::string text;
  AppendText(reply, 32, decoder.OfReply(calls::QueryAdapterInfo::Row(), request, reply), &text);
  return text;
}

TEST(Answers, NumbersBitsAndEnumsAreFields) {
  std::string node(78, '\0');
  Put<uint32_t>(&node, 0, 0x00010002);
  Put<uint32_t>(&node, 4, 6);
  PutText(&node, 8, u"Copy");
  Put<uint32_t>(&node, 72, 0x00040001);
  Put<uint8_t>(&node, 76, 1);
  EXPECT_EQ(Answered(KMTQAITYPE_NODEMETADATA, node),
            "{private_data={node_ordinal=2, physical_adapter_index=1, engine_type=ENGINE_COPY, "
            "friendly_name=\"Copy\", context_scheduling_supported=true, ring_buffer_fence_release=false, "
            "max_in_flight_hw_queue_buffers=4, gpu_mmu_supported=true, io_mmu_supported=false}}");
}

TEST(Answers, FlagWordsHaveTheNamesOfThePublishedHeader) {
  std::string type;
  Put<uint32_t>(&type, 0, 0x891);
  EXPECT_EQ(Answered(KMTQAITYPE_ADAPTERTYPE, type),
            "{private_data={value=0x891(render_supported|hybrid_discrete|paravirtualized|compute_only)}}");
}

TEST(Answers, GuidsVersionsAndTextsAreText) {
  std::string guid;
  Put<uint32_t>(&guid, 0, 0x12345678);
  Put<uint16_t>(&guid, 4, 0x9abc);
  Put<uint16_t>(&guid, 6, 0xdef0);
  for (uint8_t i = 0; i < 8; ++i) Put<uint8_t>(&guid, 8 + i, i);
  EXPECT_EQ(Answered(KMTQAITYPE_ADAPTERGUID, guid),
            "{private_data={guid=\"{12345678-9abc-def0-0001-020304050607}\"}}");
  std::string version;
  Put<uint64_t>(&version, 0, 0x00200000000f03e8);
  EXPECT_EQ(Answered(KMTQAITYPE_UMD_DRIVER_VERSION, version),
            "{private_data={driver_version=\"32.0.15.1000\"}}");
  // A pair of surrogates, and half of one.
  std::string name;
  PutText(&name, 0, std::u16string{0xd83d, 0xde00, 0xd800, u'x', 0, u'y'});
  EXPECT_EQ(Answered(KMTQAITYPE_DRIVER_DESCRIPTION, name),
            "{private_data={driver_description=\"\\xf0\\x9f\\x98\\x80\\xef\\xbf\\xbdx\"}}");
}

TEST(Answers, ARegistryValueIsWhatItsTypeSays) {
  std::string registry(544, '\0');
  PutText(&registry, 8, u"Name");
  Put<uint32_t>(&registry, 528, 1);
  Put<uint32_t>(&registry, 536, 4);
  PutText(&registry, 544, u"abcd");
  EXPECT_NE(Answered(KMTQAITYPE_QUERYREGISTRY, registry).find("value_name=\"Name\", value_type=REG_SZ"),
            std::string::npos);
  EXPECT_NE(Answered(KMTQAITYPE_QUERYREGISTRY, registry).find("output_text=\"ab\"}"), std::string::npos)
      << "only as many bytes as it has";
  Put<uint32_t>(&registry, 528, 4);
  Put<uint32_t>(&registry, 544, 77);
  EXPECT_NE(Answered(KMTQAITYPE_QUERYREGISTRY, registry).find("output_dword=77}"), std::string::npos);
}

TEST(Answers, WhatIsUnknownOrTooShortStaysBytes) {
  EXPECT_EQ(Answered(1000, "abcd"), "{private_data=\"abcd\"}");
  EXPECT_EQ(Answered(KMTQAITYPE_GETSEGMENTSIZE, std::string(23, 'x')),
            "{private_data=\"" + std::string(23, 'x') + "\"}");
  EXPECT_EQ(Answered(KMTQAITYPE_UMDRIVERPRIVATE, std::string(32, 'x')),
            "{private_data=\"" + std::string(32, 'x') + "\"}")
      << "another driver's";
}

TEST(Answers, StatesStatisticsAndEscapesAreDecoded) {
  AnswerDecoder decoder;
  calls::GetDeviceState::Request asked;
  calls::GetDeviceState::Reply state;
  std::string bytes(48, '\0');
  Put<uint32_t>(&bytes, 0, 7);
  state.set_state_type(1);
  state.set_state(bytes);
  std::string text;
  AppendText(state, 32, decoder.OfReply(calls::GetDeviceState::Row(), asked, state), &text);
  EXPECT_NE(text.find("state={execution_state=D3DKMT_DEVICEEXECUTION_ERROR_DMAPAGEFAULT}"), std::string::npos)
      << text;

  calls::QueryStatistics::Request question;
  calls::QueryStatistics::Reply statistics;
  question.set_type(3);
  std::string segment(776, '\0');
  Put<uint64_t>(&segment, 16, 4096);
  statistics.set_result(segment);
  const DecodedField decoded = decoder.OfReply(calls::QueryStatistics::Row(), question, statistics);
  ASSERT_NE(decoded.message, nullptr);
  EXPECT_TRUE(IsMeasured(*decoded.message));
  EXPECT_NE(ToText(*decoded.message).find("bytes_resident=4096"), std::string::npos);

  calls::Escape::Request escape;
  escape.set_priv_drv_data(std::string("SGPU\x01\0\0\0hello", 13));
  const DecodedField ping = decoder.OfRequest(calls::Escape::Row(), escape);
  ASSERT_NE(ping.message, nullptr);
  EXPECT_EQ(ToText(*ping.message), "{is_reply=false, ping=\"hello\"}");
}

// A layout whose fields overlap, or that asks for a type of the header that there is not, is a wrong table.
TEST(Answers, EachLayoutIsWithinItself) {
  const auto* file = answers::AnswerRule::descriptor()->file();
  int layouts = 0;
  for (int i = 0; i < file->message_type_count(); ++i) {
    const auto* layout = file->message_type(i);
    if (!layout->options().HasExtension(answers::answer)) continue;
    ++layouts;
    const auto& rule = layout->options().GetExtension(answers::answer);
    for (const uint64_t type : rule.types())
      EXPECT_EQ(AnswerLayout(rule.call(), type), layout) << layout->name();
    for (int k = 0; k < layout->field_count(); ++k) {
      const auto& at = layout->field(k)->options().GetExtension(answers::at);
      EXPECT_TRUE(layout->field(k)->options().HasExtension(answers::at)) << layout->field(k)->full_name();
      if (!at.type().empty()) {
        EXPECT_FALSE(BitsOf(at.type()).empty() && ValuesOf(at.type()).empty())
            << layout->field(k)->full_name();
      }
      for (const std::string& other : {at.when(), at.size()}) {
        if (other.empty()) continue;
        EXPECT_NE(layout->FindFieldByName(other), nullptr) << layout->field(k)->full_name();
      }
    }
  }
  EXPECT_GT(layouts, 40);
}

// -- Names ----------------------------------------------------------------------------------------

TEST(Names, BitsOfCallsAreThoseOfTheirStructs) {
  calls::CreateAllocation::Request allocation;
  allocation.set_flags(0x10020);
  EXPECT_NE(ToText(allocation).find("flags=0x10020(existing_sysmem|standard_allocation)"), std::string::npos);
  calls::CreateContextVirtual::Request context;
  context.set_flags(0x21);  // the second is one that only flags.h has
  EXPECT_NE(ToText(context).find("flags=0x21(null_rendering|no_kmd_access)"), std::string::npos);
  calls::OfferAllocations::Request offer;
  offer.set_flags(0x1);
  EXPECT_NE(ToText(offer).find("flags=0x1("), std::string::npos);
  calls::CreateDevice::Request device;
  device.set_flags(1);
  EXPECT_NE(ToText(device).find("flags=0x1(legacy_mode)"), std::string::npos) << ToText(device);
}

TEST(Names, ValuesAreThoseOfTheEnumThatTheHeaderNames) {
  calls::ReserveGpuVirtualAddress::Request reserve;
  reserve.set_reservation_type(1);
  EXPECT_NE(ToText(reserve).find("=D3DDDIGPUVA_RESERVE_ZERO"), std::string::npos) << ToText(reserve);
}

TEST(Names, StatusesHaveTheirPublishedNames) {
  EXPECT_STREQ(NtStatusName(static_cast<int32_t>(0xc00002b6)), "STATUS_DEVICE_REMOVED");
  EXPECT_EQ(NtStatusName(0x7777), nullptr);
}

// -- Addresses ------------------------------------------------------------------------------------

TEST(Addresses, AreThoseOfTheUnionsArmAndEachOnce) {
  calls::CreateSynchronizationObject::Request request;
  request.mutable_monitored_fence();
  const CallRow& row = calls::CreateSynchronizationObject::Row();
  std::vector<std::string> shown;
  const uint64_t addresses[] = {0x1000, 0x2000};
  ForEachAddress(row, &request, addresses, [&](const std::string& name, uint64_t address) {
    shown.push_back(name + std::to_string(address));
  });
  EXPECT_EQ(shown, std::vector<std::string>{"fence_cpu_virtual_address4096"});
  shown.clear();
  const uint64_t twice[] = {5, 5};
  ForEachAddress(calls::QueryAdapterInfo::Row(), nullptr, twice,
                 [&](const std::string& name, uint64_t) { shown.push_back(name); });
  EXPECT_EQ(shown, std::vector<std::string>{"private_data"});
  for (const CallRow& call : Calls())
    EXPECT_EQ(AddressNames(call).size(), call.addresses.size()) << call.name;
}

// -- JSON -----------------------------------------------------------------------------------------

TEST(Json, IsThatOfProtobuf) {
  calls::EnumAdapters2::Reply reply;
  reply.set_num_adapters(1);
  reply.add_adapters()->set_adapter_luid(~0ull);
  std::string json;
  AppendJson(reply, &json);
  EXPECT_EQ(json,
            R"({"num_adapters":1,"adapters":[{"adapter_handle":0,"adapter_luid":"18446744073709551615",)"
            R"("num_sources":0,"present_move_regions_preferred":0}]})");
  calls::Escape::Reply escape;
  for (const auto& [bytes, base64] : {std::pair<const char*, const char*>{"", ""},
                                      {"a", "YQ=="},
                                      {"ab", "YWI="},
                                      {"abc", "YWJj"},
                                      {"\xff\xfe\xfd\xfc", "//79/A=="}}) {
    escape.set_priv_drv_data(bytes);
    json.clear();
    AppendJson(escape, &json);
    EXPECT_EQ(json, std::string(R"({"priv_drv_data":")") + base64 + "\"}");
  }
}

TEST(Json, StringsAreAsciiAndWhatIsNoTextIsReplaced) {
  for (const auto& [text, json] : {std::pair<std::string, const char*>{"a\"\\\n", R"("a\"\\\u000a")"},
                                   {"\xc3\xa9\xf0\x9f\x98\x80", R"("\u00e9\ud83d\ude00")"},
                                   {"\xff\xc3", R"("\ufffd\ufffd")"},
                                   {"\xed\xa0\x80", R"("\ufffd\ufffd\ufffd")"}}) {
    std::string out;
    AppendJsonString(text, &out);
    EXPECT_EQ(out, json);
  }
}

}  // namespace
}  // namespace dxg::contract
