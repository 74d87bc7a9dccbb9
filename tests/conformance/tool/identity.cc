#include "tests/conformance/tool/identity.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <fstream>
#include <sstream>

#include "proto/abi/dxg_export.h"
#include "tests/conformance/memory_client.h"

namespace dxg::conformance {
namespace {

// The source of the file system that is mounted at `path`, which of a FUSE file is its server's name.
std::string MountSource(const std::string& path) {
  char whole[PATH_MAX];
  if (realpath(path.c_str(), whole) == nullptr) return "";
  std::ifstream mounts("/proc/self/mountinfo");
  std::string source;
  for (std::string line; std::getline(mounts, line);) {
    // 165 62 0:40 / /dev/dxg rw - fuse.dxg cuse-dxg rw
    std::istringstream words(line);
    std::string word, point, type;
    for (int i = 0; i < 5; ++i) words >> point;
    while (words >> word && word != "-") continue;
    if (point == whole) words >> type >> source;
  }
  return source;
}

std::string ProductOf(const std::string& node, const utsname& system) {
  if (KindOfNode() == NodeKind::kFile) return MountSource(node);
  if (KindOfNode() == NodeKind::kCuse) return "CUSE";
  if (KindOfNode() == NodeKind::kLibrary) return "cuse-dxg";
  std::string version;
  std::ifstream("/sys/module/dxgkrnl/version") >> version;
  return version.empty() ? fmt::format("dxgkrnl of Linux {}", system.release) : "dxgkrnl " + version;
}

std::string DriverVersionOf(Node& node) {
  uint64_t version = 0;
  if (node.TryQuery(node.FirstAdapter(), KMTQAITYPE_UMD_DRIVER_VERSION, &version, sizeof(version)) != 0)
    return "";
  return fmt::format("{}.{}.{}.{}", version >> 48, version >> 32 & 0xffff, version >> 16 & 0xffff,
                     version & 0xffff);
}

std::string NameOf(Node& node) {
  char16_t description[4096] = {};
  if (node.TryQuery(node.FirstAdapter(), KMTQAITYPE_DRIVER_DESCRIPTION, description, sizeof(description)) !=
      0)
    return "";
  std::string name;
  for (const char16_t unit : description) {
    if (unit == 0) break;
    name += unit < 0x7f ? static_cast<char>(unit) : '?';
  }
  return name;
}

// Answers of version 27 to adapter queries have no status, so that a refused one looks answered.
bool HostHidesRefusedQueries() {
  Node node = OpenNode();
  constexpr uint32_t kNoQuery = 0xffff;
  uint32_t buffer = 0;
  return node.TryQuery(node.FirstAdapter(), kNoQuery, &buffer, sizeof(buffer)) == 0;
}

// Whether the host answers also what only queues something: it refuses a signal of an event that is not
// there.
bool HostAnswersEveryMessage() {
  try {
    const MemoryClient client;
    d3dkmt_createsynchronizationobject2 fence = {};
    fence.device = client.device;
    fence.info.type = _D3DDDI_MONITORED_FENCE;
    client.node.Ioctl(LX_DXCREATESYNCHRONIZATIONOBJECT, fence, "CreateSynchronizationObject");
    d3dkmt_signalsynchronizationobjectfromcpu signal = {};
    const uint64_t value = 1;
    signal.device = client.device;
    signal.object_count = 1;
    signal.objects = Address(&fence.sync_object);
    signal.fence_values = Address(&value);
    signal.flags.enqueue_cpu_event = 1;
    return client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, signal) != 0;
  } catch (const std::exception&) {
    return false;  // the tests will say what is wrong with such a host
  }
}

// A host behind a VMBus shows all of its memory through one window, and no resource as a file of its own.
bool HostShowsNoFiles() {
  try {
    const MemoryClient client;
    const Descriptor descriptor(client.Share(client.CreateResource(1, kPageBytes, true).resource));
    dxg_export args = {};
    args.kind = DXG_EXPORT_MEMFD;
    if (ioctl(descriptor.get(), DXG_IOCTL_EXPORT, &args) != 0) return errno == EPERM;
    close(args.fd);
  } catch (const std::exception&) {
    // The tests will say what is wrong with such a host.
  }
  return false;
}

}  // namespace

const char* WordOf(NodeKind kind) {
  switch (kind) {
    case NodeKind::kDriver:
      return "driver";
    case NodeKind::kCuse:
      return "cuse";
    case NodeKind::kFile:
      return "file";
    case NodeKind::kLibrary:
      return "preload";
  }
  return "";
}

RunInfo Identify(const std::string& product) {
  RunInfo info;
  utsname system = {};
  uname(&system);
  info.node = options().device;
  info.node_kind = WordOf(KindOfNode());
  info.product = product.empty() ? ProductOf(info.node, system) : product;
  Node node = OpenNode();
  info.adapter = NameOf(node);
  info.driver_version = DriverVersionOf(node);
  info.host_name = system.nodename;
  info.system = fmt::format("{} {}", system.sysname, system.release);
  info.architecture = system.machine;
  info.processors = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  const time_t now = time(nullptr);
  tm utc = {};
  gmtime_r(&now, &utc);
  char text[sizeof("2026-01-01T00:00:00Z")];
  strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  info.started = text;
  return info;
}

std::vector<std::string> FittingExpectations() {
  std::vector<std::string> names = {WordOf(KindOfNode())};
  if (HostHidesRefusedQueries()) {
    names.emplace_back("version-27");
    if (HostAnswersEveryMessage()) names.emplace_back("version-27-answers");
  }
  if (KindOfNode() != NodeKind::kDriver && options().simulator && HostShowsNoFiles())
    names.emplace_back("vmbus");
  return names;
}

}  // namespace dxg::conformance
