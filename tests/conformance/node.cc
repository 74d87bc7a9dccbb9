#include "tests/conformance/node.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace dxg::conformance {
namespace {

constexpr unsigned kMiscMajor = 10;
constexpr unsigned kMajorOfLibrary = 4095;  // cuse-dxg run --attach=preload

// The kernel's name for the class of a character device, e.g. "misc" or "cuse"; empty where sysfs does not
// say.
std::string SubsystemOf(dev_t device) {
  const std::string link = fmt::format("/sys/dev/char/{}:{}/subsystem", major(device), minor(device));
  char target[PATH_MAX];
  const ssize_t length = readlink(link.c_str(), target, sizeof(target));
  if (length <= 0) return "";
  const std::string_view path(target, static_cast<size_t>(length));
  return std::string(path.substr(path.rfind('/') + 1));
}

NodeKind LookAtNode() {
  struct stat status = {};
  const Node node = OpenNode();
  if (fstat(node.fd(), &status) != 0) return NodeKind::kFile;
  // What the library says where it is asked, and what the kernel says.
  if (S_ISSOCK(status.st_mode) || (S_ISCHR(status.st_mode) && major(status.st_rdev) == kMajorOfLibrary))
    return NodeKind::kLibrary;
  if (!S_ISCHR(status.st_mode)) return NodeKind::kFile;
  const std::string subsystem = SubsystemOf(status.st_rdev);
  if (!subsystem.empty()) return subsystem == "misc" ? NodeKind::kDriver : NodeKind::kCuse;
  return major(status.st_rdev) == kMiscMajor ? NodeKind::kDriver : NodeKind::kCuse;
}

std::optional<NodeKind>& SaidKind() {
  static std::optional<NodeKind> said;
  return said;
}

}  // namespace

Options& options() {
  static Options instance;
  return instance;
}

const char* ToString(NodeKind kind) {
  switch (kind) {
    case NodeKind::kDriver:
      return "character device of a driver";
    case NodeKind::kCuse:
      return "character device served from userspace (CUSE)";
    case NodeKind::kFile:
      return "file served from userspace";
    case NodeKind::kLibrary:
      return "served by a library in this program";
  }
  return "";
}

NodeKind KindOfNode() {
  if (const auto& said = SaidKind()) return *said;
  static const NodeKind kind = LookAtNode();
  return kind;
}

void SetKindOfNode(const std::string& word) {
  SaidKind() = word == "driver"    ? NodeKind::kDriver
               : word == "cuse"    ? NodeKind::kCuse
               : word == "preload" ? NodeKind::kLibrary
                                   : NodeKind::kFile;
}

// Not strerrorname_np, which needs glibc 2.32.
std::string ResultName(int result) {
  static constexpr std::pair<int, const char*> kNames[] = {
#define DXG_NAME(name) {name, #name}
      DXG_NAME(EPERM),        DXG_NAME(ENOENT),     DXG_NAME(ESRCH),       DXG_NAME(EINTR),
      DXG_NAME(EIO),          DXG_NAME(ENXIO),      DXG_NAME(E2BIG),       DXG_NAME(EBADF),
      DXG_NAME(ECHILD),       DXG_NAME(EAGAIN),     DXG_NAME(ENOMEM),      DXG_NAME(EACCES),
      DXG_NAME(EFAULT),       DXG_NAME(EBUSY),      DXG_NAME(EEXIST),      DXG_NAME(EXDEV),
      DXG_NAME(ENODEV),       DXG_NAME(ENOTDIR),    DXG_NAME(EISDIR),      DXG_NAME(EINVAL),
      DXG_NAME(ENFILE),       DXG_NAME(EMFILE),     DXG_NAME(ENOTTY),      DXG_NAME(EFBIG),
      DXG_NAME(ENOSPC),       DXG_NAME(ESPIPE),     DXG_NAME(EROFS),       DXG_NAME(EPIPE),
      DXG_NAME(EDOM),         DXG_NAME(ERANGE),     DXG_NAME(ENOSYS),      DXG_NAME(ELOOP),
      DXG_NAME(ETIME),        DXG_NAME(EPROTO),     DXG_NAME(EBADMSG),     DXG_NAME(EREMOTEIO),
      DXG_NAME(EOVERFLOW),    DXG_NAME(EOPNOTSUPP), DXG_NAME(ENOTCONN),    DXG_NAME(ETIMEDOUT),
      DXG_NAME(ECONNREFUSED), DXG_NAME(EALREADY),   DXG_NAME(EINPROGRESS), DXG_NAME(ESTALE),
      DXG_NAME(ECANCELED),
#undef DXG_NAME
  };
  for (const auto& [number, name] : kNames)
    if (number == -result) return name;
  return std::to_string(result);
}

void Node::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

int Node::TryIoctlAt(unsigned long code, uint64_t address) const {
  const int result = ioctl(fd_, code, address);
  return result == -1 ? -errno : result;
}

void Require(int result, const char* what) {
  if (result != 0) throw std::runtime_error(fmt::format("{} gave {}", what, ResultName(result)));
}

std::vector<d3dkmt_adapterinfo> Node::EnumAdapters() const {
  d3dkmt_enumadapters3 args = {};
  args.filter.include_compute_only = 1;
  Ioctl(LX_DXENUMADAPTERS3, args, "EnumAdapters3 (count)");
  std::vector<d3dkmt_adapterinfo> adapters(args.adapter_count);
  if (adapters.empty()) return adapters;
  args.adapters = Address(adapters.data());
  Ioctl(LX_DXENUMADAPTERS3, args, "EnumAdapters3 (list)");
  adapters.resize(args.adapter_count);
  return adapters;
}

d3dkmthandle Node::FirstAdapter() {
  if (first_) return first_->adapter_handle;
  const std::vector<d3dkmt_adapterinfo> adapters = EnumAdapters();
  if (adapters.empty()) throw std::runtime_error("the node has no adapter");
  size_t chosen = adapters.size();
  for (size_t i = 0; i < adapters.size() && chosen == adapters.size(); ++i) {
    d3dkmt_adaptertype type = {};
    if (TryQuery(adapters[i].adapter_handle, KMTQAITYPE_ADAPTERTYPE, &type, sizeof(type)) == 0 &&
        !type.compute_only)
      chosen = i;
  }
  if (chosen == adapters.size()) chosen = 0;
  // One handle stays open, because closing the last one of an adapter is what some tests are about.
  for (size_t i = 0; i < adapters.size(); ++i)
    if (i != chosen) CloseAdapter(adapters[i].adapter_handle);
  first_ = adapters[chosen];
  return first_->adapter_handle;
}

winluid Node::FirstLuid() {
  FirstAdapter();
  return first_->adapter_luid;
}

d3dkmthandle Node::OpenAdapter(winluid luid) const {
  d3dkmt_openadapterfromluid args = {};
  args.adapter_luid = luid;
  Ioctl(LX_DXOPENADAPTERFROMLUID, args, "OpenAdapterFromLuid");
  return args.adapter_handle;
}

void Node::CloseAdapter(d3dkmthandle adapter) const {
  d3dkmt_closeadapter args = {adapter};
  Ioctl(LX_DXCLOSEADAPTER, args, "CloseAdapter");
}

d3dkmthandle Node::CreateDevice(d3dkmthandle adapter) const {
  d3dkmt_createdevice args = {};
  args.adapter = adapter;
  Ioctl(LX_DXCREATEDEVICE, args, "CreateDevice");
  // A host that refuses is not an error of the call: it returns 0 and leaves the field alone.
  if (args.device.v == 0) throw std::runtime_error("CreateDevice gave 0 but no device: the host refused");
  return args.device;
}

void Node::DestroyDevice(d3dkmthandle device) const {
  d3dkmt_destroydevice args = {device};
  Ioctl(LX_DXDESTROYDEVICE, args, "DestroyDevice");
}

std::optional<d3dkmthandle> Node::TryCreateContext(d3dkmthandle device, uint32_t node_ordinal) const {
  d3dkmt_createcontextvirtual args = {};
  args.device = device;
  args.node_ordinal = node_ordinal;
  if (TryIoctl(LX_DXCREATECONTEXTVIRTUAL, args) != 0) return std::nullopt;
  return args.context;
}

d3dkmthandle Node::CreateContext(d3dkmthandle device, uint32_t node_ordinal) const {
  const std::optional<d3dkmthandle> context = TryCreateContext(device, node_ordinal);
  if (!context) throw std::runtime_error("CreateContextVirtual was refused");
  return *context;
}

void Node::DestroyContext(d3dkmthandle context) const {
  d3dkmt_destroycontext args = {context};
  Ioctl(LX_DXDESTROYCONTEXT, args, "DestroyContext");
}

int Node::TryQuery(d3dkmthandle adapter, uint32_t type, void* data, size_t bytes) const {
  d3dkmt_queryadapterinfo args = {};
  args.adapter = adapter;
  args.type = type;
  args.private_data = Address(data);
  args.private_data_size = static_cast<uint32_t>(bytes);
  return TryIoctl(LX_DXQUERYADAPTERINFO, args);
}

uint32_t Node::ExecutionState(d3dkmthandle device) const {
  d3dkmt_getdevicestate args = {};
  args.device = device;
  args.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
  Ioctl(LX_DXGETDEVICESTATE, args, "GetDeviceState");
  return args.execution_state;
}

bool Node::IsAdapter(d3dkmthandle adapter) const {
  d3dkmt_adaptertype type = {};
  return TryQuery(adapter, KMTQAITYPE_ADAPTERTYPE, &type, sizeof(type)) == 0;
}

bool Node::IsDevice(d3dkmthandle device) const {
  d3dkmt_getdevicestate args = {};
  args.device = device;
  args.state_type = _D3DKMT_DEVICESTATE_EXECUTION;
  return TryIoctl(LX_DXGETDEVICESTATE, args) == 0;
}

bool Node::IsContext(d3dkmthandle context) const {
  d3dkmt_getcontextschedulingpriority args = {};
  args.context = context;
  return TryIoctl(LX_DXGETCONTEXTSCHEDULINGPRIORITY, args) == 0;
}

int TryOpenNode(int flags) {
  const int fd = open(options().device.c_str(), flags);
  return fd < 0 ? -errno : fd;
}

Node OpenNode(int flags) {
  const int fd = TryOpenNode(flags);
  if (fd < 0) throw std::runtime_error(fmt::format("opening {} gave {}", options().device, ResultName(fd)));
  return Node(fd);
}

bool HasFullAdapter() {
  const Node node = OpenNode();
  std::array<d3dkmt_adapterinfo, D3DKMT_ADAPTERS_MAX> adapters;
  d3dkmt_enumadapters2 args = {};
  args.num_adapters = D3DKMT_ADAPTERS_MAX;
  args.adapters = Address(adapters.data());
  node.Ioctl(LX_DXENUMADAPTERS2, args, "EnumAdapters2 (list)");
  return args.num_adapters != 0;
}

bool ContextsNeedNoPrivateData() {
  static const bool can = [] {
    Node node = OpenNode();
    return node.TryCreateContext(node.CreateDevice(node.FirstAdapter())).has_value();
  }();
  return can;
}

}  // namespace dxg::conformance
