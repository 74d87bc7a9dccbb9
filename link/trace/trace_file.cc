#include "link/trace/trace_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace dxg::trace {

constexpr mode_t kMode = 0600;

bool IsSameFile(const std::string& a, const std::string& b) {
  std::error_code error;
  return std::filesystem::equivalent(a, b, error);
}

namespace {

// All of a file, whatever its size. It is the open description's: it goes when the last descriptor of that
// goes, also where its process was killed.
struct flock WholeFile(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

bool Lock(int file) {
  struct flock lock = WholeFile(F_WRLCK);
  return fcntl(file, F_OFD_SETLK, &lock) == 0;
}

}  // namespace

bool IsLocked(int file) {
  struct flock lock = WholeFile(F_RDLCK);
  return fcntl(file, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

Result<UniqueFd> OpenPrivate(const std::string& path, const char* option) {
  // Without waiting: a pipe that nobody reads is refused too. Not through a link, and truncated only when it
  // is known to be ours alone: in a directory that others may write, somebody may have put a file there.
  UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, kMode));
  if (!file.valid()) {
    const int error = errno;
    return Status::Refuse(error, "{}: {} cannot be written: {}; name a file in a directory that can be",
                          option, path, std::strerror(error));
  }
  struct stat found {};
  if (fstat(file.get(), &found) != 0 || !S_ISREG(found.st_mode))
    return Status::Refuse(EINVAL, "{}: {} is not a regular file, and it has to be one", option, path);
  if (found.st_uid != geteuid() || found.st_nlink != 1)
    return Status::Refuse(EPERM,
                          "{}: {} belongs to another user, or has another name as well; what a recording "
                          "has is not for others, so name a new file",
                          option, path);
  if (fchmod(file.get(), kMode) != 0 || ftruncate(file.get(), 0) != 0) {
    const int error = errno;
    return Status::Refuse(error, "{}: {} cannot be made empty: {}", option, path, std::strerror(error));
  }
  return file;
}

FileSink::FileSink(UniqueFd file, std::string path, uint64_t bytes_max)
    : file_(std::move(file)), path_(std::move(path)), bytes_max_(bytes_max), locked_(Lock(file_.get())) {}

Result<std::unique_ptr<Sink>> FileSink::Create(const std::string& path, uint64_t bytes_max,
                                               const char* option) {
  DXG_ASSIGN(UniqueFd file, OpenPrivate(path, option));
  return std::unique_ptr<Sink>(new FileSink(std::move(file), path, bytes_max));
}

Status FileSink::Append(std::span<const std::byte> bytes) {
  if (bytes.size() > bytes_max_ - size_)
    return Status::Refuse(EFBIG, "{} has {} bytes, and may have {} (--record-max)", path_, size_, bytes_max_);
  Status written = Overwrite(size_, bytes);
  if (written.ok()) {
    size_ += bytes.size();
  } else if (ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) {
    return Status::Refuse(-written.value(), "{}; what is half written stays there", written.why());
  }
  return written;
}

Status FileSink::Overwrite(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int error = written < 0 ? errno : EIO;
      return Status::Refuse(error, "{}: {}", path_, std::strerror(error));
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return Status::Ok();
}

}  // namespace dxg::trace
