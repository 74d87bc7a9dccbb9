// What values stand for where recordings are compared.
#include "proto/contract/meaning.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "proto/contract/answers.h"
#include "proto/contract/calls.gen.h"

namespace dxg::contract {
namespace {

// Of a field of the Request or of the Reply, by what the Request asks.
template <typename Traits>
Kind KindIn(const google::protobuf::Descriptor* message, const char* field,
            const typename Traits::Request& request = {}) {
  return KindOf(*message->FindFieldByName(field), request);
}

// answers.proto says which answers are measured; meaning.proto has to leave out the same. Of statistics that
// is all of them: what has no name in answers.proto are counters, too.
TEST(Meaning, AnswersAreMeasuredWhereTheirLayoutSaysSo) {
  constexpr uint32_t kTypes = 256;
  int measured = 0;
  for (uint32_t type = 0; type < kTypes; ++type) {
    calls::QueryAdapterInfo::Request query;
    query.set_type(type);
    const Kind kind =
        KindIn<calls::QueryAdapterInfo>(calls::QueryAdapterInfo::Reply::descriptor(), "private_data", query);
    EXPECT_EQ(kind == Kind::kMeasured, IsMeasured("QueryAdapterInfo", type)) << type;
    measured += kind == Kind::kMeasured;
    calls::QueryStatistics::Request statistics;
    statistics.set_type(type);
    EXPECT_EQ(
        KindIn<calls::QueryStatistics>(calls::QueryStatistics::Reply::descriptor(), "result", statistics),
        Kind::kMeasured);
    EXPECT_FALSE(IsMeasured("GetDeviceState", type)) << type;
  }
  EXPECT_GT(measured, 0);
}

TEST(Meaning, OfHandlesThoseOfAdaptersAreTheirOwn) {
  const auto* const enumerated = calls::OpenAdapterFromLuid::Reply::descriptor();
  EXPECT_EQ(KindIn<calls::OpenAdapterFromLuid>(enumerated, "adapter_handle"), Kind::kAdapter);
  const auto* const create = calls::CreateDevice::Request::descriptor();
  EXPECT_EQ(KindIn<calls::CreateDevice>(create, "adapter"), Kind::kAdapter);
  EXPECT_EQ(KindIn<calls::CreateDevice>(calls::CreateDevice::Reply::descriptor(), "device"), Kind::kHandle);
  // The host's, which the program does not know.
  const auto* const flushed = calls::FlushHeapTransitions::Reply::descriptor();
  EXPECT_EQ(KindIn<calls::FlushHeapTransitions>(flushed, "adapter"), Kind::kMeasured);
  EXPECT_NE(NameOf(Kind::kAdapter, 0x40), NameOf(Kind::kHandle, 0x40));
}

TEST(Rewrite, SeesListsAndWhatIsInThem) {
  calls::CreateAllocation::Request request;
  calls::CreateAllocation::Reply reply;
  reply.set_resource(0x40);
  reply.add_allocation_info()->set_allocation(0x80);
  std::vector<uint64_t> in_lists, others;
  ForEachValue(reply, request, [&](const Value& value) {
    if (value.kind == Kind::kHandle && value.number != 0)
      (value.in_list ? in_lists : others).push_back(value.number);
  });
  EXPECT_EQ(others, std::vector<uint64_t>{0x40});
  EXPECT_EQ(in_lists, std::vector<uint64_t>{0x80});
}

TEST(Rewrite, KeepsOrEmptiesBytesThatAreRoom) {
  calls::QueryStatistics::Request request;
  request.set_result("left by the client");
  const auto same = [](const Value& value) { return value.number; };
  calls::QueryStatistics::Request kept = request;
  Rewrite(&kept, request, same, Room::kKept);
  EXPECT_EQ(kept.result(), request.result());
  Rewrite(&kept, request, same);
  EXPECT_TRUE(kept.result().empty());
}

}  // namespace
}  // namespace dxg::contract
