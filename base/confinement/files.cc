#include "base/confinement/files.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/confinement/capabilities.h"
#include "base/unique_fd.h"

namespace dxg::confinement {
namespace {

// The kernel's header may be older than the kernel: what came with each later version of Landlock.
struct Ruleset {
  uint64_t files = 0;
  uint64_t network = 0;  // 4
  uint64_t scoped = 0;   // 6
};
constexpr uint64_t kFilesOfFirst = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
constexpr uint64_t kRefer = 1ull << 13, kTruncate = 1ull << 14, kDeviceIoctl = 1ull << 15;
constexpr uint64_t kBindTcp = 1ull << 0, kConnectTcp = 1ull << 1;
constexpr uint64_t kAbstractSockets = 1ull << 0, kSignals = 1ull << 1;

Ruleset AllThatIsKnownTo(long version) {
  Ruleset all = {.files = kFilesOfFirst};
  if (version >= 2) all.files |= kRefer;
  if (version >= 3) all.files |= kTruncate;
  if (version >= 4) all.network = kBindTcp | kConnectTcp;
  if (version >= 5) all.files |= kDeviceIoctl;
  if (version >= 6) all.scoped = kAbstractSockets | kSignals;
  return all;
}

Status Allow(const UniqueFd& ruleset, const std::string& path, uint64_t access) {
  const UniqueFd place(open(path.c_str(), O_PATH | O_CLOEXEC));
  landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = place.get()};
  if (place.valid() &&
      syscall(SYS_landlock_add_rule, ruleset.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0)
    return Status::Ok();
  return Status::Refuse(errno, "no Landlock rule for {}: {}", path, std::strerror(errno));
}

}  // namespace

Status TouchOnly(const Files& files) {
#ifdef DXG_SANITIZED
  return Status::Refuse(ENOTSUP, "this build has sanitizers, whose runtime opens files of its own");
#endif
  const long version =
      syscall(SYS_landlock_create_ruleset, nullptr, size_t{0}, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 1) return Status::Refuse(errno, "this kernel has no Landlock: {}", std::strerror(errno));
  const Ruleset all = AllThatIsKnownTo(version);
  const UniqueFd ruleset(static_cast<int>(syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0)));
  if (!ruleset.valid()) return Status::Refuse(errno, "no Landlock rules: {}", std::strerror(errno));
  constexpr uint64_t kOpen = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
  for (const std::string& path : files.opened) DXG_TRY(Allow(ruleset, path, kOpen));
  for (const std::string& path : files.emptied) DXG_TRY(Allow(ruleset, path, LANDLOCK_ACCESS_FS_REMOVE_FILE));
  DXG_TRY(ForbidNewPrivileges());
  if (syscall(SYS_landlock_restrict_self, ruleset.get(), 0) == 0) return Status::Ok();
  return Status::Refuse(errno, "Landlock is not in force: {}", std::strerror(errno));
}

}  // namespace dxg::confinement
