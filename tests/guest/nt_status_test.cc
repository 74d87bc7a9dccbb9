#include "cuse-dxg/guest/nt_status.h"

#include <gtest/gtest.h>

#include "proto/abi/ntstatus.h"

namespace dxg::guest {
namespace {

int32_t ResultOf(uint32_t nt_status) {
  return FromNtStatus(static_cast<int32_t>(nt_status), "a command").value();
}

// [GEN] 9
TEST(NtStatus, SuccessAndOtherPositiveOnesAreReturnedAsTheyAre) {
  EXPECT_EQ(ResultOf(0), 0);
  EXPECT_EQ(ResultOf(0x102), 0x102);
  EXPECT_EQ(ResultOf(0x103), 0x103);
  EXPECT_EQ(ResultOf(0x7fffffff), 0x7fffffff);
}

// [GEN] 10
TEST(NtStatus, FailuresBecomeTheirErrno) {
  EXPECT_EQ(ResultOf(0xC0000035), -EEXIST);
  EXPECT_EQ(ResultOf(0xC0000017), -ENOMEM);
  EXPECT_EQ(ResultOf(0xC000000D), -EINVAL);
  EXPECT_EQ(ResultOf(0xC0000033), -ENOENT);
  EXPECT_EQ(ResultOf(0xC0000034), -ENOENT);
  EXPECT_EQ(ResultOf(0xC0000023), -EOVERFLOW);
  EXPECT_EQ(ResultOf(0xC00002B6), -ENODEV);
  EXPECT_EQ(ResultOf(0xC0000022), -EACCES);
  EXPECT_EQ(ResultOf(0xC00000BB), -EPERM);
  EXPECT_EQ(ResultOf(0xC0000002), -EPERM);
  EXPECT_EQ(ResultOf(0xC000001D), -EOPNOTSUPP);
  EXPECT_EQ(ResultOf(0xC0000008), -EBADF);
  EXPECT_EQ(ResultOf(0xC01E0102), -EINPROGRESS);
  EXPECT_EQ(ResultOf(0xC0000024), -EPROTOTYPE);
}

TEST(NtStatus, UnknownFailuresAreEinval) {
  EXPECT_EQ(ResultOf(0xC0000102), -EINVAL);
  EXPECT_EQ(ResultOf(0x80000005), -EINVAL);
  EXPECT_EQ(ResultOf(0xFFFFFFFF), -EINVAL);
}

TEST(NtStatus, RefusalNamesTheCommandAndTheStatus) {
  EXPECT_EQ(FromNtStatus(kStatusNoMemory, "CreateDevice").why(),
            "the host refused CreateDevice with NTSTATUS 0xc0000017");
}

}  // namespace
}  // namespace dxg::guest
