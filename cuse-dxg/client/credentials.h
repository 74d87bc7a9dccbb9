#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"

// What a client may open by itself. The daemon may have more rights than its clients, and lends them to
// nobody.

namespace dxg::client {

// As which user and in which groups a thread opens files.
struct Credentials {
  uid_t user = 0;
  gid_t group = 0;
  std::vector<gid_t> groups;  // the further ones

  bool In(gid_t which) const;
};
std::optional<Credentials> CredentialsOf(pid_t tid);

// Who made the outermost of the user namespaces that are around a thread and not around us, in our ids; none
// where it is in ours, or where that cannot be seen.
std::optional<uid_t> NamespaceOwnerOf(pid_t tid);

// The rights to a file: its mode, and its POSIX access list as the kernel keeps it with the file (empty: it
// has none).
struct FileRights {
  uid_t owner = 0;
  gid_t group = 0;
  mode_t mode = 0;
  std::vector<std::byte> access_list;
};
// Whether it can be opened for reading and writing, as the kernel decides for somebody without capabilities.
// A list that makes no sense allows nothing.
bool MayReadAndWrite(const Credentials& who, const FileRights& file);

// Opens one of our files for reading and writing on behalf of that thread. Refused with our own errno where
// we cannot, and with EACCES where the file's own rights do not let the thread. The folders on the way to it,
// and a container's rules for devices, are not looked at.
Result<UniqueFd> OpenFor(pid_t tid, const std::string& path);
Result<UniqueFd> OpenFor(const std::optional<Credentials>& who, const std::string& path);

}  // namespace dxg::client
