#include "cuse-dxg/cdi.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fuse.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "base/unique_fd.h"

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

// The paths are of the machine, and who reads them has another working directory and follows no links.
Result<std::string> Canonical(const std::string& path) {
  std::error_code error;
  const std::string place = std::filesystem::canonical(path, error);
  if (error) return Status::Refuse(error.value(), "{}: {}", path, std::strerror(error.value()));
  return place;
}

bool IsFolder(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

// Puts the node into the edits, by what it is.
Status AddNode(const std::string& path, Json* edits) {
  struct stat node;
  if (stat(path.c_str(), &node) != 0)
    return Status::Refuse(errno,
                          "{}: {}; serve a node first (cuse-dxg serve), or say by --device where it is", path,
                          std::strerror(errno));
  DXG_ASSIGN(const std::string place, Canonical(path));
  if (S_ISCHR(node.st_mode)) {
    Json device = {{"path", kNodeInContainer}};
    if (place != kNodeInContainer) device["hostPath"] = place;
    device["permissions"] = "rwm";
    (*edits)["deviceNodes"] = {device};
    return Status::Ok();
  }
  struct statfs system;
  if (!S_ISREG(node.st_mode) || statfs(path.c_str(), &system) != 0 || system.f_type != FUSE_SUPER_MAGIC ||
      node.st_ino != FUSE_ROOT_ID)
    return Status::Refuse(
        ENODEV, "{} is neither a character device nor a FUSE file system of one file; expected a node", path);
  // A runtime makes no device of a file, and a file that is served shows through a mount.
  (*edits)["mounts"].push_back(Mount(place, kNodeInContainer, "rw"));
  return Status::Ok();
}

Status AddFolders(const std::vector<std::string>& folders, Json* edits) {
  for (const std::string& folder : folders) {
    if (!IsFolder(folder))
      return Status::Refuse(ENOTDIR, "--libraries {}: there is no such folder, or it cannot be reached",
                            folder);
    DXG_ASSIGN(const std::string place, Canonical(folder));
    (*edits)["mounts"].push_back(Mount(place, place, "ro"));
  }
  return Status::Ok();
}

// 0, or an errno.
int WriteAll(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

// Whole or not at all: a container's start may read it at any time.
int Replace(const std::string& path, std::string_view text) {
  std::string unfinished = path + ".XXXXXX";  // no name that a runtime reads
  const UniqueFd file(mkostemp(unfinished.data(), O_CLOEXEC));
  if (!file.valid()) return errno;
  int error = WriteAll(file.get(), text);
  if (error == 0 && (fchmod(file.get(), 0644) != 0 || rename(unfinished.c_str(), path.c_str()) != 0))
    error = errno;
  if (error != 0) unlink(unfinished.c_str());
  return error;
}

// What is there and is no file, such as a pipe, is written to.
Status Write(const std::string& path, std::string_view text) {
  struct stat there;
  int error = 0;
  if (stat(path.c_str(), &there) == 0 && !S_ISREG(there.st_mode)) {
    const UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    error = file.valid() ? WriteAll(file.get(), text) : errno;
  } else {
    error = Replace(path, text);
  }
  if (error == 0) return Status::Ok();
  return Status::Refuse(error, "--output {}: {}", path, std::strerror(error));
}

Status Print(std::string_view text) {
  if (const int error = WriteAll(STDOUT_FILENO, text))
    return Status::Refuse(error, "stdout: {}", std::strerror(error));
  return Status::Ok();
}

}  // namespace

Result<std::string> CdiSpecification(const CdiOptions& options) {
  std::vector<std::string> folders = options.libraries;
  if (folders.empty()) {
    for (const char* folder : kWslFolders) {
      if (IsFolder(folder)) folders.push_back(folder);
    }
  }
  Json edits = Json::object();
  DXG_TRY(AddNode(options.node, &edits));
  DXG_TRY(AddFolders(folders, &edits));
  Json devices = Json::array();
  devices.push_back({{"name", options.name}, {"containerEdits", edits}});
  const Json all = {{"cdiVersion", options.spec_version}, {"kind", options.kind}, {"devices", devices}};
  try {
    return all.dump(2) + "\n";
  } catch (const Json::type_error&) {
    return Status::Refuse(EILSEQ,
                          "a path of the node or of a folder is no UTF-8, which a specification must be");
  }
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
  if (status.ok()) status = output_.empty() ? Print(*text) : Write(output_, *text);
  if (status.ok()) return 0;
  fmt::print(stderr, "cuse-dxg cdi: {}\n", status.why());
  return 1;
}

}  // namespace dxg
