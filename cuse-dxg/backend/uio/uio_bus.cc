#include "cuse-dxg/backend/uio/uio_bus.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "base/page.h"
#include "base/start_thread.h"
#include "cuse-dxg/backend/uio/features.h"
#include "cuse-dxg/backend/uio/page_frames.h"
#include "cuse-dxg/backend/uio/uevents.h"
#include "cuse-dxg/backend/uio/uio_signal.h"
#include "cuse-dxg/backend/uio/uio_window.h"
#include "link/vmbus/ring_channel.h"

namespace dxg::vmbus {
namespace {

constexpr unsigned kRingsMap = 0;
constexpr uint64_t kRingsBytesMax = uint64_t{1} << 30;

ChannelOffer OfferOf(const VmbusDevice& device) {
  return {.channel_class = device.channel_class, .instance = device.instance, .relid = device.relid};
}

// The same device in the same binding: names and relids are used again.
bool Same(const VmbusDevice& a, const VmbusDevice& b) {
  return a.instance == b.instance && a.uio == b.uio && a.identity == b.identity;
}
bool Same(const PciDevice& a, const PciDevice& b) { return a.name == b.name && a.identity == b.identity; }

}  // namespace

UioBus::UioBus(UioOptions options, OpenNode open_node)
    : options_(std::move(options)), open_node_(std::move(open_node)) {}

Status UioBus::Start(BusEvents* events) {
  stop_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop_.valid()) return Status::Refuse(errno, "cannot make an eventfd: {}", std::strerror(errno));
  {
    MutexLock scanning(scanning_);
    MutexLock lock(mutex_);
    events_ = events;
    offered_.clear();
    arrived_.clear();
  }
  Result<UniqueFd> uevents = ListenToUevents();  // before the first look, or something is missed in between
  if (!uevents.ok())
    spdlog::warn("{}; devices that come or go later are not noticed", uevents.status().why());
  Rescan();
  if (!uevents.ok()) return Status::Ok();
  auto socket = std::make_shared<UniqueFd>(*std::move(uevents));
  if (!StartThread(&watcher_, [this, socket] { Watch(socket->get()); }))
    return Status::Refuse(EAGAIN,
                          "no thread can be had for what a bus tells (ulimit -u, or the machine's limit)");
  return Status::Ok();
}

void UioBus::Stop() {
  const uint64_t one = 1;
  if (stop_.valid()) (void)!write(stop_.get(), &one, sizeof(one));
  if (watcher_.joinable()) watcher_.join();
  MutexLock lock(scanning_);
  events_ = nullptr;
}

void UioBus::Watch(int uevents) {
  pollfd files[] = {{uevents, POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  for (;;) {
    if (poll(files, std::size(files), -1) < 0 && errno != EINTR) return;
    if (files[1].revents != 0) return;
    if (files[0].revents != 0 && TakeUevents(uevents)) Rescan();
  }
}

void UioBus::Rescan() {
  MutexLock lock(scanning_);
  if (events_ == nullptr) return;
  const Found found = Look(options_.places);
  if (!found.has_vmbus) return std::exchange(events_, nullptr)->BusLost("there is no VMBus any more");
  for (const std::string& problem : found.problems) Complain(problem);
  ForgetChannels(found);
  ForgetFunctions(found);
  LearnChannels(found);
  LearnFunctions(found);
}

void UioBus::ForgetChannels(const Found& found) {
  std::vector<uint32_t> gone;
  {
    MutexLock lock(mutex_);
    for (const auto& [relid, known] : offered_) {
      const auto is_it = [known = &known](const VmbusDevice& each) {
        return each.usable() && each.relid == known->relid && Same(each, *known);
      };
      if (std::none_of(found.channels.begin(), found.channels.end(), is_it)) gone.push_back(relid);
    }
    for (const uint32_t relid : gone) offered_.erase(relid);
  }
  for (const uint32_t relid : gone) events_->Rescinded(relid);
}

void UioBus::ForgetFunctions(const Found& found) {
  for (auto it = arrived_.begin(); it != arrived_.end();) {
    const auto is_it = [&](const PciDevice& each) { return each.driver.empty() && Same(each, it->second); };
    if (std::any_of(found.functions.begin(), found.functions.end(), is_it)) {
      ++it;
      continue;
    }
    const std::string name = it->first;
    it = arrived_.erase(it);
    events_->FunctionRemoved(name);
  }
}

void UioBus::LearnChannels(const Found& found) {
  for (const VmbusDevice& device : found.channels) {
    if (!device.usable()) {
      Complain(fmt::format(
          "the {} channel {} cannot be used, its driver is {}; cuse-dxg vmbus bind gives it to {}",
          device.kind(), device.name, device.driver.empty() ? "none" : device.driver, kUioDriver));
      continue;
    }
    bool is_new;
    {
      MutexLock lock(mutex_);
      is_new = offered_.emplace(device.relid, device).second;
    }
    if (is_new) events_->Offered(OfferOf(device));
  }
}

void UioBus::LearnFunctions(const Found& found) {
  for (const PciDevice& device : found.functions) {
    if (device.driver.empty() && !arrived_.contains(device.name)) Arrive(device);
    if (!device.driver.empty())
      Complain(fmt::format("PCI function {} has a driver, {}; cuse-dxg vmbus bind takes it away", device.name,
                           device.driver));
  }
}

void UioBus::Arrive(const PciDevice& device) {
  Result<std::unique_ptr<SysfsFunction>> function = SysfsFunction::Open(options_.places, device);
  if (!function.ok()) return Complain(function.status().why());
  arrived_.emplace(device.name, device);
  events_->FunctionArrived(*std::move(function));
}

void UioBus::Complain(const std::string& problem) {
  if (complaints_.insert(problem).second) spdlog::warn("vmbus: {}", problem);
}

Result<std::unique_ptr<Channel>> UioBus::Open(const ChannelOffer& offer) {
  VmbusDevice device;
  {
    MutexLock lock(mutex_);
    const auto found = offered_.find(offer.relid);
    if (found == offered_.end() || found->second.instance != offer.instance)
      return Status::Refuse(ENODEV, "channel {} is not there any more", offer.instance.text());
    device = found->second;
  }
  const uint64_t bytes = device.FindMap(kRingsMap)->size, ring = bytes / 2;
  if (bytes == 0 || bytes > kRingsBytesMax || ring % kPageBytes != 0)
    return Status::Refuse(EPROTO,
                          "the rings of channel {} have {:#x} bytes; expected two halves of whole pages",
                          device.name, bytes);
  DXG_ASSIGN(std::shared_ptr<UioNode> node, open_node_(options_.places.dev + "/" + device.uio));
  DXG_ASSIGN(const std::span<std::byte> rings, node->Map(kRingsMap, bytes));
  DXG_ASSIGN(std::unique_ptr<Signal> signal, UioSignal::Create(node, device.monitor));
  return MakeRingChannel(rings.first(ring), rings.last(ring), std::move(signal), node);
}

Result<Window> UioBus::ReserveWindow(const ChannelOffer&) { return FindWindow(options_); }

Result<uint32_t> UioBus::CreateGpadl(const ChannelOffer&, std::shared_ptr<ClientPages>) {
  return Status::Refuse(ENOTSUP,
                        "this host wants a client's memory as a GPADL, and {} makes none; allocate memory of "
                        "the host's instead",
                        kUioDriver);
}

void UioBus::TearDownGpadl(const ChannelOffer&, uint32_t) {}  // there are none

Result<std::unique_ptr<Bus::Pinned>> UioBus::Pin(std::shared_ptr<ClientPages> pages) {
  if (options_.unpinned_pages) return NoteFrames(std::move(pages), options_.places.proc);
  return Status::Refuse(
      ENOTSUP,
      "the pages of a client cannot be held in place from userspace; --vmbus-unpinned-pages tells the host "
      "where they are all the same, at the risk that a GPU writes where they were before");
}

Result<std::unique_ptr<Bus>> CreateUioBus(UioOptions options) {
  const Found found = Look(options.places);
  if (!found.has_vmbus) {
    return Status::Refuse(ENODEV,
                          "there is no VMBus here ({} does not exist): this is no Hyper-V guest, or its "
                          "kernel has no drivers/hv",
                          options.places.vmbus());
  }
  for (const Feature& feature : Report::Probe(options, found).features) {
    if (feature.works) {
      spdlog::info("vmbus: {}: {}", feature.name, feature.why);
    } else {
      spdlog::warn("vmbus: no {}: {}{}{} (for: {})", feature.name, feature.why,
                   feature.remedy.empty() ? "" : " -> ", feature.remedy, feature.calls);
    }
  }
  return std::unique_ptr<Bus>(std::make_unique<UioBus>(std::move(options)));
}

}  // namespace dxg::vmbus
