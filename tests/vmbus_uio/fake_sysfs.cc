#include "tests/vmbus_uio/fake_sysfs.h"

#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace dxg::vmbus {

namespace fs = std::filesystem;

FakeSysfs::FakeSysfs() {
  const fs::path memory = "/dev/shm";  // some disks take a tenth of a second for a tree
  std::string name =
      ((access(memory.c_str(), W_OK) == 0 ? memory : fs::temp_directory_path()) / "vmbus-uio-XXXXXX")
          .string();
  DXG_CHECK(mkdtemp(name.data()) != nullptr);
  root_ = name;
  fs::create_directories(root_ + "/sys/bus/pci/devices");
  fs::create_directories(root_ + "/dev");
  fs::create_directories(root_ + "/proc/self");
}

FakeSysfs::~FakeSysfs() {
  std::error_code error;
  fs::remove_all(root_, error);
}

void FakeSysfs::Write(const std::string& path, const std::string& text) {
  fs::create_directories(fs::path(root_ + "/" + path).parent_path());
  std::ofstream(root_ + "/" + path, std::ios::binary) << text;
}

std::string FakeSysfs::Read(const std::string& path) const {
  std::ifstream file(root_ + "/" + path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void FakeSysfs::Remove(const std::string& path) { fs::remove_all(root_ + "/" + path); }

void FakeSysfs::Link(const std::string& path, const std::string& to) {
  fs::create_symlink(root_ + "/" + to, root_ + "/" + path);
}

void FakeSysfs::AddDriver(const std::string& bus, const std::string& driver) {
  for (const char* file : {"bind", "unbind", "new_id", "remove_id"})
    Write("sys/bus/" + bus + "/drivers/" + driver + "/" + file, "");
}

void FakeSysfs::AddVmbus() {
  fs::create_directories(root_ + "/sys/bus/vmbus/devices");
  fs::create_directories(root_ + "/sys/bus/vmbus/drivers/hv_netvsc");
}

void FakeSysfs::AddDxgDriver() {
  AddDriver("vmbus", kDxgDriver);
  AddDriver("pci", kDxgDriver);
}

void FakeSysfs::AddGpu() {
  AddVmbus();
  AddUioDriver();
  AddChannel({kGlobalName, kGlobalClass, 12, {}, ""});
  AddChannel({kVgpuName, kVgpuClass, 13, {}, ""});
  AddFunction(kFunctionName, "0x008e", "");
}

void FakeSysfs::AddChannel(const ChannelFiles& files) {
  const std::string path = ChannelPath(files.name);
  Write(path + "/class_id", fmt::format("{{{}}}\n", files.channel_class.text()));
  Write(path + "/device_id", fmt::format("{{{}}}\n", files.name));
  Write(path + "/id", fmt::format("{}\n", files.relid));
  Write(path + "/state", "2\n");
  Write(path + "/driver_override", "(null)\n");
  if (files.monitor) Write(path + "/monitor_id", fmt::format("{}\n", *files.monitor));
  if (!files.driver.empty()) Bind(files.name, files.driver);
}

void FakeSysfs::AddFunction(const std::string& name, const std::string& device, const std::string& driver) {
  const std::string path = FunctionPath(name);
  Write(path + "/vendor", "0x1414\n");
  Write(path + "/device", device + "\n");
  std::string config(256, '\0');
  const Guid channel = *Guid::Parse(kVgpuName);
  std::memcpy(config.data() + 0xC0, channel.bytes.data(), channel.bytes.size());
  config[0xD0] = 40;
  Write(path + "/config", config);
  if (!driver.empty()) Link(path + "/driver", "sys/bus/pci/drivers/" + driver);
}

void FakeSysfs::Bind(const std::string& name, const std::string& driver) {
  const std::string path = ChannelPath(name);
  Link(path + "/driver", "sys/bus/vmbus/drivers/" + driver);
  if (driver != kUioDriver) return;
  const std::string uio = fmt::format("{}/uio/uio{}", path, nodes_++);
  const auto map = [&](unsigned index, const char* map_name, uint64_t bytes) {
    const std::string at = fmt::format("{}/maps/map{}", uio, index);
    Write(at + "/name", fmt::format("{}\n", map_name));
    Write(at + "/size", fmt::format("{:#018x}\n", bytes));
    Write(at + "/offset", "0x0\n");
  };
  map(0, "txrx_rings", rings_bytes);
  map(1, "int_page", 4096);
  map(2, "monitor_page", 4096);
}

void FakeSysfs::Unbind(const std::string& name) {
  Remove(ChannelPath(name) + "/driver");
  Remove(ChannelPath(name) + "/uio");
}

Status FakeKernel::Check(const std::string& path) {
  if (forbidden.count(fs::path(path).lexically_relative(sysfs_.root() + "/sys/bus").string()))
    return Status::Refuse(EACCES, "cannot write {}: Permission denied", path);
  if (fs::exists(path)) return Status::Ok();
  return Status::Refuse(ENOENT, "cannot write {}: No such file or directory", path);
}

// BUS/drivers/DRIVER/FILE, or BUS/devices/NAME/driver_override.
Status FakeKernel::Write(const std::string& path, const std::string& text) {
  const fs::path below = fs::path(path).lexically_relative(sysfs_.root() + "/sys/bus");
  const std::string line = below.string() + " " + text;
  const std::vector<std::string> parts(below.begin(), below.end());
  DXG_CHECK(parts.size() == 4);
  if (const auto found = failing.find(line); found != failing.end())
    return Status::Refuse(found->second, "cannot write '{}' to {}: {}", text, path,
                          std::strerror(found->second));
  DXG_TRY(parts[1] == "devices" ? (sysfs_.Write("sys/bus/" + below.string(), text), Status::Ok())
                                : Perform(parts[0], parts[2], parts[3], text));
  written.push_back(line);
  return Status::Ok();
}

Status FakeKernel::Perform(const std::string& bus, const std::string& driver, const std::string& file,
                           const std::string& text) {
  if (file == "new_id")
    return classes_.insert(text).second ? Status::Ok() : Status::Refuse(EEXIST, "File exists");
  if (file == "remove_id")
    return classes_.erase(text) ? Status::Ok() : Status::Refuse(ENODEV, "No such device");
  const std::string device = "sys/bus/" + bus + "/devices/" + text;
  const std::string link = sysfs_.root() + "/" + device + "/driver";
  if (file == "unbind") {
    if (!fs::is_symlink(link) || fs::read_symlink(link).filename() != driver)
      return Status::Refuse(ENODEV, "No such device");
    bus == "vmbus" ? sysfs_.Unbind(text) : sysfs_.Remove(device + "/driver");
    return Status::Ok();
  }
  if (fs::is_symlink(link)) return Status::Refuse(EBUSY, "Device or resource busy");
  if (bus == "vmbus") {
    const std::string wanted = sysfs_.Read(device + "/driver_override");
    const bool matches = driver == kUioDriver ? wanted == driver : wanted.empty() || wanted == "(null)\n";
    if (!matches) return Status::Refuse(ENODEV, "No such device");
    sysfs_.Bind(text, driver);
  } else {
    sysfs_.Link(device + "/driver", "sys/bus/pci/drivers/" + driver);
  }
  return Status::Ok();
}

}  // namespace dxg::vmbus
