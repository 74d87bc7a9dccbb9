#include "cuse-dxg/backend/uio/features.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "cuse-dxg/backend/uio/uio_window.h"
#include "link/vmbus/pci_config.h"

namespace dxg::vmbus {
namespace {

constexpr char kBindIt[] = "cuse-dxg vmbus bind";

Feature Channels(const Found& found) {
  Feature feature{"channels", "everything", false, "", ""};
  const auto usable = [&](bool global) {
    return std::count_if(found.channels.begin(), found.channels.end(), [&](const VmbusDevice& device) {
      return device.is_global() == global && device.usable();
    });
  };
  feature.works = usable(true) == 1 && usable(false) > 0;
  feature.why =
      fmt::format("{} global and {} vGPU channel(s) bound to {}", usable(true), usable(false), kUioDriver);
  if (found.channels.empty())
    feature.why = found.has_vmbus ? "this guest's host offers no virtual GPU"
                                  : "no VMBus: this is no Hyper-V guest, or its kernel has no drivers/hv";
  if (!feature.works && !found.channels.empty()) feature.remedy = kBindIt;
  return feature;
}

// The doorbell that the kernel rings for us came together with its consent to channels without a monitor.
Feature Signals(const Found& found) {
  Feature feature{"signals to the host", "everything", false, "", ""};
  std::string how;
  for (const VmbusDevice& device : found.channels) {
    if (!device.usable()) continue;
    how += fmt::format("{}{} {}", how.empty() ? "" : ", ", device.kind(),
                       device.monitor ? fmt::format("by monitor {}", *device.monitor) : "by write()");
  }
  feature.works = !how.empty();
  feature.why = feature.works ? how : "no channel is bound";
  return feature;
}

bool IsLockedDown(const Places& places) {
  std::string line;
  std::ifstream file(places.sys + "/kernel/security/lockdown");
  std::getline(file, line);
  return line.find("[integrity]") != std::string::npos || line.find("[confidentiality]") != std::string::npos;
}

Status CanNegotiate(const Places& places, const PciDevice& device) {
  DXG_ASSIGN(auto function, SysfsFunction::Open(places, device));
  DXG_TRY(function->Read(kConfigChannel).status());
  const std::string config = fmt::format("{}/bus/pci/devices/{}/config", places.sys, device.name);
  if (access(config.c_str(), W_OK) != 0)
    return Status::Refuse(EACCES, "{} is not ours to write; be root", config);
  return Status::Ok();
}

Feature Negotiation(const Places& places, const Found& found) {
  Feature feature{"PCI configuration", "adapters", false, "", ""};
  if (found.functions.empty()) {
    feature.why = "no PCI function 1414:008e or 1414:008a";
    return feature;
  }
  for (const PciDevice& device : found.functions) {
    if (!device.driver.empty()) {
      feature.works = false;
      feature.why = fmt::format("function {} has a driver, {}", device.name, device.driver);
      feature.remedy = kBindIt;
      return feature;
    }
    const Status status = CanNegotiate(places, device);
    feature.works = status.ok();
    feature.why = status.ok() ? fmt::format("{} function(s)", found.functions.size()) : status.why();
    if (!status.ok()) break;
  }
  if (feature.works && IsLockedDown(places)) {
    feature.works = false;
    feature.why = "the kernel is locked down, which refuses writes to PCI configuration space";
    feature.remedy = "boot without secure boot";
  }
  return feature;
}

Feature InBand(bool reachable) {
  return {"messages",
          "devices, contexts, queues, allocations in host memory, GPU addresses, submissions, waits of GPU "
          "and CPU, queries, "
          "escapes, sharing, sync files",
          reachable, reachable ? "all in packets" : "no adapter can be reached", ""};
}

Feature WindowOf(const UioOptions& options) {
  Feature feature{"window", "Lock2, fence values that the CPU reads, progress of paging and hardware queues",
                  false, "", ""};
  Result<Window> window = FindWindow(options);
  if (!window.ok()) {
    feature.why = window.status().why();
    return feature;
  }
  const bool has_bytes = !options.window_file.empty();
  feature.works = has_bytes;
  feature.why = fmt::format(
      "{:#x}+{:#x}, which nothing reserves, {}", window->start, window->length,
      has_bytes ? "mapped from " + options.window_file : "announced only: its bytes cannot be reached");
  if (!has_bytes) feature.remedy = "--vmbus-window-file /dev/mem, where the kernel allows it";
  return feature;
}

Feature PageFrames(const UioOptions& options) {
  Feature feature{"memory by frames", "allocations in a client's memory, where the host maps guest pages",
                  false, "", ""};
  const std::string pagemap = options.places.proc + "/self/pagemap",
                    flags = options.places.proc + "/kpageflags";
  if (!options.unpinned_pages) {
    feature.why = "a client's pages can only be named, not held in place, from userspace";
    feature.remedy = "--vmbus-unpinned-pages, where a GPU that writes to wrong memory harms nobody";
  } else if (access(pagemap.c_str(), R_OK) != 0 || access(flags.c_str(), R_OK) != 0) {
    feature.why = fmt::format("{} or {} cannot be read", pagemap, flags);
    feature.remedy = "be root";
  } else {
    feature.works = true;
    feature.why = "named and not held: the kernel may move a page while the GPU writes to it";
  }
  return feature;
}

Feature PageLists() {
  return {"memory by list", "allocations in a client's memory, where the host wants a GPADL", false,
          "uio_hv_generic makes no GPADL", "a driver in the kernel"};
}

}  // namespace

Report Report::Probe(const UioOptions& options, const Found& found) {
  Report report;
  report.features.push_back(Channels(found));
  report.features.push_back(Signals(found));
  report.features.push_back(Negotiation(options.places, found));
  report.features.push_back(InBand(report.usable()));
  report.features.push_back(WindowOf(options));
  report.features.push_back(PageFrames(options));
  report.features.push_back(PageLists());
  return report;
}

bool Report::usable() const {
  constexpr ptrdiff_t kNeeded = 3;  // channels, signals, PCI configuration
  return std::all_of(features.begin(), features.begin() + kNeeded,
                     [](const Feature& feature) { return feature.works; });
}

std::string Report::Text() const {
  std::string text;
  for (const Feature& feature : features) {
    text += fmt::format("{:<5} {:<20} {}\n", feature.works ? "ok" : "no", feature.name, feature.why);
    text += fmt::format("{:<5} {:<20} for: {}\n", "", "", feature.calls);
    if (!feature.remedy.empty()) text += fmt::format("{:<5} {:<20} -> {}\n", "", "", feature.remedy);
  }
  return text;
}

}  // namespace dxg::vmbus
