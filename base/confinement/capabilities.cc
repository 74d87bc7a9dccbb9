#include "base/confinement/capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace dxg::confinement {
namespace {

constexpr int kNumbersMax = 64;  // of capabilities, in two words

struct Sets {
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct words[2] = {};

  bool Get() { return syscall(SYS_capget, &header, words) == 0; }
  bool Set() { return syscall(SYS_capset, &header, words) == 0; }
};

uint32_t WordOf(Capabilities capabilities, int word) {
  return static_cast<uint32_t>(capabilities >> (32 * word));
}

constexpr std::pair<int, const char*> kNames[] = {
    {CAP_CHOWN, "CAP_CHOWN"},
    {CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
    {CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"},
    {CAP_KILL, "CAP_KILL"},
    {CAP_MKNOD, "CAP_MKNOD"},
    {CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
    {CAP_SYS_PTRACE, "CAP_SYS_PTRACE"},
    {CAP_SYS_RAWIO, "CAP_SYS_RAWIO"},
    {CAP_CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE"},
};

}  // namespace

Status KeepCapabilities(Capabilities kept, Capabilities inherited) {
  Sets sets;
  if (!sets.Get()) return Status::Refuse(errno, "no capabilities are known: {}", std::strerror(errno));
  // First these, because they have to be in the bounding set; last the others, because emptying that takes
  // one of them.
  for (int word = 0; word < 2; ++word)
    sets.words[word].inheritable = sets.words[word].permitted & WordOf(kept & inherited, word);
  if (!sets.Set()) return Status::Refuse(errno, "capabilities stay: {}", std::strerror(errno));
  // Beyond the last that the kernel knows it is EINVAL.
  if (sets.words[0].effective & WordOf(Only(CAP_SETPCAP), 0)) {
    for (int number = 0; number < kNumbersMax; ++number) {
      if (prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0) continue;
      if (errno == EINVAL) break;
      return Status::Refuse(errno, "capability {} stays in the bounding set: {}", number,
                            std::strerror(errno));
    }
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  for (int word = 0; word < 2; ++word) {
    sets.words[word].permitted &= WordOf(kept, word);
    sets.words[word].effective = sets.words[word].permitted;
  }
  if (!sets.Set()) return Status::Refuse(errno, "capabilities stay: {}", std::strerror(errno));
  return Status::Ok();
}

Capabilities OwnCapabilities() {
  Sets sets;
  if (!sets.Get()) return 0;
  return Capabilities{sets.words[1].effective} << 32 | sets.words[0].effective;
}

std::string NamesOf(Capabilities capabilities) {
  std::string names;
  const auto add = [&names](const std::string& name) { names += (names.empty() ? "" : " ") + name; };
  for (const auto& [number, name] : kNames) {
    if (capabilities & Only(number)) add(name);
    capabilities &= ~Only(number);
  }
  if (capabilities != 0) add(fmt::format("{:#x}", capabilities));
  return names.empty() ? "none" : names;
}

Status ForbidNewPrivileges() {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) return Status::Ok();
  return Status::Refuse(errno, "no_new_privs cannot be set: {}", std::strerror(errno));
}

}  // namespace dxg::confinement
