// The table of calls against the golden record of the published ABI.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <set>
#include <string>
#include <tuple>

#include "proto/contract/calls.gen.h"
#include "tests/contract/abi_record.h"

namespace dxg::contract {
namespace {

std::string UpperCase(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

std::set<uint32_t> PublishedCodes() {
  std::set<uint32_t> codes;
  for (const AbiIoctl& ioctl : AbiIoctls()) codes.insert(ioctl.code);
  return codes;
}

TEST(Calls, AreThePublishedOnesInOrderOfNumber) {
  const auto published = AbiIoctls();
  ASSERT_EQ(published.size(), 65u);
  ASSERT_EQ(Calls().size(), published.size());
  for (size_t i = 0; i < published.size(); ++i) {
    SCOPED_TRACE(published[i].name);
    const CallRow& call = Calls()[i];
    EXPECT_EQ(call.nr, published[i].nr);
    EXPECT_EQ(call.code, published[i].code);
    EXPECT_EQ(call.args_size, published[i].size);
    EXPECT_EQ(call.ioctl, published[i].name);
    if (i > 0) {
      EXPECT_LT(Calls()[i - 1].nr, call.nr);
    }
  }
}

TEST(Calls, HaveTheNameOfTheirIoctl) {
  for (const CallRow& call : Calls()) {
    const std::string upper = UpperCase(call.name);
    const bool same = call.ioctl == "LX_DX" + upper || call.ioctl == "LX_" + upper;
    EXPECT_TRUE(same) << call.name << " is " << call.ioctl;
  }
}

TEST(Calls, HaveMessagesAndALineForPeople) {
  for (const CallRow& call : Calls()) {
    SCOPED_TRACE(call.name);
    EXPECT_EQ(call.request->GetDescriptor()->containing_type()->name(), call.name);
    EXPECT_EQ(call.reply->GetDescriptor()->containing_type()->name(), call.name);
    EXPECT_NE(std::string(call.summary), "");
  }
}

TEST(Differences, NameCallsThatThereAreAndSayWhatHappens) {
  std::set<std::string> names, occasions;
  for (const CallRow& call : Calls()) names.insert(call.name);
  for (const Difference& difference : Differences()) {
    SCOPED_TRACE(difference.what);
    EXPECT_TRUE(occasions.insert(difference.what).second) << "twice";
    EXPECT_NE(std::string(difference.what), "");
    // What only we have needs no word about the driver, but a reason.
    EXPECT_EQ(std::string(difference.driver).empty(), difference.place == ONLY_HERE);
    EXPECT_FALSE(std::string(difference.here).empty() && std::string(difference.why).empty());
    for (const char* call : difference.calls) {
      EXPECT_TRUE(names.contains(call)) << call;
      EXPECT_TRUE(difference.Concerns(call));
    }
    EXPECT_FALSE(difference.Concerns("NoCall"));
  }
  EXPECT_GT(occasions.size(), 30u);
}

TEST(UnheededFlags, AreOfFieldsOfCommands) {
  std::map<std::string, const Message*> requests;
  for (const CommandRow& command : HostCommands())
    requests[command.request->GetDescriptor()->containing_type()->name()] = command.request;
  std::set<std::string> calls;
  for (const CallRow& call : Calls()) calls.insert(call.name);
  std::set<std::tuple<std::string, std::string, uint32_t>> seen;
  for (const UnheededFlag& flag : UnheededFlags()) {
    SCOPED_TRACE(flag.flag);
    EXPECT_TRUE(calls.contains(flag.call)) << flag.call;
    ASSERT_TRUE(requests.contains(flag.call)) << flag.call;
    const auto* field = requests[flag.call]->GetDescriptor()->FindFieldByName(flag.field);
    ASSERT_NE(field, nullptr) << flag.field;
    using Field = google::protobuf::FieldDescriptor;
    EXPECT_TRUE(field->cpp_type() == Field::CPPTYPE_UINT32 || field->cpp_type() == Field::CPPTYPE_UINT64);
    EXPECT_LT(flag.bit, 32u);
    EXPECT_NE(std::string(flag.why), "");
    EXPECT_TRUE(seen.insert({flag.call, flag.field, flag.bit}).second) << "twice";
  }
  EXPECT_GT(seen.size(), 10u);
}

TEST(Calls, EveryNumberHasExactlyOneRow) {
  std::map<uint32_t, std::string> rows;
  for (const CallRow& call : Calls()) EXPECT_TRUE(rows.emplace(call.nr, call.name).second) << call.name;
  for (const UnhandledNumber& number : UnhandledNumbers()) {
    EXPECT_TRUE(rows.emplace(number.nr, number.name).second) << number.nr << " " << number.name;
  }
  EXPECT_EQ(rows.begin()->first, 0u);
  EXPECT_EQ(rows.rbegin()->first, 0x49u);
  EXPECT_EQ(rows.size(), 0x4au);
}

TEST(UnhandledNumbers, AreTheNinePublishedOnesWithTheirOldCodes) {
  const auto& record = AbiRecord();
  ASSERT_EQ(record.at("unassigned_nrs").size(), 9u);
  ASSERT_EQ(UnhandledNumbers().size(), 9u);
  std::map<uint32_t, uint32_t> old_codes;
  std::map<uint32_t, std::string> thunks;
  for (const auto& [nr, legacy] : record.at("legacy_codes_rejected_enotty").items()) {
    const uint32_t number = static_cast<uint32_t>(std::stoul(nr, nullptr, 16));
    old_codes[number] = legacy.at("code").get<uint32_t>();
    thunks[number] = legacy.at("thunk").get<std::string>();
  }
  for (size_t i = 0; i < 9; ++i) {
    const UnhandledNumber& row = UnhandledNumbers()[i];
    SCOPED_TRACE(row.name);
    EXPECT_EQ(row.nr, record["unassigned_nrs"][i].get<uint32_t>());
    EXPECT_EQ(row.legacy_code, old_codes[row.nr]);  // 0 where there never was one
    EXPECT_EQ(row.legacy_code == 0 ? "" : std::string("D3DKMT") + row.name, thunks[row.nr]);
    EXPECT_EQ(FindCall(row.legacy_code), nullptr);
  }
}

TEST(FindCall, FindsEveryPublishedCode) {
  for (const AbiIoctl& ioctl : AbiIoctls()) {
    const CallRow* call = FindCall(ioctl.code);
    ASSERT_NE(call, nullptr) << ioctl.name;
    EXPECT_EQ(call->ioctl, ioctl.name);
  }
}

// Whatever a code has beside a known one, in any single part of it, it is unknown: no number with another
// size, no direction or type byte that a client might get away with.
TEST(FindCall, RefusesEveryNeighbour) {
  const std::set<uint32_t> published = PublishedCodes();
  const auto refuses = [&](uint32_t code) { return published.contains(code) || FindCall(code) == nullptr; };
  for (const CallRow& call : Calls()) {
    SCOPED_TRACE(call.ioctl);
    for (uint32_t nr = 0; nr < 0x100; ++nr) {
      ASSERT_TRUE(refuses((call.code & ~0xffu) | nr)) << "number " << nr;
    }
    for (uint32_t type = 0; type < 0x100; ++type) {
      ASSERT_TRUE(refuses((call.code & ~0xff00u) | type << 8)) << "type " << type;
    }
    for (uint32_t size = 0; size < 0x4000; ++size) {
      ASSERT_TRUE(refuses((call.code & ~0x3fff0000u) | size << 16)) << "size " << size;
    }
    for (uint32_t direction = 0; direction < 4; ++direction) {
      ASSERT_TRUE(refuses((call.code & ~0xc0000000u) | direction << 30)) << "direction " << direction;
    }
  }
}

TEST(FindCall, RefusesZeroAndTheHighestCode) {
  EXPECT_EQ(FindCall(0), nullptr);
  EXPECT_EQ(FindCall(~0u), nullptr);
}

TEST(Traits, BelongToTheRowOfTheirName) {
  size_t served = 0;
#define DXG_EXPECT_ROW(Name)                                                     \
  {                                                                              \
    const CallRow& row = calls::Name::Row();                                     \
    EXPECT_STREQ(row.name, #Name);                                               \
    EXPECT_EQ(row.code, calls::Name::kCode);                                     \
    EXPECT_EQ(row.args_size, sizeof(calls::Name::Args));                         \
    EXPECT_EQ(row.request->GetDescriptor(), calls::Name::Request::descriptor()); \
    EXPECT_EQ(row.reply->GetDescriptor(), calls::Name::Reply::descriptor());     \
    EXPECT_TRUE(row.served) << row.name;                                         \
    ++served;                                                                    \
  }
  DXG_FOR_EACH_SERVED_CALL(DXG_EXPECT_ROW)
#undef DXG_EXPECT_ROW
  EXPECT_EQ(served, std::ranges::count(Calls(), true, &CallRow::served));
}

}  // namespace
}  // namespace dxg::contract
