#include "cuse-dxg/vmbus_command.h"

#include <fmt/format.h>

#include <vector>

#include "cuse-dxg/backend/uio/bind.h"
#include "cuse-dxg/backend/uio/features.h"
#include "cuse-dxg/backend/uio/sysfs.h"

namespace dxg {
namespace {

using vmbus::Found;
using vmbus::Step;

constexpr int kFailed = 1;

int Refuse(const Status& status) {
  fmt::print(stderr, "cuse-dxg vmbus: {}\n", status.why());
  return kFailed;
}

const char* StateText(const std::string& state) {
  if (state == "1") return "opening";
  if (state == "2") return "closed";
  if (state == "3") return "open";
  return state.c_str();
}

void PrintMachine(const vmbus::Places& places, const Found& found) {
  fmt::print("VMBus              {}\n",
             found.has_vmbus
                 ? "there"
                 : fmt::format("none: {} does not exist, this is no Hyper-V guest", places.vmbus()));
  fmt::print(
      "{:<18} {}\n", vmbus::kUioDriver,
      found.has_uio_driver ? "there" : "not there; modprobe it, or a kernel with CONFIG_UIO_HV_GENERIC");
  fmt::print("{:<18} {}\n\n", vmbus::kDxgDriver, found.has_dxg_driver ? "there" : "not there");
}

void PrintChannels(const std::vector<vmbus::VmbusDevice>& channels) {
  if (channels.empty()) return;
  fmt::print("{:<8}{:<38}{:>6}  {:<8}{:<16}{:<8}{:>10}  {}\n", "channel", "instance", "relid", "monitor",
             "driver", "node", "rings", "state");
  for (const auto& channel : channels) {
    const vmbus::UioMap* const rings = channel.FindMap(0);
    fmt::print("{:<8}{:<38}{:>6}  {:<8}{:<16}{:<8}{:>10}  {}\n", channel.kind(), channel.instance.text(),
               channel.relid, channel.monitor ? std::to_string(*channel.monitor) : "no",
               channel.driver.empty() ? "none" : channel.driver, channel.uio.empty() ? "none" : channel.uio,
               rings ? fmt::format("{} KiB", rings->size >> 10) : "none", StateText(channel.state));
  }
  fmt::print("\n");
}

void PrintFunctions(const std::vector<vmbus::PciDevice>& functions) {
  for (const auto& function : functions) {
    fmt::print("PCI {:<14} {:<16} driver {}\n", function.name,
               function.compute_only ? "compute only" : "render",
               function.driver.empty() ? "none" : function.driver);
  }
  if (!functions.empty()) fmt::print("\n");
}

}  // namespace

void AddUioOptions(CLI::App* command, vmbus::UioOptions* options) {
  command
      ->add_option_function<std::string>(
          "--vmbus-window",
          [options](const std::string& text) {
            Result<vmbus::WindowWanted> window = vmbus::WindowWanted::Parse(text);
            if (!window.ok()) throw CLI::ValidationError("--vmbus-window", window.status().why());
            options->window = *window;
          },
          "Guest-physical addresses for the host's memory: START+LENGTH, or hole+LENGTH for a free place in "
          "/proc/iomem. Nothing reserves them. LENGTH may end in K, M or G")
      ->type_name("PLACE");
  command
      ->add_option("--vmbus-window-file", options->window_file,
                   "File from which the window's bytes are mapped, for example /dev/mem")
      ->type_name("FILE");
  command->add_flag("--vmbus-unpinned-pages", options->unpinned_pages,
                    "Tell the host where a client's pages are although nothing keeps them there: the GPU may "
                    "write to memory that now belongs to another process");
}

VmbusCommand::VmbusCommand(CLI::App& app) {
  vmbus_ = app.add_subcommand(
      "vmbus",
      "Give the channels of a Hyper-V guest's virtual GPUs to uio_hv_generic or back, and show them");
  vmbus_->require_subcommand(1);
  vmbus_->add_option("--root", root_, "Look for sys, dev and proc in DIR")
      ->type_name("DIR")
      ->group("");  // for tests
  bind_ = vmbus_->add_subcommand("bind",
                                 "Give the global channel and all vGPU channels to uio_hv_generic; as root");
  bind_->add_flag("--dry-run", dry_run_, "Only print what would be written to sysfs");
  bind_->add_flag("--class", for_class_, "Also give it channels that arrive later, by their class");
  unbind_ = vmbus_->add_subcommand(
      "unbind", "Give them back to dxgkrnl, or to no driver if there is no dxgkrnl; as root");
  unbind_->add_flag("--dry-run", dry_run_, "Only print what would be written to sysfs");
  status_ = vmbus_->add_subcommand(
      "status", "Show channels and PCI functions, what works and what does not; changes nothing");
  AddUioOptions(status_, &options_);
  vmbus_->footer(
      "Then:   cuse-dxg serve --backend=vmbus\n"
      "A channel that is bound to uio_hv_generic is /dev/uioN. dxgkrnl does not see it any more, and its "
      "/dev/dxg has no adapter.\n"
      "Exit status: 0; 1 if something is refused; status also exits with 1 if no adapter can be reached.");
}

int VmbusCommand::Run() {
  if (!root_.empty()) options_.places = vmbus::Places::Below(root_);
  if (bind_->parsed()) return Bind();
  if (unbind_->parsed()) return Unbind();
  return Show();
}

int VmbusCommand::Bind() const {
  Result<std::vector<Step>> steps = PlanBind(options_.places, vmbus::Look(options_.places), for_class_);
  if (!steps.ok()) return Refuse(steps.status());
  if (dry_run_) return fmt::print("{}", vmbus::ToText(*steps)), 0;
  std::string done;
  Status status = Execute(*steps, vmbus::KernelSysfs(), &done);
  fmt::print("{}", done);
  const Found found = vmbus::Look(options_.places);
  if (status.ok()) status = CheckBound(found);
  if (!status.ok()) return Refuse(status);
  if (done.empty()) fmt::print("all channels are bound to {} already\n", vmbus::kUioDriver);
  PrintChannels(found.channels);
  return 0;
}

int VmbusCommand::Unbind() const {
  Result<std::vector<Step>> steps = PlanUnbind(options_.places, vmbus::Look(options_.places));
  if (!steps.ok()) return Refuse(steps.status());
  if (dry_run_) return fmt::print("{}", vmbus::ToText(*steps)), 0;
  std::string done;
  const Status status = Execute(*steps, vmbus::KernelSysfs(), &done);
  fmt::print("{}", done);
  if (!status.ok()) return Refuse(status);
  if (done.empty()) fmt::print("no channel is bound to {}\n", vmbus::kUioDriver);
  return 0;
}

int VmbusCommand::Show() const {
  const Found found = vmbus::Look(options_.places);
  PrintMachine(options_.places, found);
  PrintChannels(found.channels);
  PrintFunctions(found.functions);
  for (const std::string& problem : found.problems) fmt::print("not understood: {}\n", problem);
  const vmbus::Report report = vmbus::Report::Probe(options_, found);
  fmt::print("{}", report.Text());
  if (report.usable()) return 0;
  fmt::print("\nNo adapter can be reached: see the first three.\n");
  return kFailed;
}

}  // namespace dxg
