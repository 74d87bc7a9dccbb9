#include "cuse-dxg/client/credentials.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/nsfs.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/proc_status.h"

namespace dxg::client {
namespace {

constexpr unsigned kReadAndWrite = ACL_READ | ACL_WRITE;
constexpr char kAccessList[] = "system.posix_acl_access";
constexpr size_t kAccessListBytesMax = 64 * 1024;  // as the kernel's

bool Suffices(unsigned rights) { return (rights & kReadAndWrite) == kReadAndWrite; }

using Entry = posix_acl_xattr_entry;

std::optional<std::vector<Entry>> Entries(std::span<const std::byte> list) {
  posix_acl_xattr_header header;
  if (list.size() < sizeof(header)) return std::nullopt;
  std::memcpy(&header, list.data(), sizeof(header));
  list = list.subspan(sizeof(header));
  if (header.a_version != POSIX_ACL_XATTR_VERSION || list.size() % sizeof(Entry) != 0) return std::nullopt;
  std::vector<Entry> entries(list.size() / sizeof(Entry));
  std::memcpy(entries.data(), list.data(), list.size());
  return entries;
}

unsigned MaskOf(const std::vector<Entry>& entries) {
  const auto mask =
      std::find_if(entries.begin(), entries.end(), [](const Entry& each) { return each.e_tag == ACL_MASK; });
  return mask == entries.end() ? kReadAndWrite : mask->e_perm;
}

// The first that fits decides; of groups, any that suffices.
bool Allows(const std::vector<Entry>& entries, const Credentials& who, const FileRights& file) {
  const unsigned mask = MaskOf(entries);
  unsigned others = 0;
  bool in_group = false, by_group = false;
  for (const Entry& each : entries) {
    switch (each.e_tag) {
      case ACL_USER_OBJ:
        if (who.user == file.owner) return Suffices(each.e_perm);
        break;
      case ACL_USER:
        if (who.user == each.e_id) return Suffices(each.e_perm & mask);
        break;
      case ACL_GROUP_OBJ:
      case ACL_GROUP:
        if (!who.In(each.e_tag == ACL_GROUP ? each.e_id : file.group)) break;
        in_group = true;
        by_group |= Suffices(each.e_perm & mask);
        break;
      case ACL_OTHER:
        others = each.e_perm;
        break;
      default:
        break;
    }
  }
  return in_group ? by_group : Suffices(others);
}

std::optional<FileRights> RightsOf(int file) {
  struct stat info;
  if (fstat(file, &info) != 0) return std::nullopt;
  FileRights rights = {info.st_uid, info.st_gid, info.st_mode, {}};
  rights.access_list.resize(kAccessListBytesMax);
  const ssize_t bytes = fgetxattr(file, kAccessList, rights.access_list.data(), rights.access_list.size());
  if (bytes < 0 && errno != ENODATA && errno != ENOTSUP) return std::nullopt;
  rights.access_list.resize(bytes < 0 ? 0 : static_cast<size_t>(bytes));
  return rights;
}

}  // namespace

bool Credentials::In(gid_t which) const {
  return group == which || std::find(groups.begin(), groups.end(), which) != groups.end();
}

// "Uid:" and "Gid:" have four numbers: real, effective, saved, and the one for files.
std::optional<Credentials> CredentialsOf(pid_t tid) {
  const ProcStatus status(tid);
  const auto users = status.Numbers("Uid"), groups = status.Numbers("Gid"),
             further = status.Numbers("Groups");
  if (users.size() != 4 || groups.size() != 4 || !status.Field("Groups")) return std::nullopt;
  return Credentials{static_cast<uid_t>(users[3]), static_cast<gid_t>(groups[3]),
                     std::vector<gid_t>(further.begin(), further.end())};
}

std::optional<uid_t> NamespaceOwnerOf(pid_t tid) {
  const std::string path = fmt::format("/proc/{}/ns/user", tid);
  struct stat theirs, ours;
  if (stat(path.c_str(), &theirs) != 0 || stat("/proc/self/ns/user", &ours) != 0 ||
      theirs.st_ino == ours.st_ino)
    return std::nullopt;
  UniqueFd outermost(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  while (outermost.valid()) {
    UniqueFd around(ioctl(outermost.get(), NS_GET_PARENT));
    if (!around.valid() || fstat(around.get(), &theirs) != 0)
      return std::nullopt;  // it is not inside of ours
    if (theirs.st_ino == ours.st_ino) break;
    outermost = std::move(around);
  }
  uid_t owner = 0;
  if (!outermost.valid() || ioctl(outermost.get(), NS_GET_OWNER_UID, &owner) != 0) return std::nullopt;
  return owner;
}

bool MayReadAndWrite(const Credentials& who, const FileRights& file) {
  if (!file.access_list.empty()) {
    const auto entries = Entries(file.access_list);
    return entries && Allows(*entries, who, file);
  }
  const unsigned shift = who.user == file.owner ? 6 : who.In(file.group) ? 3 : 0;
  return Suffices(file.mode >> shift);
}

Result<UniqueFd> OpenFor(pid_t tid, const std::string& path) { return OpenFor(CredentialsOf(tid), path); }

Result<UniqueFd> OpenFor(const std::optional<Credentials>& who, const std::string& path) {
  UniqueFd file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file.valid()) return Status::Refuse(errno, "{} cannot be opened: {}", path, std::strerror(errno));
  const auto rights = RightsOf(file.get());
  if (!who || !rights || !MayReadAndWrite(*who, *rights))
    return Status::Refuse(EACCES,
                          "{} may be opened by the daemon but not by the client, for whom it would be; give "
                          "its user the right to read and write it",
                          path);
  return file;
}

}  // namespace dxg::client
