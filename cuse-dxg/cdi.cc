#include "cuse-dxg/cdi.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

namespace dxg {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kNodeInContainer[] = "/dev/dxg";  // the only place where programs look
// Where WSL has the libraries of its GPU, and what they load.
constexpr const char* kWslFolders[] = {"/usr/lib/wsl/lib", "/usr/lib/wsl/drivers"};

bool IsLetterOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// A word of a qualified device name: letters and digits at both ends, and `between` beside them elsewhere.
bool IsCdiWord(std::string_view word, std::string_view between) {
  return !word.empty() && IsLetterOrDigit(word.front()) && IsLetterOrDigit(word.back()) &&
         std::all_of(word.begin(), word.end(),
                     [&](char c) { return IsLetterOrDigit(c) || between.find(c) != std::string_view::npos; });
}

std::string WhyNoKind(const std::string& kind) {
  const size_t slash = kind.find('/');
  if (slash != std::string::npos && kind.front() > '9' && kind[slash + 1] > '9' &&
      IsCdiWord(std::string_view(kind).substr(0, slash), "_-.") &&
      IsCdiWord(std::string_view(kind).substr(slash + 1), "_-"))
    return "";
  return fmt::format("'{}' is no kind; expected VENDOR/CLASS, of letters, digits, '_' and '-'", kind);
}

std::string WhyNoName(const std::string& name) {
  if (IsCdiWord(name, "_-.:")) return "";
  return fmt::format("'{}' is no name of a device; expected letters, digits, '_', '-', '.' and ':'", name);
}

Json Mount(const std::string& from, const std::string& to, const char* access) {
  return {{"hostPath", from},
          {"containerPath", to},
          {"options", {access, "nosuid", "nodev", "rbind", "rprivate"}}};
}

// The paths are of the machine, and who reads them has another working directory.
std::string Absolute(const std::string& path) { return std::filesystem::absolute(path).lexically_normal(); }

// Puts the node into the edits, by what it is.
Status AddNode(const std::string& path, Json* edits) {
  struct stat node;
  if (stat(path.c_str(), &node) != 0)
    return Status::Refuse(errno,
                          "{}: {}; serve a node first (cuse-dxg serve), or say by --device where it is", path,
                          std::strerror(errno));
  const std::string place = Absolute(path);
  if (S_ISCHR(node.st_mode)) {
    Json device = {{"path", kNodeInContainer}};
    if (place != kNodeInContainer) device["hostPath"] = place;
    device["permissions"] = "rwm";
    (*edits)["deviceNodes"] = {device};
    return Status::Ok();
  }
  struct statfs system;
  if (!S_ISREG(node.st_mode) || statfs(path.c_str(), &system) != 0 || system.f_type != FUSE_SUPER_MAGIC)
    return Status::Refuse(ENODEV, "{} is neither a character device nor a FUSE file; expected a node", path);
  // A runtime makes no device of a file, and a file that is served shows through a mount.
  (*edits)["mounts"].push_back(Mount(place, kNodeInContainer, "rw"));
  return Status::Ok();
}

Status AddFolders(const std::vector<std::string>& folders, Json* edits) {
  for (const std::string& folder : folders) {
    if (!std::filesystem::is_directory(folder))
      return Status::Refuse(ENOTDIR, "--libraries {}: there is no such folder", folder);
    const std::string place = Absolute(folder);
    (*edits)["mounts"].push_back(Mount(place, place, "ro"));
  }
  return Status::Ok();
}

// Whole or not at all: a container's start may read it at any time.
Status Write(const std::string& path, const std::string& text) {
  const std::string unfinished = path + ".new";  // no name that a runtime reads
  std::ofstream file(unfinished, std::ios::trunc);
  file << text;
  file.close();
  const int error = file ? 0 : errno;
  if (error == 0 && std::rename(unfinished.c_str(), path.c_str()) == 0) return Status::Ok();
  const int why = error ? error : errno;
  std::remove(unfinished.c_str());
  return Status::Refuse(why, "--output {}: {}", path, std::strerror(why));
}

}  // namespace

Result<std::string> CdiSpecification(const CdiOptions& options) {
  std::vector<std::string> folders = options.libraries;
  if (folders.empty()) {
    for (const char* folder : kWslFolders) {
      if (std::filesystem::is_directory(folder)) folders.push_back(folder);
    }
  }
  Json edits = Json::object();
  DXG_TRY(AddNode(options.node, &edits));
  DXG_TRY(AddFolders(folders, &edits));
  Json devices = Json::array();
  devices.push_back({{"name", options.name}, {"containerEdits", edits}});
  const Json all = {{"cdiVersion", options.spec_version}, {"kind", options.kind}, {"devices", devices}};
  return all.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

CdiCommand::CdiCommand(CLI::App& app) {
  cdi_ = app.add_subcommand("cdi", "Write a specification by which container engines give out a node");
  cdi_->require_subcommand(1);
  CLI::App* generate = cdi_->add_subcommand(
      "generate", "Write a specification of the Container Device Interface (CDI) for a node");
  generate->add_option("--device", options_.node, "Path of the node on this machine")
      ->type_name("PATH")
      ->capture_default_str();
  generate
      ->add_option("--output", output_,
                   "Write to FILE; engines read *.json in /etc/cdi and /var/run/cdi. Default: stdout")
      ->type_name("FILE");
  generate
      ->add_option("--spec-version", options_.spec_version,
                   "Version of CDI; podman 4.3 of Debian 12 knows none later than 0.5.0")
      ->check(CLI::IsMember({"0.5.0", "0.6.0"}))
      ->capture_default_str();
  generate->add_option("--kind", options_.kind, "Vendor and class of the device")
      ->type_name("VENDOR/CLASS")
      ->check(CLI::Validator(WhyNoKind, ""))
      ->capture_default_str();
  generate->add_option("--name", options_.name, "Name of the device")
      ->type_name("NAME")
      ->check(CLI::Validator(WhyNoName, ""))
      ->capture_default_str();
  generate
      ->add_option("--libraries", options_.libraries,
                   "Folder of libraries that containers get too, read-only, at the same place; repeatable. "
                   "Default: /usr/lib/wsl/lib and /usr/lib/wsl/drivers, where they exist")
      ->type_name("DIR")
      ->take_all()
      ->allow_extra_args(false);
  cdi_->footer(
      "Then:   podman run --device cuse-dxg.dev/gpu=all IMAGE PROGRAM\n"
      "Exit status: 0; 1 if there is no node, or the file cannot be written; 2 if the command line is "
      "wrong.");
}

int CdiCommand::Run() const {
  Result<std::string> text = CdiSpecification(options_);
  Status status = text.status();
  if (status.ok() && output_.empty()) {
    fmt::print("{}", *text);
  } else if (status.ok()) {
    status = Write(output_, *text);
  }
  if (status.ok()) return 0;
  fmt::print(stderr, "cuse-dxg cdi: {}\n", status.why());
  return 1;
}

}  // namespace dxg
