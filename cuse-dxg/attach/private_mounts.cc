#include "cuse-dxg/attach/private_mounts.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"
#include "cuse-dxg/attach/private_dev.h"

namespace dxg::attach {
namespace {

std::string LinkTarget(const std::string& path) {
  char target[4096];
  const ssize_t bytes = readlink(path.c_str(), target, sizeof(target));
  return std::string(target, bytes > 0 ? static_cast<size_t>(bytes) : 0);
}

}  // namespace

Status Mount(const char* source, const std::string& target, const char* type, unsigned long flags,
             const std::string& options) {
  if (mount(source, target.c_str(), type, flags, options.c_str()) == 0) return Status::Ok();
  const int error = errno;
  // Where a security module empties a new user namespace, unshare works and this is the first thing that
  // fails.
  const std::string why = error == EPERM || error == EACCES ? WhyNoUserNamespace(error) : "";
  return Status::Refuse(error, "cannot mount {} on {}: {}. {}", type ? type : source, target,
                        std::strerror(error), why);
}

Result<std::string> Stage() {
  for (const char* directory : {"/tmp", "/mnt", "/run", "/var"}) {
    struct stat found;
    if (lstat(directory, &found) == 0 && S_ISDIR(found.st_mode)) return std::string(directory);
  }
  return Status::Refuse(ENOENT, "no directory to build in: expected /tmp, /mnt, /run or /var");
}

bool MakeEmptyFile(const std::string& path, mode_t mode) {
  return UniqueFd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)).valid();
}

void CarryOver(const std::string& from, const std::string& to) {
  struct stat entry;
  if (lstat(from.c_str(), &entry) != 0) return;  // gone since it was listed
  bool done = false;
  if (S_ISLNK(entry.st_mode)) {
    done = symlink(LinkTarget(from).c_str(), to.c_str()) == 0;
  } else if (S_ISDIR(entry.st_mode)) {
    done = mkdir(to.c_str(), 0755) == 0 &&
           mount(from.c_str(), to.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0;
  } else {
    done = MakeEmptyFile(to, 0644) && mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr) == 0;
  }
  if (!done) spdlog::debug("the program does not see {}: {}", from, std::strerror(errno));
}

Status PutOver(const std::string& stage, const std::string& place, bool in_chroot) {
  if (!in_chroot) return Mount(stage.c_str(), place, nullptr, MS_MOVE, "");
  DXG_TRY(Mount(stage.c_str(), place, nullptr, MS_BIND | MS_REC, ""));
  umount2(stage.c_str(), MNT_DETACH);
  return Status::Ok();
}

}  // namespace dxg::attach
