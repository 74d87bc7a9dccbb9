#include "cuse-dxg/attach/private_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "cuse-dxg/attach/private_mounts.h"

namespace dxg::attach {
namespace {

// A directory that has something of ours in it, anywhere below.
struct Tree {
  std::map<std::string, Tree> directories;
  std::map<std::string, const std::string*> files;  // with their content
};

void Add(Tree* tree, const std::string& path, const std::string& content) {
  const size_t slash = path.find('/');
  if (slash == std::string::npos) {
    tree->files[path] = &content;
  } else {
    Add(&tree->directories[path.substr(0, slash)], path.substr(slash + 1), content);
  }
}

bool IsDirectory(const std::string& path) {
  struct stat found;
  return stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
}

Status Refuse(const std::string& path) {
  return Status::Refuse(errno, "cannot make {} for the program: {}", path, std::strerror(errno));
}

Status Write(const std::string& path, const std::string& content) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd file(open(path.c_str(), kFlags, 0644));
  if (!file.valid()) return Refuse(path);
  for (size_t written = 0; written < content.size();) {
    const ssize_t more = write(file.get(), content.data() + written, content.size() - written);
    if (more < 0) return Refuse(path);
    written += static_cast<size_t>(more);
  }
  return fchmod(file.get(), 0644) == 0 ? Status::Ok() : Refuse(path);  // whatever the umask
}

std::string In(std::string_view directory, std::string_view name) {
  return fmt::format("{}/{}", directory, name);
}

// Entries that are none of ours, and have none of ours below them.
void CarryOverOthers(const std::string& from, const std::string& to, const Tree& tree) {
  std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(from.c_str()), closedir);
  if (!directory) return;  // it is not there
  while (const dirent* entry = readdir(directory.get())) {
    const std::string name = entry->d_name;
    if (name == "." || name == ".." || tree.files.contains(name) || tree.directories.contains(name)) continue;
    CarryOver(In(from, name), In(to, name));
  }
}

// `to` is empty, and in the tmpfs.
Status Build(const std::string& from, const std::string& to, const Tree& tree) {
  CarryOverOthers(from, to, tree);
  for (const auto& [name, content] : tree.files) DXG_TRY(Write(In(to, name), *content));
  for (const auto& [name, below] : tree.directories) {
    const std::string made = In(to, name);
    if (mkdir(made.c_str(), 0755) != 0 || chmod(made.c_str(), 0755) != 0) return Refuse(made);
    DXG_TRY(Build(In(from, name), made, below));
  }
  return Status::Ok();
}

}  // namespace

Status ShowFiles(const std::string& directory, const std::vector<PrivateFile>& files, bool in_chroot) {
  std::string place = directory, below;
  while (!IsDirectory(place)) {
    const size_t slash = place.rfind('/');
    if (slash == 0) return Status::Refuse(ENOENT, "cannot show {}: there is no {}", directory, place);
    below = In(std::string_view(place).substr(slash + 1), below);
    place.resize(slash);
  }
  Tree tree;
  for (const PrivateFile& file : files) Add(&tree, below + file.path, file.content);
  DXG_ASSIGN(const std::string stage, Stage());
  DXG_TRY(Mount("cuse-dxg", stage, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755"));
  Status built =
      Mount("", stage, nullptr, MS_PRIVATE, "");  // in a chroot it may have been mounted for others
  if (built.ok()) built = Build(place, stage, tree);
  if (built.ok()) built = PutOver(stage, place, in_chroot);
  if (!built.ok()) umount2(stage.c_str(), MNT_DETACH);
  return built;
}

}  // namespace dxg::attach
