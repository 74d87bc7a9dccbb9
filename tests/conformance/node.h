#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "proto/abi/d3dkmthk.h"
#include "proto/abi/qaitype.h"
#include "tests/conformance/options.h"

// One open /dev/dxg, as a test sees it.
//
// A test of a refusal checks the raw result (TryIoctl: what the kernel returned, or -errno). The rest of a
// test is set-up that must work (Ioctl, and the calls by name). A refusal there throws an exception with the
// name of the call and ends the test, so a test reads as a list of its steps.

namespace dxg::conformance {

// What the node is. Not every kind can do all that a character device can.
enum class NodeKind {
  kDriver,   // a misc character device: the real driver
  kCuse,     // a character device served from userspace
  kFile,     // a regular file (FUSE), or anything else that is not a device
  kLibrary,  // a descriptor of a library in this program (cuse-dxg run --attach=preload)
};

const char* ToString(NodeKind kind);

// The kind of the node under test; determined once.
NodeKind KindOfNode();
// Says it instead: "driver", "cuse", "file" or "preload". Before any test.
void SetKindOfNode(const std::string& word);

// Skips the test, with the reason, on a node that is a file.
#define SKIP_ON_FILE(reason)                               \
  if (KindOfNode() == ::dxg::conformance::NodeKind::kFile) \
  GTEST_SKIP() << "the node is a file, not a character device: " << (reason)

// Skips the test, with the reason, on a node that is served from userspace, file or device.
#define SKIP_ON_USERSPACE_NODE(reason)                       \
  if (KindOfNode() != ::dxg::conformance::NodeKind::kDriver) \
  GTEST_SKIP() << "the node is served from userspace: " << (reason)

// A handle with this number.
inline d3dkmthandle Handle(uint32_t value) {
  d3dkmthandle handle;
  handle.v = value;
  return handle;
}

// A struct in which every byte is `byte`, to see what a call leaves unchanged.
template <typename T>
T Filled(int byte) {
  T value;
  std::memset(&value, byte, sizeof(value));
  return value;
}

// An address as the ABI carries it.
inline uint64_t Address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

// "EINVAL" for -22; the number itself if it is no errno.
std::string ResultName(int result);
// Throws unless the result is 0: "what gave EINVAL".
void Require(int result, const char* what);

// What no node has.
inline constexpr winluid kNoSuchLuid = {0x55667788, 0x11223344};
inline const d3dkmthandle kUnknownHandle = Handle(0x40fff000);

class Node {
 public:
  explicit Node(int fd) : fd_(fd) {}
  Node(Node&& other) noexcept : fd_(other.fd_), first_(other.first_) { other.fd_ = -1; }
  Node& operator=(Node&&) = delete;
  ~Node() { Close(); }

  int fd() const { return fd_; }
  void Close();

  // The raw result: what the call returned, or -errno. A raw NTSTATUS (below -4095) stays what it is.
  template <typename T>
  int TryIoctl(unsigned long code, T& args) const {
    return TryIoctlAt(code, Address(&args));
  }
  int TryIoctlAt(unsigned long code, uint64_t address) const;

  // Throws unless the result is 0.
  template <typename T>
  void Ioctl(unsigned long code, T& args, const char* what) const {
    Require(TryIoctl(code, args), what);
  }

  // Every adapter, compute-only ones too, each with a handle that the caller now owns.
  std::vector<d3dkmt_adapterinfo> EnumAdapters() const;
  // The adapter that tests use: a full one if there is any, else a compute-only one. Opened on the first
  // call.
  d3dkmthandle FirstAdapter();
  winluid FirstLuid();

  d3dkmthandle OpenAdapter(winluid luid) const;
  void CloseAdapter(d3dkmthandle adapter) const;
  d3dkmthandle CreateDevice(d3dkmthandle adapter) const;
  void DestroyDevice(d3dkmthandle device) const;
  // Returns nullopt if the host's GPU driver refuses a context without its own private data.
  std::optional<d3dkmthandle> TryCreateContext(d3dkmthandle device, uint32_t node_ordinal = 0) const;
  d3dkmthandle CreateContext(d3dkmthandle device, uint32_t node_ordinal = 0) const;
  void DestroyContext(d3dkmthandle context) const;

  int TryQuery(d3dkmthandle adapter, uint32_t type, void* data, size_t bytes) const;
  uint32_t ExecutionState(d3dkmthandle device) const;

  // Whether the number names a live object of that type in this process. Uses calls that change nothing.
  bool IsAdapter(d3dkmthandle adapter) const;
  bool IsDevice(d3dkmthandle device) const;
  bool IsContext(d3dkmthandle context) const;

 private:
  int fd_;
  std::optional<d3dkmt_adapterinfo> first_;
};

// Opens the node under test as thunk libraries do. Throws if that fails.
Node OpenNode(int flags = O_RDONLY | O_CLOEXEC);
// The descriptor, or -errno.
int TryOpenNode(int flags = O_RDONLY | O_CLOEXEC);

// Whether a context can be made without private data of a real GPU driver. Asked once.
bool ContextsNeedNoPrivateData();

// Whether EnumAdapters2 lists any adapter; it leaves out compute-only ones.
bool HasFullAdapter();

#define SKIP_WITHOUT_FULL_ADAPTER() \
  if (!HasFullAdapter())            \
  GTEST_SKIP() << "the node has only compute-only adapters, which EnumAdapters2 does not list"

// Skips a test that needs a context if the host's GPU driver makes none without its own private data. With
// the simulator that is a failure and no skip, because the set-up of the test then throws.
#define SKIP_WITHOUT_CONTEXTS()                                                 \
  if (!::dxg::conformance::options().simulator && !ContextsNeedNoPrivateData()) \
  GTEST_SKIP() << "the host's GPU driver makes no context without private data of its own"

}  // namespace dxg::conformance
