#include "cuse-dxg/attach/private_dev.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include "base/confinement/capabilities.h"
#include "base/container.h"
#include "cuse-dxg/attach/fuse_file.h"
#include "cuse-dxg/attach/private_mounts.h"

namespace dxg::attach {
namespace {

// What a container engine has to be told where its seccomp profile forbids namespaces and mounts, as Docker's
// own does. Each was tried (docs/containers.md).
constexpr char kContainerFlags[] =
    "start the container with --cap-add SYS_ADMIN --cap-add SYS_PTRACE, or with --security-opt "
    "seccomp=unconfined";

// What is left where no namespace is to be had.
std::string WaysOut() {
  if (InContainer()) return fmt::format("Way out: {}", kContainerFlags);
  if (geteuid() == 0) return "Way out: 'cuse-dxg serve', which gives every user a /dev/dxg";
  return "Ways out: run as root; or 'cuse-dxg serve' as root, which gives every user a /dev/dxg; or lift the "
         "limit named here";
}

// A kernel setting that is a number; -1 where this kernel does not have it.
long Setting(const char* path) {
  long value = -1;
  std::ifstream(path) >> value;
  return value;
}

Status WriteSetting(const char* path, const std::string& text) {
  UniqueFd file(open(path, O_WRONLY | O_CLOEXEC));
  if (file.valid() && write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()))
    return Status::Ok();
  const int error = errno;
  return Status::Refuse(error, "cannot write {}: {}. {}", path, std::strerror(error),
                        WhyNoUserNamespace(error));
}

Status MapOwnIds(uid_t uid, gid_t gid) {
  DXG_TRY(WriteSetting("/proc/self/setgroups",
                       "deny"));  // the kernel's condition for a gid_map without privilege
  DXG_TRY(WriteSetting("/proc/self/uid_map", fmt::format("{} {} 1", uid, uid)));
  return WriteSetting("/proc/self/gid_map", fmt::format("{} {} 1", gid, gid));
}

// True: inside a new user namespace.
Result<bool> EnterNamespaces() {
  const uid_t uid = geteuid();
  const gid_t gid = getegid();
  // In the same user namespace only CAP_SYS_PTRACE leads into a program with root's rights; in one of its
  // own, the user who made it has all rights over it.
  constexpr auto kTrace = confinement::Only(CAP_SYS_PTRACE);
  if (uid == 0 && (confinement::OwnCapabilities() & kTrace) != 0) {
    if (unshare(CLONE_NEWNS) == 0) return false;
    if (errno != EPERM)
      return Status::Refuse(errno, "no mount namespace of its own for the program: {}", std::strerror(errno));
    // root without CAP_SYS_ADMIN, as in a container: as good as any other user
  }
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
    const int error = errno;
    return Status::Refuse(error, "no user namespace of its own for the program: {}. {}", std::strerror(error),
                          WhyNoUserNamespace(error));
  }
  DXG_TRY(MapOwnIds(uid, gid));
  return true;
}

Status CarryOverAll(const std::string& stage) {
  std::unique_ptr<DIR, int (*)(DIR*)> dev(opendir("/dev"), closedir);
  if (!dev) return Status::Refuse(errno, "cannot list /dev: {}", std::strerror(errno));
  while (const dirent* entry = readdir(dev.get())) {
    const std::string name = entry->d_name;
    const bool made_anew = name == "dxg" || name.starts_with("dxg-") || name == "pts" || name == "ptmx" ||
                           name == "console";  // dxg-: sockets of the daemon in whose /dev we are
    if (name == "." || name == ".." || made_anew) continue;
    CarryOver(fmt::format("/dev/{}", name), fmt::format("{}/{}", stage, name));
  }
  return Status::Ok();
}

// The program's terminal is in the old /dev/pts, which it does not see. ttyname() looks through /dev for it,
// and by the convention of containers finds it as the console; the machine's own console is left out.
void ShowTerminal(const std::string& stage) {
  const std::string console = stage + "/console";
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    char name[64];
    if (ttyname_r(descriptor, name, sizeof(name)) != 0 || std::strncmp(name, "/dev/pts/", 9) != 0) continue;
    const bool done =
        MakeEmptyFile(console, 0644) && mount(name, console.c_str(), nullptr, MS_BIND, nullptr) == 0;
    if (!done) spdlog::debug("{} has no name in the program's /dev: {}", name, std::strerror(errno));
    return;
  }
  CarryOver("/dev/console", console);
}

// The old /dev/pts finds its ptmx by the directory that both are in, which is another one now: so an instance
// of its own. Terminals cannot do without, but a machine without devpts has none to lose.
void MakeTerminals(const std::string& stage) {
  const std::string pts = stage + "/pts";
  const bool done = mkdir(pts.c_str(), 0755) == 0 &&
                    mount("devpts", pts.c_str(), "devpts", MS_NOSUID | MS_NOEXEC,
                          "newinstance,ptmxmode=0666,mode=0620") == 0 &&
                    symlink("pts/ptmx", (stage + "/ptmx").c_str()) == 0;
  if (!done) spdlog::warn("the program's /dev has no pseudo terminals: {}", std::strerror(errno));
}

// /dev/fuse is opened here, after the namespaces: the kernel accepts only a descriptor of the namespace that
// mounts.
//
// allow_other would let in everybody of the user namespace and nobody outside it. Without it, it is the
// owner, wherever: there is one user inside, and the injector outside is the same one. As root there are
// others inside.
Result<UniqueFd> MakeDxg(const std::string& stage, bool in_user_namespace) {
  DXG_TRY(CheckFuse());
  UniqueFd fuse(open("/dev/fuse", O_RDWR | O_CLOEXEC));
  const std::string dxg = stage + "/dxg";
  if (!fuse.valid() || !MakeEmptyFile(dxg, 0666))
    return Status::Refuse(errno, "cannot prepare {}: {}", dxg, std::strerror(errno));
  DXG_TRY(Mount("cuse-dxg", dxg, "fuse.dxg", MS_NOSUID | MS_NODEV,
                fmt::format("fd={},rootmode=100000,user_id={},group_id={}{}", fuse.get(), geteuid(),
                            getegid(), in_user_namespace ? "" : ",allow_other")));
  return fuse;
}

// Mounts made outside later are still seen, ours are not seen outside. In a chroot "/" is no mount point and
// cannot be told so for all; the mounts below it can, one by one. True: it is such a chroot.
Result<bool> KeepMountsToOurselves() {
  if (mount("", "/", nullptr, MS_REC | MS_SLAVE, "") == 0) return false;
  if (errno != EINVAL) return Mount("", "/", nullptr, MS_REC | MS_SLAVE, "");  // for its explanation
  std::ifstream mounts("/proc/self/mountinfo");
  std::string line;
  while (std::getline(mounts, line)) {
    std::istringstream fields(line);
    std::string id, parent, device, root, point;
    fields >> id >> parent >> device >> root >> point;
    if (mount("", point.c_str(), nullptr, MS_SLAVE, "") != 0) {
      spdlog::debug("{} stays as it is: {}", point, std::strerror(errno));
    }
  }
  return true;
}

}  // namespace

std::string WhyNoUserNamespace(int error) {
  if (error == ENOSPC && Setting("/proc/sys/user/max_user_namespaces") == 0)
    return fmt::format("User namespaces are switched off: /proc/sys/user/max_user_namespaces is 0. {}",
                       WaysOut());
  if (error == ENOSPC) return fmt::format("Too many user namespaces, or nested too deeply. {}", WaysOut());
  if (error == EINVAL) return fmt::format("This kernel is built without user namespaces. {}", WaysOut());
  if (Setting("/proc/sys/kernel/unprivileged_userns_clone") == 0)
    return fmt::format(
        "User namespaces are for root only: /proc/sys/kernel/unprivileged_userns_clone is 0. {}", WaysOut());
  if (Setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") > 0)
    return fmt::format(
        "AppArmor restricts user namespaces: /proc/sys/kernel/apparmor_restrict_unprivileged_userns is 1. {}",
        WaysOut());
  const char* who =
      InContainer() ? "The container's seccomp profile, or a security policy (AppArmor, SELinux), forbids it"
                    : "The process may be in a chroot, or a container or security policy (seccomp, AppArmor, "
                      "SELinux) may forbid it";
  return fmt::format("{}. {}", who, WaysOut());
}

Result<PrivateDev> EnterPrivateDev() {
  DXG_TRY(CheckFuse());
  DXG_ASSIGN(const bool in_user_namespace, EnterNamespaces());
  if (in_user_namespace) spdlog::debug("the program runs in a user namespace of its own");
  DXG_ASSIGN(const bool in_chroot, KeepMountsToOurselves());
  DXG_ASSIGN(const std::string stage, Stage());
  DXG_TRY(Mount("cuse-dxg", stage, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755"));
  // In a chroot it may have been mounted for others too; what is built in it is ours alone.
  DXG_TRY(Mount("", stage, nullptr, MS_PRIVATE, ""));
  DXG_TRY(CarryOverAll(stage));
  MakeTerminals(stage);
  ShowTerminal(stage);
  PrivateDev made = {.in_chroot = in_chroot};
  DXG_ASSIGN(made.fuse, MakeDxg(stage, in_user_namespace));
  DXG_TRY(PutOver(stage, "/dev", in_chroot));
  return made;
}

}  // namespace dxg::attach
