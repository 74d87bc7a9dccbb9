#include "cuse-dxg/tracer/stop_filter.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "proto/abi/d3dkmthk.h"

namespace dxg::tracer {
namespace {

// What the kernel makes of such a filter, as far as this one goes.
uint32_t Decide(const seccomp_data& call) {
  const std::vector<sock_filter> program = StopFilter();
  uint32_t accumulator = 0;
  for (size_t at = 0; at < program.size(); ++at) {
    const sock_filter& step = program[at];
    switch (step.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        EXPECT_LE(step.k + sizeof(accumulator), sizeof(call));
        std::memcpy(&accumulator, reinterpret_cast<const char*>(&call) + step.k,
                    sizeof(accumulator));  // Safety: bytes
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        accumulator &= step.k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        at += accumulator == step.k ? step.jt : step.jf;
        break;
      case BPF_RET | BPF_K:
        return step.k;
      default:
        ADD_FAILURE() << "a step of code " << step.code << " at " << at;
        return 0;
    }
  }
  ADD_FAILURE() << "the filter ends without a decision";
  return 0;
}

uint32_t Decide(long number, uint64_t first = 0, uint64_t second = 0, uint64_t third = 0) {
  return Decide({.nr = static_cast<int>(number),
                 .arch = AUDIT_ARCH_X86_64,
                 .instruction_pointer = 0,
                 .args = {first, second, third, 0, 0, 0}});
}

constexpr uint32_t kStop = SECCOMP_RET_TRACE | kStopMark;
constexpr uint32_t kPass = SECCOMP_RET_ALLOW;
constexpr uint64_t kUpperHalf = uint64_t{0xdead} << 32;  // of a register, which the kernel does not look at

TEST(StopFilter, StopsAtIoctlsOfTypeG) {
  EXPECT_EQ(Decide(SYS_ioctl, 3, LX_DXESCAPE), kStop);
  EXPECT_EQ(Decide(SYS_ioctl, 3, kUpperHalf | LX_DXESCAPE), kStop);
  EXPECT_EQ(Decide(SYS_ioctl, 3, _IO('G', 0xff)), kStop);
  for (const uint64_t other : {uint64_t{TCGETS}, uint64_t{FIONREAD}, uint64_t{_IO('F', 0x47)},
                               uint64_t{_IO('H', 0x47)}, uint64_t{'G'} << 16, uint64_t{'G'} << 40})
    EXPECT_EQ(Decide(SYS_ioctl, 3, other), kPass) << other;
}

TEST(StopFilter, StopsWhereAFileThatIsThereIsOpened) {
  for (const uint64_t flags : {O_RDONLY, O_RDWR, O_WRONLY, O_RDONLY | O_CLOEXEC, O_RDWR | O_NONBLOCK}) {
    EXPECT_EQ(Decide(SYS_openat, AT_FDCWD, 0, flags), kStop) << flags;
    EXPECT_EQ(Decide(SYS_open, 0, flags), kStop) << flags;
  }
  for (const uint64_t flags : {O_RDWR | O_CREAT, O_RDONLY | O_DIRECTORY, O_PATH}) {
    EXPECT_EQ(Decide(SYS_openat, AT_FDCWD, 0, flags), kPass) << flags;
    EXPECT_EQ(Decide(SYS_open, 0, flags), kPass) << flags;
  }
  EXPECT_EQ(Decide(SYS_openat2), kStop);
}

TEST(StopFilter, StopsWhereADescriptorIsDuplicated) {
  for (const long number : {SYS_dup, SYS_dup2, SYS_dup3, SYS_pidfd_getfd})
    EXPECT_EQ(Decide(number), kStop) << number;
  EXPECT_EQ(Decide(SYS_fcntl, 3, F_DUPFD), kStop);
  EXPECT_EQ(Decide(SYS_fcntl, 3, F_DUPFD_CLOEXEC), kStop);
  EXPECT_EQ(Decide(SYS_fcntl, 3, F_GETFL), kPass);
  EXPECT_EQ(Decide(SYS_fcntl, 3, F_SETFD), kPass);
}

TEST(StopFilter, StopsAtNothingElse) {
  const std::vector<long> stopped = {SYS_open, SYS_openat2, SYS_openat, SYS_ioctl,      SYS_fcntl,
                                     SYS_dup,  SYS_dup2,    SYS_dup3,   SYS_pidfd_getfd};
  for (long number = 0; number < 1000; ++number) {
    if (std::find(stopped.begin(), stopped.end(), number) != stopped.end()) continue;
    EXPECT_EQ(Decide(number, 3, LX_DXESCAPE), kPass) << number;
  }
  constexpr int kIoctlOf32Bit = 54;
  EXPECT_EQ(Decide({.nr = kIoctlOf32Bit,
                    .arch = AUDIT_ARCH_I386,
                    .instruction_pointer = 0,
                    .args = {3, LX_DXESCAPE, 0, 0, 0, 0}}),
            kPass);
  EXPECT_EQ(Decide({.nr = SYS_ioctl,
                    .arch = AUDIT_ARCH_I386,
                    .instruction_pointer = 0,
                    .args = {3, LX_DXESCAPE, 0, 0, 0, 0}}),
            kPass);
}

}  // namespace
}  // namespace dxg::tracer
