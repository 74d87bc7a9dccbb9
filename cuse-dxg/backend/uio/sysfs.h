#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"
#include "cuse-dxg/backend/vmbus/bus.h"
#include "link/vmbus/guid.h"

// What the kernel tells under /sys of the VMBus and of virtual GPUs. Nothing here changes anything but a
// PciFunction's Write.

namespace dxg::vmbus {

inline constexpr char kUioDriver[] = "uio_hv_generic";
inline constexpr char kDxgDriver[] = "dxgkrnl";

// Where the kernel's file systems are; tests have trees of plain files.
struct Places {
  std::string sys = "/sys";
  std::string dev = "/dev";
  std::string proc = "/proc";
  static Places Below(const std::string& root) { return {root + "/sys", root + "/dev", root + "/proc"}; }

  std::string vmbus() const { return sys + "/bus/vmbus"; }
  std::string uio_driver() const { return vmbus() + "/drivers/" + kUioDriver; }
};

struct UioMap {
  unsigned index = 0;
  std::string name;
  uint64_t size = 0;  // bytes
};

// A channel of one of the two classes.
struct VmbusDevice {
  std::string name;  // of its directory: what drivers' bind and unbind take
  Guid channel_class;
  Guid instance;
  uint32_t relid = 0;
  std::optional<unsigned> monitor;  // none: the host allotted none, and has to be signalled by the kernel
  std::string state;                // as the kernel prints it; empty: it does not
  std::string driver;               // empty: none
  bool has_driver_override = false;
  std::string uio;           // "uio0"; empty: none
  std::vector<UioMap> maps;  // by index
  uint64_t identity = 0;     // of this binding: another one has another

  bool is_global() const { return channel_class == kGlobalClass; }
  const char* kind() const { return is_global() ? "global" : "vGPU"; }
  const UioMap* FindMap(unsigned index) const;
  // Bound to uio_hv_generic, which has made its node.
  bool usable() const { return driver == kUioDriver && !uio.empty() && FindMap(0) != nullptr; }
};

struct PciDevice {
  std::string name;  // "0000:00:01.0"
  bool compute_only = false;
  std::string driver;     // empty: none
  uint64_t identity = 0;  // of this device: the next one of the same name has another
};

struct Found {
  bool has_vmbus = false;
  bool has_uio_driver = false;
  bool has_dxg_driver = false;        // of the VMBus
  std::vector<VmbusDevice> channels;  // the global one before the others
  std::vector<PciDevice> functions;
  std::vector<std::string> problems;  // what was left out because it could not be understood, a sentence each
};

Found Look(const Places& places);

// A configuration space as a file, in whole dwords. More than its first 64 bytes need CAP_SYS_ADMIN.
class SysfsFunction final : public PciFunction {
 public:
  // Opened for reading only where writing is not allowed: what is written is refused then.
  static Result<std::unique_ptr<SysfsFunction>> Open(const Places& places, const PciDevice& device);
  std::string name() const override { return device_.name; }
  bool compute_only() const override { return device_.compute_only; }
  Result<uint32_t> Read(uint32_t offset) override;
  Status Write(uint32_t offset, uint32_t value) override;

 private:
  SysfsFunction(UniqueFd config, PciDevice device) : config_(std::move(config)), device_(std::move(device)) {}
  const UniqueFd config_;
  const PciDevice device_;
};

// Decimal, or hexadecimal with 0x; a newline may follow. None: it is no number, or more than 64 bits.
std::optional<uint64_t> ParseNumber(std::string_view text);

}  // namespace dxg::vmbus
