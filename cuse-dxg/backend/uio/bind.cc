#include "cuse-dxg/backend/uio/bind.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"

namespace dxg::vmbus {
namespace {

constexpr int kNotSupportedInKernel = 524;  // ENOTSUPP, which has no name outside of the kernel

std::string DriverFile(const Places& places, const std::string& driver, const char* file) {
  return fmt::format("{}/drivers/{}/{}", places.vmbus(), driver, file);
}
std::string PciDriverFile(const Places& places, const std::string& driver, const char* file) {
  return fmt::format("{}/bus/pci/drivers/{}/{}", places.sys, driver, file);
}
std::string OverrideOf(const Places& places, const VmbusDevice& device) {
  return fmt::format("{}/devices/{}/driver_override", places.vmbus(), device.name);
}
std::string NameOf(const VmbusDevice& device) {
  return fmt::format("{} channel {}", device.kind(), device.name);
}

// The driver of the PCI function holds the channels too, so it goes first.
void ReleaseFunctions(const Places& places, const Found& found, std::vector<Step>* steps) {
  for (const PciDevice& device : found.functions) {
    if (device.driver.empty()) continue;
    steps->push_back({fmt::format("take PCI function {} from {}", device.name, device.driver),
                      {PciDriverFile(places, device.driver, "unbind"), device.name},
                      {{PciDriverFile(places, device.driver, "bind"), device.name}}});
  }
}

void ReleaseChannel(const Places& places, const VmbusDevice& device, std::vector<Step>* steps) {
  if (device.driver.empty()) return;
  steps->push_back({fmt::format("take the {} from {}", NameOf(device), device.driver),
                    {DriverFile(places, device.driver, "unbind"), device.name},
                    {{DriverFile(places, device.driver, "bind"), device.name}}});
}

void GiveChannel(const Places& places, const VmbusDevice& device, std::vector<Step>* steps) {
  const std::string path = OverrideOf(places, device);
  steps->push_back(
      {fmt::format("let only {} have the {}", kUioDriver, NameOf(device)), {path, kUioDriver}, {{path, ""}}});
  steps->push_back({fmt::format("give the {} to {}", NameOf(device), kUioDriver),
                    {DriverFile(places, kUioDriver, "bind"), device.name},
                    {{DriverFile(places, kUioDriver, "unbind"), device.name}}});
}

// For those that arrive later.
void GiveClass(const Places& places, const Guid& channel_class, std::vector<Step>* steps) {
  steps->push_back({fmt::format("let {} have all channels of class {}", kUioDriver, channel_class.text()),
                    {DriverFile(places, kUioDriver, "new_id"), channel_class.text()},
                    {{DriverFile(places, kUioDriver, "remove_id"), channel_class.text()}},
                    EEXIST});
}

Status RefuseMissing(const Places& places, const Found& found) {
  if (!found.has_vmbus)
    return Status::Refuse(ENODEV,
                          "there is no VMBus here ({} does not exist): this is no Hyper-V guest, or its "
                          "kernel has no drivers/hv",
                          places.vmbus());
  if (found.channels.empty()) {
    return Status::Refuse(ENODEV,
                          "the host offers no channel of a virtual GPU, {} or {}; add a GPU partition to "
                          "this machine (Add-VMGpuPartitionAdapter), or use WSL2{}",
                          kGlobalClass.text(), kVgpuClass.text(),
                          found.problems.empty() ? "" : ". " + found.problems.front());
  }
  return Status::Ok();
}

std::string Explain(const Status& status) {
  switch (-status.value()) {
    case EACCES:
    case EPERM:
      return status.why() + "; be root";
    case kNotSupportedInKernel:
    case EOPNOTSUPP:
      return "this kernel's uio_hv_generic refuses channels without a monitor; Linux 6.10 and later take "
             "them";
    case EBUSY:
      return status.why() + "; whoever uses it has to close it first";
    case ENOENT:
      return status.why() + "; has something changed meanwhile? Try again";
    default:
      return status.why();
  }
}

// Backwards, a line each.
std::string Undo(const std::vector<const Step*>& done) {
  std::string text;
  for (auto step = done.rbegin(); step != done.rend(); ++step) {
    for (const Write& write : (*step)->undo) text += "\n  " + ToText(write);
  }
  return text;
}

class RealSysfs final : public SysfsWriter {
 public:
  Status Check(const std::string& path) override {
    if (access(path.c_str(), W_OK) == 0) return Status::Ok();
    return Status::Refuse(errno, "cannot write {}: {}", path, std::strerror(errno));
  }
  Status Write(const std::string& path, const std::string& text) override {
    const UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    const std::string line = text + "\n";
    if (file.valid() && write(file.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size()))
      return Status::Ok();
    return Status::Refuse(errno, "cannot write '{}' to {}: {}", text, path, std::strerror(errno));
  }
};

}  // namespace

SysfsWriter& KernelSysfs() {
  static RealSysfs sysfs;
  return sysfs;
}

Result<std::vector<Step>> PlanBind(const Places& places, const Found& found, bool for_class) {
  DXG_TRY(RefuseMissing(places, found));
  if (!found.has_uio_driver) {
    return Status::Refuse(
        ENOENT, "there is no {}; modprobe {}, or a kernel with CONFIG_UIO_HV_GENERIC (WSL2's own has none)",
        places.uio_driver(), kUioDriver);
  }
  std::vector<Step> steps;
  ReleaseFunctions(places, found, &steps);
  const auto has_other_driver = [](const VmbusDevice& device) { return device.driver != kUioDriver; };
  // The vGPUs' before the global one, which they speak through.
  for (auto device = found.channels.rbegin(); device != found.channels.rend(); ++device) {
    if (has_other_driver(*device)) ReleaseChannel(places, *device, &steps);
  }
  for (const VmbusDevice& device : found.channels) {
    if (!has_other_driver(device)) continue;
    if (!device.has_driver_override)
      return Status::Refuse(
          ENOTSUP, "the {} has no driver_override: this kernel is too old, Linux 6.10 or later is needed",
          NameOf(device));
    GiveChannel(places, device, &steps);
  }
  if (for_class) {
    GiveClass(places, kGlobalClass, &steps);
    GiveClass(places, kVgpuClass, &steps);
  }
  return steps;
}

Result<std::vector<Step>> PlanUnbind(const Places& places, const Found& found) {
  DXG_TRY(RefuseMissing(places, found));
  std::vector<Step> steps;
  std::vector<const VmbusDevice*> ours;
  for (auto device = found.channels.rbegin(); device != found.channels.rend(); ++device) {
    if (device->driver == kUioDriver) ours.push_back(&*device);
  }
  if (ours.empty()) return steps;
  for (const Guid& channel_class : {kVgpuClass, kGlobalClass}) {
    steps.push_back(
        {fmt::format("no longer let {} have all channels of class {}", kUioDriver, channel_class.text()),
         {DriverFile(places, kUioDriver, "remove_id"), channel_class.text()},
         {},
         ENODEV});
  }
  for (const VmbusDevice* device : ours) {
    ReleaseChannel(places, *device, &steps);
    if (!device->has_driver_override) continue;
    const std::string path = OverrideOf(places, *device);
    steps.push_back(
        {fmt::format("let any driver have the {}", NameOf(*device)), {path, ""}, {{path, kUioDriver}}});
  }
  if (!found.has_dxg_driver) return steps;
  for (auto device = ours.rbegin(); device != ours.rend(); ++device) {
    steps.push_back({fmt::format("give the {} to {}", NameOf(**device), kDxgDriver),
                     {DriverFile(places, kDxgDriver, "bind"), (*device)->name},
                     {{DriverFile(places, kDxgDriver, "unbind"), (*device)->name}}});
  }
  for (const PciDevice& device : found.functions) {
    if (!device.driver.empty()) continue;
    steps.push_back({fmt::format("give PCI function {} to {}", device.name, kDxgDriver),
                     {PciDriverFile(places, kDxgDriver, "bind"), device.name},
                     {{PciDriverFile(places, kDxgDriver, "unbind"), device.name}}});
  }
  return steps;
}

std::string ToText(const Write& write) {
  return fmt::format("echo {} > {}", write.text.empty() ? "''" : write.text, write.path);
}

std::string ToText(const std::vector<Step>& steps) {
  std::string text;
  for (const Step& step : steps) text += fmt::format("{}  # {}\n", ToText(step.write), step.what);
  return text;
}

Status Execute(const std::vector<Step>& steps, SysfsWriter& writer, std::string* done) {
  for (const Step& step : steps) {
    const Status status = writer.Check(step.write.path);
    if (!status.ok())
      return Status::Refuse(-status.value(), "cannot {}: {}. Nothing has been changed", step.what,
                            Explain(status));
  }
  std::vector<const Step*> steps_done;
  for (const Step& step : steps) {
    const Status status = writer.Write(step.write.path, step.write.text);
    if (status.ok()) {
      steps_done.push_back(&step);
      *done += step.what + "\n";
    } else if (-status.value() != step.fine_error) {
      const std::string undo = Undo(steps_done);
      return Status::Refuse(
          -status.value(), "cannot {}: {}. {}{}", step.what, Explain(status),
          undo.empty() ? "Nothing has been changed" : "What was done before is taken back, as root, by:",
          undo);
    }
  }
  return Status::Ok();
}

Status CheckBound(const Found& found) {
  for (const VmbusDevice& device : found.channels) {
    if (device.driver != kUioDriver)
      return Status::Refuse(EIO, "the kernel took every write, and the {} still has {}; dmesg may say why",
                            NameOf(device),
                            device.driver.empty() ? "no driver" : "the driver " + device.driver);
    if (!device.usable())
      return Status::Refuse(EIO, "{} has the {} and shows no rings (uio/*/maps/map0); dmesg may say why",
                            kUioDriver, NameOf(device));
  }
  return Status::Ok();
}

}  // namespace dxg::vmbus
