// Messages and results as people read them.
#include "proto/contract/text.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "proto/contract/calls.gen.h"

namespace dxg::contract {
namespace {

TEST(ToText, ShowsHandlesNamesNumbersAndBytes) {
  calls::QueryAdapterInfo::Request request;
  request.set_adapter(0x40000000);
  request.set_type(15);
  request.set_private_data_size(4);
  request.set_private_data(std::string("\x00\x00\x01\xff", 4));
  EXPECT_EQ(ToText(request),
            "{adapter=0x40000000, type=KMTQAITYPE_ADAPTERTYPE, private_data_size=4, "
            "private_data=\"\\x00\\x00\\x01\\xff\"}");
}

TEST(ToText, ShowsValuesWithoutANameAsNumbers) {
  calls::QueryAdapterInfo::Request request;
  for (const auto& [value, text] : {std::pair{14u, "14"}, {1000u, "1000"}, {~0u, "4294967295"}}) {
    request.set_type(value);
    EXPECT_EQ(ToText(request), "{adapter=0x0, type=" + std::string(text) + ", private_data_size=0}");
  }
}

TEST(ToText, ShowsZeroNumbersButNoMissingMemory) {
  EXPECT_EQ(
      ToText(calls::Escape::Request()),
      "{adapter=0x0, device=0x0, type=ESCAPE_DRIVERPRIVATE, flags=0x0, priv_drv_data_size=0, context=0x0}");
  EXPECT_EQ(ToText(calls::DestroyDevice::Reply()), "{}");
}

TEST(ToText, ShowsLuids) {
  calls::OpenAdapterFromLuid::Request request;
  request.set_adapter_luid(0x0000000100abcdef);
  EXPECT_EQ(ToText(request), "{adapter_luid=00000001-00abcdef, adapter_handle=0x0}");
}

TEST(ToText, ShowsNegativeNumbers) {
  calls::SetContextSchedulingPriority::Request request;
  request.set_context(0x80000040);
  request.set_priority(-7);
  EXPECT_EQ(ToText(request), "{context=0x80000040, priority=-7}");
}

TEST(ToText, ShowsMessagesInsideMessages) {
  calls::EnumAdapters2::Reply reply;
  reply.set_num_adapters(1);
  auto* adapter = reply.add_adapters();
  adapter->set_adapter_handle(0x40000000);
  adapter->set_adapter_luid(0x12345);
  EXPECT_EQ(
      ToText(reply),
      "{num_adapters=1, adapters=[{adapter_handle=0x40000000, adapter_luid=00000000-00012345, num_sources=0, "
      "present_move_regions_preferred=0}]}");

  calls::CreateSynchronizationObject::Request request;
  request.set_type(3);
  request.mutable_fence()->set_fence_value(9);
  EXPECT_EQ(ToText(request), "{device=0x0, type=SYNC_FENCE, flags=0x0, fence={fence_value=9}}");
}

TEST(ToText, QuotesWhatWouldEndTheText) {
  calls::Escape::Reply reply;
  reply.set_priv_drv_data("a\"b\\c\n~");
  EXPECT_EQ(ToText(reply), R"({priv_drv_data="a\x22b\x5cc\x0a~"})");
}

TEST(ToText, CutsLongBytes) {
  calls::Escape::Reply reply;
  reply.set_priv_drv_data(std::string(32, 'x'));
  EXPECT_EQ(ToText(reply), "{priv_drv_data=\"" + std::string(32, 'x') + "\"}");
  reply.set_priv_drv_data(std::string(33, 'x'));
  EXPECT_EQ(ToText(reply), "{priv_drv_data=\"" + std::string(32, 'x') + "\"... 33 bytes}");
  EXPECT_EQ(ToText(reply, 2), "{priv_drv_data=\"xx\"... 33 bytes}");
  reply.set_priv_drv_data(std::string(131072, '\xff'));
  EXPECT_LT(ToText(reply).size(), 200u);
}

TEST(ToText, CutsLongLists) {
  calls::EnumProcesses::Reply reply;
  for (uint32_t i = 0; i < 3; ++i) reply.add_buffer(i);
  EXPECT_EQ(ToText(reply, 3), "{buffer_count=0, buffer=[0, 1, 2]}");
  EXPECT_EQ(ToText(reply, 2), "{buffer_count=0, buffer=[0, 1, ... 3 in all]}");
}

TEST(ToText, CutsInsideMessagesToo) {
  calls::CreateAllocation::Request request;
  request.add_allocation_info()->set_priv_drv_data("abcdef");
  EXPECT_NE(ToText(request, 3).find("priv_drv_data=\"abc\"... 6 bytes"), std::string::npos)
      << ToText(request, 3);
}

TEST(ErrnoName, NamesErrnosAndNumbersTheRest) {
  EXPECT_EQ(ErrnoName(ENOTTY), "ENOTTY");
  EXPECT_EQ(ErrnoName(EINVAL), "EINVAL");
  EXPECT_EQ(ErrnoName(EOVERFLOW), "EOVERFLOW");
  EXPECT_EQ(ErrnoName(4000), "errno 4000");
}

TEST(ResultText, ShowsErrnosAsTheClientSeesThem) {
  EXPECT_EQ(ResultText(0), "0");
  EXPECT_EQ(ResultText(-EINVAL), "-1 EINVAL (Invalid argument)");
  EXPECT_EQ(ResultText(-ENOTTY), "-1 ENOTTY (Inappropriate ioctl for device)");
  EXPECT_EQ(ResultText(-4000), "-1 errno 4000 (?)");
}

TEST(ResultText, ShowsStatusesWithTheirName) {
  EXPECT_EQ(ResultText(0x102), "0x102 STATUS_TIMEOUT");
  EXPECT_EQ(ResultText(0x103), "0x103 STATUS_PENDING");
  EXPECT_EQ(ResultText(static_cast<int32_t>(0xc000000d)), "0xc000000d STATUS_INVALID_PARAMETER");
  EXPECT_EQ(ResultText(0x104), "0x104");
  EXPECT_EQ(ResultText(3), "0x3");
}

// The kernel takes -1 to -4095 for an errno, and so does a client's libc.
TEST(ResultText, ErrnosEndAt4095) {
  EXPECT_EQ(ResultText(-4095), "-1 errno 4095 (?)");
  EXPECT_EQ(ResultText(-4096), "0xfffff000");
}

}  // namespace
}  // namespace dxg::contract
