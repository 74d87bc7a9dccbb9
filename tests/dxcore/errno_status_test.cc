#include "cuse-dxg/dxcore/errno_status.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "cuse-dxg/guest/nt_status.h"

namespace dxg::dxcore {
namespace {

constexpr int kErrnoMax = 4095;

std::map<int, int32_t> Table() {
  std::map<int, int32_t> table;
#define DXG_ROW(number, status) \
  EXPECT_TRUE(table.emplace(number, status).second) << #number << " is in it twice";
  DXG_FOR_EACH_ERRNO_STATUS(DXG_ROW)
#undef DXG_ROW
  return table;
}

TEST(ErrnoStatus, EveryErrnoHasTheStatusOfItsRowOrNone) {
  const auto table = Table();
  for (int error = 0; error <= kErrnoMax; ++error) {
    const auto row = table.find(error);
    EXPECT_EQ(StatusOf(error), row != table.end() ? row->second : DXG_STATUS_UNSUCCESSFUL) << error;
  }
  EXPECT_EQ(table.size(), 14u);
}

// A status goes to an errno in the driver and back to a status in the library. These are the ones that come
// back as another one (docs/wsl-libraries.md).
TEST(ErrnoStatus, ComesBackAsItWentUnlessTwoHaveOneErrno) {
  const std::map<int32_t, int32_t> kOthers = {
      {DXG_STATUS_OBJECT_NAME_NOT_FOUND, DXG_STATUS_OBJECT_NAME_INVALID},
      {DXG_STATUS_NOT_IMPLEMENTED, DXG_STATUS_NOT_SUPPORTED},
  };
  for (const int32_t status :
       {DXG_STATUS_NOT_IMPLEMENTED, DXG_STATUS_INVALID_HANDLE, DXG_STATUS_INVALID_PARAMETER,
        DXG_STATUS_NO_MEMORY, DXG_STATUS_ILLEGAL_INSTRUCTION, DXG_STATUS_ACCESS_DENIED,
        DXG_STATUS_BUFFER_TOO_SMALL, DXG_STATUS_OBJECT_TYPE_MISMATCH, DXG_STATUS_OBJECT_NAME_INVALID,
        DXG_STATUS_OBJECT_NAME_NOT_FOUND, DXG_STATUS_OBJECT_NAME_COLLISION, DXG_STATUS_NOT_SUPPORTED,
        DXG_STATUS_DEVICE_REMOVED, DXG_STATUS_GRAPHICS_ALLOCATION_BUSY}) {
    const int result = guest::FromNtStatus(status, "Test").value();
    ASSERT_LT(result, 0) << std::hex << status;
    const auto other = kOthers.find(status);
    EXPECT_EQ(StatusOf(-result), other != kOthers.end() ? other->second : status) << std::hex << status;
  }
}

}  // namespace
}  // namespace dxg::dxcore
