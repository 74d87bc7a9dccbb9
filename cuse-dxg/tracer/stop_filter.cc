#include "cuse-dxg/tracer/stop_filter.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <utility>

namespace dxg::tracer {
namespace {

constexpr uint32_t kTypeMask = 0xff00;  // of a request code (_IOC_TYPE)
constexpr uint32_t kDxgType = 'G' << 8;

sock_filter Load(size_t offset) { return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset)); }
sock_filter SkipUnless(uint32_t value, uint8_t instructions) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, instructions);
}
sock_filter And(uint32_t mask) { return BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask); }
sock_filter Return(uint32_t action) { return BPF_STMT(BPF_RET | BPF_K, action); }

// The low half: the arguments that are looked at are ints.
size_t Argument(int index) {
  return offsetof(seccomp_data, args) + static_cast<size_t>(index) * sizeof(seccomp_data::args[0]);
}

const sock_filter kPass = Return(SECCOMP_RET_ALLOW);
const sock_filter kStop = Return(SECCOMP_RET_TRACE | kStopMark);

// Where the call is `number`, `then` decides, which ends with a return.
void When(long number, const std::vector<sock_filter>& then, std::vector<sock_filter>* program) {
  program->push_back(SkipUnless(static_cast<uint32_t>(number), static_cast<uint8_t>(then.size())));
  program->insert(program->end(), then.begin(), then.end());
}

std::vector<sock_filter> IfArgument(int index, uint32_t mask, uint32_t value) {
  return {Load(Argument(index)), And(mask), SkipUnless(value, 1), kStop, kPass};
}

int TryInstall(unsigned flags) {
  std::vector<sock_filter> instructions = StopFilter();
  const sock_fprog program = {static_cast<unsigned short>(instructions.size()), instructions.data()};
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) == 0 ? 0 : errno;
}

// Old kernels slow a thread under a filter down, as if it ran code that is not its own, unless told not to.
int Install() {
  const int error = TryInstall(SECCOMP_FILTER_FLAG_SPEC_ALLOW);
  return error == EINVAL ? TryInstall(0) : error;
}

}  // namespace

std::vector<sock_filter> StopFilter() {
  constexpr uint32_t kMakesOrLooks = O_CREAT | O_DIRECTORY | O_PATH;
  std::vector<sock_filter> program = {Load(offsetof(seccomp_data, arch)),
                                      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0), kPass,
                                      Load(offsetof(seccomp_data, nr))};
  When(SYS_ioctl, IfArgument(1, kTypeMask, kDxgType), &program);
  When(SYS_openat, IfArgument(2, kMakesOrLooks, 0), &program);
  When(SYS_open, IfArgument(1, kMakesOrLooks, 0), &program);
  constexpr uint32_t kDuplicate = F_DUPFD, kDuplicateCloexec = F_DUPFD_CLOEXEC;
  When(SYS_fcntl,
       {Load(Argument(1)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kDuplicate, 1, 0),
        SkipUnless(kDuplicateCloexec, 1), kStop, kPass},
       &program);
  for (const long always : {SYS_openat2, SYS_pidfd_getfd, SYS_dup, SYS_dup2, SYS_dup3})
    When(always, {kStop}, &program);
  program.push_back(kPass);
  return program;
}

int InstallStopFilter(bool* no_new_privs) {
  *no_new_privs = false;
  if (Install() == 0) return 0;  // root's
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  *no_new_privs = true;
  return Install();
}

}  // namespace dxg::tracer
