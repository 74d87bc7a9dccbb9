#include "cuse-dxg/attach/cuse.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "cuse-dxg/attach/libfuse.h"

namespace dxg::attach {
namespace {

constexpr char kCuse[] = "/dev/cuse";
constexpr char kNode[] = "/dev/dxg";
constexpr char kClass[] = "/sys/class/cuse/dxg";

// The node has open, release, ioctl and poll, and the kernel's defaults for the rest.
constexpr cuse_lowlevel_ops kOperations = {
    .init_done = [](void* session) { static_cast<Session*>(session)->HandleInitialized(); },
    .open = [](fuse_req_t request, fuse_file_info*) { Session::Of(request).HandleOpen(request); },
    .read = [](fuse_req_t request, size_t, off_t, fuse_file_info*) { fuse_reply_err(request, EINVAL); },
    .write = [](fuse_req_t request, const char*, size_t, off_t,
                fuse_file_info*) { fuse_reply_err(request, EINVAL); },
    .release = [](fuse_req_t request,
                  fuse_file_info* file) { Session::Of(request).HandleRelease(request, *file); },
    .ioctl =
        [](fuse_req_t request, int code, void* argument, fuse_file_info* file, unsigned flags, const void* in,
           size_t in_bytes, size_t out_bytes_max) {
          Session::Of(request).HandleIoctl(request, *file, static_cast<uint32_t>(code), argument, flags,
                                           {static_cast<const std::byte*>(in), in_bytes}, out_bytes_max);
        },
    .poll = [](fuse_req_t request, fuse_file_info* file,
               fuse_pollhandle* waiter) { Session::Of(request).HandlePoll(request, *file, waiter); },
};

fuse_session* MakeFuse(Session* session) {
  const char* description[] = {"DEVNAME=dxg"};
  const cuse_info info = {.dev_info_argc = 1, .dev_info_argv = description, .flags = CUSE_UNRESTRICTED_IOCTL};
  char name[] = "cuse-dxg";
  char* arguments[] = {name, nullptr};
  fuse_args args = FUSE_ARGS_INIT(1, arguments);
  fuse_session* fuse = cuse_lowlevel_new(&args, &info, &kOperations, session);
  fuse_opt_free_args(&args);
  return fuse;
}

Status CheckNodeIsFree() {
  struct stat node;
  if (access(kClass, F_OK) == 0)
    return Status::Refuse(
        EEXIST,
        "a CUSE device named dxg exists already ({}): another cuse-dxg serves it. Stop that one, or "
        "use it as it is",
        kClass);
  if (lstat(kNode, &node) != 0) return Status::Ok();
  if (S_ISCHR(node.st_mode))
    return Status::Refuse(
        EEXIST,
        "{} exists already as a character device ({}:{}): this machine has a real one, or one was "
        "left behind. Use it as it is; give one program a node of its own by 'cuse-dxg run -- "
        "PROGRAM'; or, if nothing drives it, remove it: rm {}",
        kNode, major(node.st_rdev), minor(node.st_rdev), kNode);
  return Status::Refuse(
      EEXIST,
      "{} exists already and is not a device node: a 'cuse-dxg serve --attach=fuse' serves it, or "
      "left it behind. Stop that one, or: umount {}; rm {}",
      kNode, kNode, kNode);
}

class CuseNode final : public Attachment {
 public:
  CuseNode(std::unique_ptr<Session> session, const NodeMode& mode)
      : session_(std::move(session)), mode_(mode) {}
  ~CuseNode() override { Withdraw(); }

  Status Publish(Node& node, int workers) override {
    DXG_TRY(session_->Start(node, workers));
    DXG_TRY(session_->WaitInitialized());
    return Make();
  }
  Session& session() override { return *session_; }
  // The device goes with the connection, which the end of the process closes.
  void Withdraw() override {
    if (const Status removed = Remove(); !removed.ok()) spdlog::warn("{}", removed.why());
  }
  const std::string& path() const override { return path_; }
  const char* kind() const override { return "cuse"; }

  Status MakeNode() override {
    // Not by access(), which a device policy (cgroup) refuses for a device that we may not open ourselves.
    struct stat there;
    if (lstat(kNode, &there) != 0) DXG_TRY(MakeDeviceFile());
    // The group first: what it may do is said by the mode.
    if (mode_.group && chown(kNode, 0, *mode_.group) != 0)
      return Status::Refuse(errno, "cannot give {} to group {}: {}", kNode, *mode_.group,
                            std::strerror(errno));
    if (chmod(kNode, mode_.mode) != 0)
      return Status::Refuse(errno, "cannot give {} the mode {:04o}: {}", kNode, mode_.mode,
                            std::strerror(errno));
    return Status::Ok();
  }
  Status RemoveNode() override {
    if (!made_by_us_ || unlink(kNode) == 0 || errno == ENOENT) return Status::Ok();
    return Status::Refuse(errno, "{} stays: {}", kNode, std::strerror(errno));
  }

 private:
  // The kernel has the device, but nobody (devtmpfs, udev) makes nodes in this /dev.
  Status MakeDeviceFile() {
    unsigned major = 0, minor = 0;
    char colon = 0;
    std::ifstream numbers(std::string(kClass) + "/dev");
    if (!(numbers >> major >> colon >> minor))
      return Status::Refuse(ENODEV, "the kernel did not make the device dxg (see the kernel log: dmesg)");
    if (mknod(kNode, S_IFCHR | 0600, makedev(major, minor)) != 0)
      return Status::Refuse(errno, "the kernel made device {}:{}, but {} cannot be made for it: {}", major,
                            minor, kNode, std::strerror(errno));
    made_by_us_ = true;
    return Status::Ok();
  }

  std::unique_ptr<Session> session_;
  const NodeMode mode_;
  std::string path_ = kNode;
  bool made_by_us_ = false;
};

// Whether modprobe would find it, as far as the usual place tells.
std::string HowToLoadCuse() {
  utsname kernel;
  uname(&kernel);
  const std::string module = fmt::format("/lib/modules/{}/kernel/fs/fuse/cuse.ko", kernel.release);
  for (const char* packed : {"", ".xz", ".zst", ".gz"}) {
    if (access((module + packed).c_str(), F_OK) == 0)
      return "The kernel module is not loaded: modprobe cuse (as root)";
  }
  return fmt::format(
      "This kernel ({}) has no module cuse in /lib/modules: install it, or boot a kernel with CONFIG_CUSE",
      kernel.release);
}

}  // namespace

Status CheckCuse() {
  UniqueFd cuse(open(kCuse, O_RDWR | O_CLOEXEC));
  if (cuse.valid()) return Status::Ok();
  const int error = errno;
  if (error == ENOENT || error == ENODEV || error == ENXIO)
    return Status::Refuse(error, "{} is not there. {}; or use --attach=fuse, or 'cuse-dxg run -- PROGRAM'",
                          kCuse, HowToLoadCuse());
  if (error == EACCES || error == EPERM)
    return Status::Refuse(error,
                          "{} may not be opened by this user ({}): run as root, or use 'cuse-dxg run -- "
                          "PROGRAM', which needs no root",
                          kCuse, std::strerror(error));
  return Status::Refuse(error, "{} cannot be opened: {}", kCuse, std::strerror(error));
}

Result<std::unique_ptr<Session>> CreateCuseSession() { return Session::Create(MakeFuse); }

Result<std::unique_ptr<Attachment>> AttachCuse(const NodeMode& mode) {
  DXG_TRY(CheckCuse());
  DXG_TRY(CheckNodeIsFree());
  DXG_ASSIGN(std::unique_ptr<Session> session, CreateCuseSession());
  DXG_TRY(session->Attach(UniqueFd(open(kCuse, O_RDWR | O_CLOEXEC))));
  return std::unique_ptr<Attachment>(std::make_unique<CuseNode>(std::move(session), mode));
}

}  // namespace dxg::attach
