#include "cuse-dxg/meeting.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "cuse-dxg/attach/fuse_file.h"
#include "cuse-dxg/attach/library/program.h"
#include "cuse-dxg/attach/library/session.h"
#include "cuse-dxg/attach/session.h"
#include "cuse-dxg/client/process_vm.h"
#include "cuse-dxg/control/address.h"

namespace dxg {
namespace {

using attach::Launch;

class FuseMeeting final : public Meeting {
 public:
  explicit FuseMeeting(UniqueFd connection) : connection_(std::move(connection)) {}
  void Tell(NodeOptions* device) override { device->node = "run"; }
  Status Start(attach::Node& node, int workers) override {
    DXG_ASSIGN(session_, attach::CreateFuseFileSession());
    DXG_TRY(session_->Attach(std::move(connection_)));
    return session_->Start(node, workers);
  }
  void Stop() override { session_->Stop(); }

 private:
  UniqueFd connection_;
  std::unique_ptr<attach::Session> session_;
};

class LibraryMeeting final : public Meeting {
 public:
  explicit LibraryMeeting(std::unique_ptr<attach::library::LibrarySession> session)
      : session_(std::move(session)) {}
  void Tell(NodeOptions* device) override {
    device->node = "run, preload";
    device->make_access = [session = session_.get()] { return session->MakeAccess(); };
    device->make_delivery = [session = session_.get()] { return session->MakeDelivery(); };
  }
  Status Start(attach::Node& node, int workers) override { return session_->Start(node, workers); }
  void Stop() override { session_->Stop(); }

 private:
  const std::unique_ptr<attach::library::LibrarySession> session_;
};

Result<Launched> LaunchWithFuse(const Options& options, const Launch::Extras& extras) {
  DXG_ASSIGN(Launch launch, Launch::Fork(options.command, extras));
  DXG_ASSIGN(UniqueFd connection, launch.Connection());
  return Launched{std::move(launch), std::make_unique<FuseMeeting>(std::move(connection))};
}

// There is no private /dev for it. Whoever connects is asked who he is (control/server.h), so that the
// address is no secret.
void PlaceAbstractControl(std::string* path) {
  // Not the name of the device's own address, which everybody can read: this one could be taken before.
  uint64_t name[2];
  DXG_CHECK(getrandom(name, sizeof(name), 0) == sizeof(name));
  *path = fmt::format("@dxg-control-{:016x}{:016x}", name[0], name[1]);
  setenv(control::kPathVariable, path->c_str(), 1);
}

Result<Launched> LaunchWithLibrary(Options* options, Launch::Extras extras) {
  DXG_ASSIGN(const attach::library::Program program,
             attach::library::LookAtProgram(options->command.front()));
  if (!extras.wsl_files.empty() && extras.needs_wsl_files)
    return Status::Refuse(
        ENOTSUP,
        "--wsl-libs: without mounts the program cannot be shown a {}; leave the option out, or use "
        "--attach=fuse",
        attach::kWslDirectory);
  if (!extras.wsl_files.empty())
    spdlog::warn("the program has no {}, because nothing is mounted with --attach=preload",
                 attach::kWslDirectory);
  DXG_ASSIGN(const std::string library, FindLibrary("--attach=preload", "libdxg-node.so"));
  DXG_ASSIGN(auto session, attach::library::LibrarySession::Create());
  if (extras.control) PlaceAbstractControl(&options->device.control);
  extras = {};
  extras.node_library = program.first.empty() ? library : program.first + ":" + library;
  extras.node_place = session->place();
  DXG_ASSIGN(Launch launch, Launch::Fork(options->command, extras));
  DXG_TRY(launch.Connection().status());
  return Launched{std::move(launch), std::make_unique<LibraryMeeting>(std::move(session))};
}

}  // namespace

Result<std::string> FindLibrary(const char* option, const std::string& name) {
  const std::filesystem::path here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  for (const auto& place : {here / name, here.parent_path() / "lib/cuse-dxg" / name}) {
    if (std::filesystem::exists(place)) return place.string();
  }
  return Status::Refuse(ENOENT, "{}: {} is neither in {} nor in ../lib/cuse-dxg of it", option, name,
                        here.string());
}

Result<Launched> LaunchProgram(Options* options, Launch::Extras extras) {
  if (options->run_attach == "preload" && options->preload)
    return Status::Refuse(
        EINVAL,
        "--preload: with --attach=preload nobody traces the program, so no agent is needed; "
        "leave one of the two out");
  if (options->run_attach == "preload") return LaunchWithLibrary(options, std::move(extras));
  const bool is_asked_for = options->run_attach == "fuse" || options->preload || options->wsl_libs == "on";
  if (is_asked_for) return LaunchWithFuse(*options, extras);
  Status why;
  {
    Result<Launched> launched = LaunchWithFuse(*options, extras);
    // A node needs to reach its clients' memory, a library does not.
    why = launched.ok() ? client::CheckProcessVm() : launched.status();
    if (why.ok()) return launched;
  }
  Result<Launched> instead = LaunchWithLibrary(options, std::move(extras));
  if (!instead.ok())
    return Status::Refuse(-why.value(), "{}\nNor does --attach=preload: {}", why.why(),
                          instead.status().why());
  spdlog::warn("attach: preload, because no node can be made here: {}", why.why());
  return instead;
}

}  // namespace dxg
