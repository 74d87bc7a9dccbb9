#include "cuse-dxg/backend/uio/sysfs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include "link/vmbus/pci_config.h"

namespace dxg::vmbus {
namespace {

namespace fs = std::filesystem;

constexpr size_t kAttributeBytesMax = 4096;  // the kernel's own limit
constexpr unsigned kMonitorsMax = 128;
constexpr unsigned kMapsMax = 5;
constexpr size_t kDevicesMax = 4096;

// What one file says, without its last newline. None, with `problem` empty: there is no such file, or no
// longer.
std::optional<std::string> ReadAttribute(const std::string& path, std::string* problem) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  std::string text(kAttributeBytesMax, '\0');
  const ssize_t got = file.valid() ? read(file.get(), text.data(), text.size()) : -1;
  if (got < 0) {
    if (errno != ENOENT && errno != ENODEV && errno != ENOTDIR)
      *problem = fmt::format("cannot read {}: {}", path, std::strerror(errno));
    return std::nullopt;
  }
  text.resize(static_cast<size_t>(got));
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

// The last part of where a link leads; empty: there is no link.
std::string LinkName(const std::string& path) {
  std::error_code error;
  const fs::path to = fs::read_symlink(path, error);
  return error ? std::string() : to.filename().string();
}

// The inode number, which the kernel does not give to the next directory of the same name.
uint64_t IdentityOf(const std::string& path) {
  struct stat about;
  return stat(path.c_str(), &about) == 0 ? about.st_ino : 0;
}

std::vector<std::string> Entries(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator each(path, error), end; !error && each != end && names.size() < kDevicesMax;
       each.increment(error)) {
    names.push_back(each->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Reads attributes of one directory, and keeps the first thing that is wrong with them.
class Attributes {
 public:
  explicit Attributes(std::string directory) : directory_(std::move(directory)) {}

  std::optional<std::string> Text(const std::string& name) {
    std::string problem;
    auto text = ReadAttribute(directory_ + "/" + name, &problem);
    if (!problem.empty()) Say(std::move(problem));
    return text;
  }

  std::optional<uint64_t> Number(const std::string& name, uint64_t max) {
    const auto text = Text(name);
    if (!text) return std::nullopt;
    const auto number = ParseNumber(*text);
    if (number && *number <= max) return number;
    Say(fmt::format("{}/{} says '{}'; expected a number up to {}", directory_, name, Shown(*text), max));
    return std::nullopt;
  }

  std::optional<Guid> ReadGuid(const std::string& name) {
    const auto text = Text(name);
    if (!text) return std::nullopt;
    const auto guid = Guid::Parse(*text);
    if (!guid) Say(fmt::format("{}/{} says '{}'; expected a GUID", directory_, name, Shown(*text)));
    return guid;
  }

  const std::string& directory() const { return directory_; }
  const std::string& problem() const { return problem_; }
  void Say(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
  }

 private:
  static std::string Shown(std::string text) {
    constexpr size_t kShown = 60;
    text.resize(std::min(text.size(), kShown));
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return text;
  }

  const std::string directory_;
  std::string problem_;
};

void ReadUio(VmbusDevice* device, Attributes* attributes) {
  for (const std::string& name : Entries(attributes->directory() + "/uio")) {
    if (name.starts_with("uio")) device->uio = name;
  }
  if (device->uio.empty()) return;
  device->identity = IdentityOf(attributes->directory() + "/uio/" + device->uio);
  for (unsigned index = 0; index < kMapsMax; ++index) {
    const std::string map = fmt::format("uio/{}/maps/map{}", device->uio, index);
    const auto size = attributes->Number(map + "/size", SIZE_MAX);
    if (!size) continue;
    device->maps.push_back({index, attributes->Text(map + "/name").value_or(""), *size});
  }
}

// None: it is of another class, gone, or not understood, which `problem` says then.
std::optional<VmbusDevice> ReadDevice(const Places& places, const std::string& name, std::string* problem) {
  Attributes attributes(places.vmbus() + "/devices/" + name);
  VmbusDevice device;
  device.name = name;
  const auto channel_class = attributes.ReadGuid("class_id");
  *problem = attributes.problem();
  if (!channel_class || (*channel_class != kGlobalClass && *channel_class != kVgpuClass)) return std::nullopt;
  device.channel_class = *channel_class;
  const auto instance = attributes.ReadGuid("device_id");
  const auto relid = attributes.Number("id", UINT32_MAX);
  ReadUio(&device, &attributes);
  *problem = attributes.problem();
  if (!instance || !relid || !problem->empty()) {
    if (problem->empty() && fs::exists(attributes.directory() + "/class_id"))
      *problem = fmt::format("{} has no {}", attributes.directory(), instance ? "id" : "device_id");
    return std::nullopt;
  }
  device.instance = *instance;
  device.relid = static_cast<uint32_t>(*relid);
  // Older kernels show a number that means nothing where there is no monitor, newer ones no file.
  const auto monitor = ParseNumber(attributes.Text("monitor_id").value_or(""));
  if (monitor && *monitor < kMonitorsMax) device.monitor = static_cast<unsigned>(*monitor);
  device.state = attributes.Text("state").value_or("");
  device.driver = LinkName(attributes.directory() + "/driver");
  std::error_code error;
  device.has_driver_override = fs::exists(attributes.directory() + "/driver_override", error);
  return device;
}

std::optional<PciDevice> ReadFunction(const Places& places, const std::string& name, std::string* problem) {
  Attributes attributes(places.sys + "/bus/pci/devices/" + name);
  const auto vendor = attributes.Number("vendor", UINT16_MAX),
             device = attributes.Number("device", UINT16_MAX);
  *problem = attributes.problem();
  if (vendor != kPciVendor || (device != kPciRender && device != kPciCompute)) return std::nullopt;
  return PciDevice{name, device == kPciCompute, LinkName(attributes.directory() + "/driver"),
                   IdentityOf(attributes.directory())};
}

}  // namespace

std::optional<uint64_t> ParseNumber(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  if (hex) text.remove_prefix(2);
  uint64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, hex ? 16 : 10);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

const UioMap* VmbusDevice::FindMap(unsigned index) const {
  const auto found =
      std::find_if(maps.begin(), maps.end(), [index](const UioMap& map) { return map.index == index; });
  return found == maps.end() ? nullptr : &*found;
}

Found Look(const Places& places) {
  Found found;
  std::error_code error;
  found.has_vmbus = fs::is_directory(places.vmbus(), error);
  found.has_uio_driver = fs::is_directory(places.uio_driver(), error);
  found.has_dxg_driver = fs::is_directory(places.vmbus() + "/drivers/" + kDxgDriver, error);
  for (const std::string& name : Entries(places.vmbus() + "/devices")) {
    std::string problem;
    if (auto device = ReadDevice(places, name, &problem)) found.channels.push_back(*std::move(device));
    if (!problem.empty()) found.problems.push_back(std::move(problem));
  }
  std::stable_partition(found.channels.begin(), found.channels.end(),
                        [](const VmbusDevice& device) { return device.is_global(); });
  for (const std::string& name : Entries(places.sys + "/bus/pci/devices")) {
    std::string problem;
    if (auto function = ReadFunction(places, name, &problem)) found.functions.push_back(*std::move(function));
    if (!problem.empty()) found.problems.push_back(std::move(problem));
  }
  return found;
}

Result<std::unique_ptr<SysfsFunction>> SysfsFunction::Open(const Places& places, const PciDevice& device) {
  const std::string path = fmt::format("{}/bus/pci/devices/{}/config", places.sys, device.name);
  UniqueFd config(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!config.valid() && (errno == EACCES || errno == EPERM))
    config.reset(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!config.valid()) return Status::Refuse(errno, "cannot open {}: {}", path, std::strerror(errno));
  return std::unique_ptr<SysfsFunction>(new SysfsFunction(std::move(config), device));
}

Result<uint32_t> SysfsFunction::Read(uint32_t offset) {
  DXG_CHECK(offset % sizeof(uint32_t) == 0);
  uint32_t value = 0;
  const ssize_t got = pread(config_.get(), &value, sizeof(value), offset);
  if (got < 0) return Status::Refuse(errno, "{}", std::strerror(errno));
  if (got != sizeof(value))
    return Status::Refuse(EACCES, "the kernel shows only what comes before; be root (CAP_SYS_ADMIN)");
  return value;
}

Status SysfsFunction::Write(uint32_t offset, uint32_t value) {
  DXG_CHECK(offset % sizeof(uint32_t) == 0);
  const ssize_t put = pwrite(config_.get(), &value, sizeof(value), offset);
  if (put == sizeof(value)) return Status::Ok();
  const int error = put < 0 ? errno : EIO;
  const char* const hint = error == EBADF ? "it could be opened for reading only; be root"
                           : error == EPERM
                               ? "not permitted; a locked-down kernel (secure boot) refuses it even to root"
                               : std::strerror(error);
  return Status::Refuse(error == EBADF ? EACCES : error, "{}", hint);
}

}  // namespace dxg::vmbus
