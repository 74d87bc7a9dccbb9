#include "cuse-dxg/attach/fuse_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/container.h"
#include "cuse-dxg/attach/libfuse.h"

namespace dxg::attach {
namespace {

// The file never changes, so the kernel has to ask for its attributes only once.
constexpr double kAttributesValid_s = 365.0 * 24 * 3600;

void ReplyAttributes(fuse_req_t request) {
  struct stat attributes = {};
  attributes.st_ino = FUSE_ROOT_ID;
  const NodeMode& mode = Session::Of(request).mode();
  attributes.st_mode = S_IFREG | mode.mode;
  attributes.st_nlink = 1;
  attributes.st_uid = geteuid();
  attributes.st_gid = mode.group.value_or(getegid());
  fuse_reply_attr(request, &attributes, kAttributesValid_s);
}

// open with O_TRUNC and touch work on a device node, and change nothing; its mode and owner stay ours.
void SetAttributes(fuse_req_t request, int what) {
  if (what & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) {
    fuse_reply_err(request, EPERM);
    return;
  }
  ReplyAttributes(request);
}

// The kernel makes these itself, to serve lsattr, chattr and FS_IOC_* of a program, and expects the
// attributes in the answer. One without them, as that of an ioctl that fails, it calls damaged (EIO).
// FS_IOC_GETFLAGS and SETFLAGS are 'f' 1 and 2, FS_IOC_FSGETXATTR and FSSETXATTR 'X' 31 and 32; linux/fs.h
// does not go together with sys/mount.h.
bool IsKernelsOwn(uint32_t code) {
  const unsigned type = _IOC_TYPE(code), number = _IOC_NR(code);
  return (type == 'f' && (number == 1 || number == 2)) || (type == 'X' && (number == 31 || number == 32));
}

void Init(void* session, fuse_conn_info* connection) {
  connection->want &= FUSE_CAP_ATOMIC_O_TRUNC;
  static_cast<Session*>(session)->HandleInitialized();
}

constexpr fuse_lowlevel_ops kOperations = {
    .init = Init,
    .getattr = [](fuse_req_t request, fuse_ino_t, fuse_file_info*) { ReplyAttributes(request); },
    .setattr = [](fuse_req_t request, fuse_ino_t, struct stat*, int what,
                  fuse_file_info*) { SetAttributes(request, what); },
    .open = [](fuse_req_t request, fuse_ino_t, fuse_file_info*) { Session::Of(request).HandleOpen(request); },
    .read = [](fuse_req_t request, fuse_ino_t, size_t, off_t,
               fuse_file_info*) { fuse_reply_err(request, EINVAL); },
    .write = [](fuse_req_t request, fuse_ino_t, const char*, size_t, off_t,
                fuse_file_info*) { fuse_reply_err(request, EINVAL); },
    .release = [](fuse_req_t request, fuse_ino_t,
                  fuse_file_info* file) { Session::Of(request).HandleRelease(request, *file); },
    .ioctl =
        [](fuse_req_t request, fuse_ino_t, unsigned code, void* argument, fuse_file_info* file,
           unsigned flags, const void* in, size_t in_bytes, size_t out_bytes_max) {
          if (IsKernelsOwn(code)) {
            fuse_reply_err(request, ENOTTY);
            return;
          }
          Session::Of(request).HandleIoctl(request, *file, code, argument, flags,
                                           {static_cast<const std::byte*>(in), in_bytes}, out_bytes_max);
        },
    .poll = [](fuse_req_t request, fuse_ino_t, fuse_file_info* file,
               fuse_pollhandle* waiter) { Session::Of(request).HandlePoll(request, *file, waiter); },
};

fuse_session* MakeFuse(Session* session) {
  char name[] = "cuse-dxg";
  char flag[] = "-o";
  // Only root may let other users in without a word in /etc/fuse.conf.
  std::string options = "fsname=cuse-dxg,subtype=dxg";
  if (geteuid() == 0) options += ",allow_other";
  // Without it the mode is only shown.
  const NodeMode& mode = session->mode();
  if (mode.mode != NodeMode{}.mode || mode.group) options += ",default_permissions";
  char* arguments[] = {name, flag, options.data(), nullptr};
  fuse_args args = FUSE_ARGS_INIT(3, arguments);
  fuse_session* fuse = fuse_session_new(&args, &kOperations, sizeof(kOperations), session);
  fuse_opt_free_args(&args);
  return fuse;
}

// Something is mounted on it (a file and its directory differ in their device), and that is FUSE.
bool IsServed(const std::string& path) {
  struct statfs fs;
  struct stat file, directory;
  const size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  if (stat(path.c_str(), &file) != 0 || stat(parent.c_str(), &directory) != 0) return false;
  return file.st_dev != directory.st_dev && statfs(path.c_str(), &fs) == 0 && fs.f_type == FUSE_SUPER_MAGIC;
}

// A mount whose connection is closed answers with ENOTCONN. Not by stat, which the kernel answers from
// memory.
bool IsDead(const std::string& path) {
  struct statfs fs;
  return statfs(path.c_str(), &fs) != 0 && errno == ENOTCONN;
}

// What a killed daemon leaves.
void ClearDeadMount(const std::string& path) {
  if (!IsDead(path)) return;
  spdlog::info("{} is the mount of a daemon that was killed; unmounting it", path);
  if (umount2(path.c_str(), MNT_DETACH) != 0)
    spdlog::warn("cannot unmount {}: {}. As its user: fusermount3 -u {}", path, std::strerror(errno), path);
}

// The program that may unmount for a user. Without shell, and without a word where there is nothing mounted.
Status UnmountAsUser(const std::string& path) {
  char program[] = "fusermount3", unmount[] = "-u", quiet[] = "-q", lazy[] = "-z", end[] = "--";
  std::string place = path;
  char* arguments[] = {program, unmount, quiet, lazy, end, place.data(), nullptr};
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, program, nullptr, nullptr, arguments, environ);
  if (error) return Status::Refuse(error, "{} stays mounted: {}: {}", path, program, std::strerror(error));
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (status == 0 || !IsDead(path)) return Status::Ok();
  return Status::Refuse(EPERM, "{} stays mounted: {} ended with status {}", path, program, status);
}

// Our mount, whose connection is closed. Where somebody has taken it away, another one may be there by now.
Status Unmount(const std::string& path) {
  if (!IsDead(path)) return Status::Ok();
  if (umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return Status::Ok();
  if (errno == EPERM) return UnmountAsUser(path);
  return Status::Refuse(errno, "{} stays mounted: {}", path, std::strerror(errno));
}

// True: the file was made here.
Result<bool> PrepareMountPoint(const std::string& path) {
  ClearDeadMount(path);
  struct stat file;
  if (lstat(path.c_str(), &file) != 0) {
    UniqueFd made(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (made.valid()) return true;
    return Status::Refuse(
        errno,
        "cannot make {}: {}. Run as root, choose another place by --device PATH, or use 'cuse-dxg "
        "run -- PROGRAM', which needs no root",
        path, std::strerror(errno));
  }
  if (S_ISCHR(file.st_mode))
    return Status::Refuse(
        EEXIST,
        "{} is a character device already: this machine has a real one. Use it as it is, serve "
        "another place by --device PATH, or use 'cuse-dxg run -- PROGRAM'",
        path);
  if (!S_ISREG(file.st_mode))
    return Status::Refuse(EINVAL, "{} is not a regular file, and only on one can the node be mounted", path);
  if (IsServed(path))
    return Status::Refuse(
        EEXIST, "{} is served already: stop the cuse-dxg that does, or choose another --device", path);
  if (file.st_size != 0)
    return Status::Refuse(EEXIST,
                          "{} has content ({} bytes), which the node would hide: choose another --device",
                          path, file.st_size);
  return false;
}

class FuseFile final : public Attachment {
 public:
  FuseFile(std::unique_ptr<Session> session, std::string path, bool made_by_us)
      : session_(std::move(session)), path_(std::move(path)), made_by_us_(made_by_us) {}
  ~FuseFile() override {
    session_->Stop();
    session_.reset();  // closes the connection
    RemoveOrSay();
  }

  Status Mount() { return session_->Mount(path_); }
  Status Publish(Node& node, int workers) override {
    DXG_TRY(session_->Start(node, workers));
    return session_->WaitInitialized();
  }
  Session& session() override { return *session_; }
  void Withdraw() override {
    session_->Disconnect();
    RemoveOrSay();
  }
  const std::string& path() const override { return path_; }
  const char* kind() const override { return "fuse"; }

  Status MakeNode() override { return Status::Ok(); }  // it came with the mount
  Status RemoveNode() override {
    DXG_TRY(Unmount(path_));
    if (!made_by_us_ || unlink(path_.c_str()) == 0 || errno == ENOENT) return Status::Ok();
    return Status::Refuse(errno, "{} stays: {}", path_, std::strerror(errno));
  }

 private:
  // After the connection is closed: clients have their errors, and the mount is known to be ours by being
  // dead.
  void RemoveOrSay() {
    if (const Status removed = Remove(); !removed.ok()) spdlog::warn("{}", removed.why());
  }

  std::unique_ptr<Session> session_;
  std::string path_;
  bool made_by_us_;
};

}  // namespace

Status CheckFuse() {
  UniqueFd fuse(open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (fuse.valid()) return Status::Ok();
  const int error = errno;
  const bool missing = error == ENOENT || error == ENODEV || error == ENXIO;
  if (missing && InContainer())
    return Status::Refuse(error,
                          "/dev/fuse is not there, and without it there is no node for a program: start the "
                          "container with --device /dev/fuse");
  if (missing)
    return Status::Refuse(error,
                          "/dev/fuse is not there, and without it there is no node for a program: load the "
                          "kernel module as root (modprobe fuse), or use a machine that has it");
  if (InContainer())
    return Status::Refuse(error,
                          "/dev/fuse cannot be opened: {}. Start the container with --device /dev/fuse",
                          std::strerror(error));
  return Status::Refuse(error,
                        "/dev/fuse cannot be opened: {}. It should have mode 0666 (as root: chmod 666 "
                        "/dev/fuse)",
                        std::strerror(error));
}

Result<std::unique_ptr<Session>> CreateFuseFileSession(const NodeMode& mode) {
  return Session::Create(MakeFuse, mode);
}

Result<std::unique_ptr<Attachment>> AttachFuseFile(const std::string& where, const NodeMode& mode) {
  const std::string path = std::filesystem::absolute(where).string();  // whoever removes it is elsewhere
  DXG_TRY(CheckFuse());
  DXG_ASSIGN(std::unique_ptr<Session> session, CreateFuseFileSession(mode));
  DXG_ASSIGN(const bool made_by_us, PrepareMountPoint(path));
  auto file = std::make_unique<FuseFile>(std::move(session), path, made_by_us);
  DXG_TRY(file->Mount());
  return std::unique_ptr<Attachment>(std::move(file));
}

}  // namespace dxg::attach
