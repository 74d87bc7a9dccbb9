#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cuse-dxg/backend/uio/bind.h"
#include "cuse-dxg/backend/uio/sysfs.h"
#include "link/vmbus/guid.h"

namespace dxg::vmbus {

inline constexpr uint64_t kGiB = uint64_t{1} << 30;
inline constexpr char kGlobalName[] = "711dad3a-73ce-468b-90a9-ede6906841b2";
inline constexpr char kVgpuName[] = "1d5f2a9c-4e11-4b07-9a2d-5c0f4e6b7a81";
inline constexpr char kFunctionName[] = "0001:00:00.0";

// sys, dev and proc of a Hyper-V guest as plain files below a directory of their own.
class FakeSysfs {
 public:
  FakeSysfs();
  ~FakeSysfs();
  FakeSysfs(const FakeSysfs&) = delete;
  FakeSysfs& operator=(const FakeSysfs&) = delete;

  const std::string& root() const { return root_; }
  Places places() const { return Places::Below(root_); }

  void Write(const std::string& path, const std::string& text);  // below the root
  std::string Read(const std::string& path) const;
  void Remove(const std::string& path);
  void Link(const std::string& path, const std::string& to);

  // A VMBus, with uio_hv_generic; and a global channel, a vGPU's and its PCI function without drivers.
  void AddVmbus();
  void AddUioDriver() { AddDriver("vmbus", kUioDriver); }
  void AddDxgDriver();
  void AddGpu();

  struct ChannelFiles {
    std::string name;
    Guid channel_class;
    unsigned relid;
    std::optional<unsigned> monitor;
    std::string driver;
  };
  void AddChannel(const ChannelFiles& files);
  void AddFunction(const std::string& name, const std::string& device, const std::string& driver);
  std::string ChannelPath(const std::string& name) const { return "sys/bus/vmbus/devices/" + name; }
  std::string FunctionPath(const std::string& name) const { return "sys/bus/pci/devices/" + name; }

  // What the kernel does when a driver gets a channel or loses it.
  void Bind(const std::string& name, const std::string& driver);
  void Unbind(const std::string& name);

  uint64_t rings_bytes = 4 << 20;

 private:
  void AddDriver(const std::string& bus, const std::string& driver);

  std::string root_;
  unsigned nodes_ = 0;
};

// The kernel's part of a write to that tree, which can be made to fail.
class FakeKernel final : public SysfsWriter {
 public:
  explicit FakeKernel(FakeSysfs& sysfs) : sysfs_(sysfs) {}
  Status Check(const std::string& path) override;
  Status Write(const std::string& path, const std::string& text) override;

  std::vector<std::string> written;    // "PATH TEXT", with paths below sys/bus
  std::map<std::string, int> failing;  // what is written, and the errno that the kernel says
  std::set<std::string> forbidden;     // paths that Check refuses

 private:
  Status Perform(const std::string& bus, const std::string& driver, const std::string& file,
                 const std::string& text);
  FakeSysfs& sysfs_;
  std::set<std::string> classes_;  // that uio_hv_generic has
};

}  // namespace dxg::vmbus
