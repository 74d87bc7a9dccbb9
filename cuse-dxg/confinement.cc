#include "cuse-dxg/confinement.h"

#include <linux/capability.h>
#include <linux/nsfs.h>
#include <linux/udmabuf.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "base/confinement/capabilities.h"
#include "cuse-dxg/client/identify_code.h"
#include "cuse-dxg/client/injector_process.h"
#include "cuse-dxg/client/injector_protocol.h"

namespace dxg {
namespace {

using confinement::Capabilities;
using confinement::Only;

// PROCMAP_QUERY of Linux 6.11: asks /proc/PID/maps for one mapping.
constexpr uint32_t kProcmapQuery = _IOWR('f', 17, std::byte[104]);

enum Service : uint32_t { kStartInjector, kMakeNode, kRemoveNode };

int32_t ValueOf(const Status& status) {
  if (!status.ok()) spdlog::warn("{}", status.why());
  return status.value();
}

// To unmount, to make and remove a node in a directory of somebody else's, and to give it a group.
Capabilities OfKeeper() {
  return client::InjectorCapabilities() | Only(CAP_SYS_ADMIN) | Only(CAP_DAC_OVERRIDE) | Only(CAP_MKNOD) |
         Only(CAP_CHOWN);
}

// CAP_SYS_PTRACE reads and writes the memory of other users' clients, CAP_DAC_OVERRIDE opens the files of
// /proc that belong to them, and CAP_CHECKPOINT_RESTORE follows the links there to what they have mapped. A
// real bus has page frames and a window in /dev/mem. A program that we started, and pass signals on to, may
// have become another user's.
Capabilities OfDaemon(bool real_vmbus, bool runs_program, bool has_library) {
  Capabilities needed = Only(CAP_SYS_PTRACE) | Only(CAP_DAC_OVERRIDE) | Only(CAP_CHECKPOINT_RESTORE);
  if (real_vmbus) needed |= Only(CAP_SYS_ADMIN) | Only(CAP_SYS_RAWIO);
  if (runs_program) needed |= Only(CAP_KILL);
  // Without the right to look into others, a process may look into those that have no more rights than it:
  // into the program, as long as we have its own. In a container it may be so, and no injector is there
  // instead.
  const bool may_look = (confinement::OwnCapabilities() & Only(CAP_SYS_PTRACE)) != 0;
  if (has_library && !may_look) needed |= confinement::OwnCapabilities();
  return needed;
}

// A user's keeper may run fusermount3, which is set-user-ID.
Status SettleKeeper(bool unmounts) {
  DXG_TRY(confinement::KeepCapabilities(OfKeeper(), client::InjectorCapabilities()));
  return unmounts && geteuid() != 0 ? Status::Ok() : confinement::ForbidNewPrivileges();
}

std::vector<confinement::Keeper::Service> ServicesOf(attach::Attachment* attachment,
                                                     const std::vector<std::string>& injector) {
  std::vector<confinement::Keeper::Service> services(1);
  services[kStartInjector] = [injector](const std::vector<UniqueFd>& files) -> int32_t {
    if (files.size() != 1) return -EINVAL;
    return confinement::ExecuteForAsker(injector, files[0], client::injector::kControlDescriptor);
  };
  if (attachment == nullptr) return services;
  services.push_back([attachment](const std::vector<UniqueFd>&) { return ValueOf(attachment->MakeNode()); });
  services.push_back(
      [attachment](const std::vector<UniqueFd>&) { return ValueOf(attachment->RemoveNode()); });
  return services;
}

Status AskKeeper(confinement::Keeper* keeper, Service service, const char* what) {
  const int32_t result = keeper->Ask(service);
  if (result >= 0) return Status::Ok();
  if (result == -EPIPE || result == -ECONNRESET)
    return Status::Refuse(-result, "{} did not work: the process cuse-dxg-keeper, which does it, has ended",
                          what);
  return Status::Refuse(-result, "{} did not work: {} (the line above says why)", what,
                        std::strerror(-result));
}

}  // namespace

Status Confinement::GiveUpRights(attach::Attachment* attachment, NodeOptions* device) {
  DXG_TRY(StartShadow(device));
  real_vmbus_ = device->backend == "vmbus";
  if (forbidden_ == confinement::Forbidden::kAllow) return Status::Ok();
  DXG_ASSIGN(keeper_, confinement::Keeper::Start([attachment] { return SettleKeeper(attachment != nullptr); },
                                                 ServicesOf(attachment, device->injector.command)));
  confinement::Keeper* const keeper = keeper_.get();
  device->injector.start = [keeper](const UniqueFd& control) {
    const int file = control.get();
    return keeper->Ask(kStartInjector, std::span(&file, 1));
  };
  if (attachment != nullptr)
    attachment->LeaveToOthers([keeper] { return AskKeeper(keeper, kMakeNode, "to make the node"); },
                              [keeper] { return AskKeeper(keeper, kRemoveNode, "to remove the node"); });
  DXG_TRY(confinement::KeepCapabilities(
      OfDaemon(real_vmbus_, attachment == nullptr, device->make_access != nullptr)));
  return confinement::ForbidNewPrivileges();
}

void Confinement::CloseDoors(pid_t program) {
  if (forbidden_ == confinement::Forbidden::kAllow)
    return spdlog::info("not confined (--no-sandbox): this process keeps all its rights");
  confinement::SystemCalls calls;
  calls.other_processes = true;
  calls.real_vmbus = real_vmbus_;
  calls.signalled = program;
  calls.ioctls = {UDMABUF_CREATE, kProcmapQuery, NS_GET_PARENT, NS_GET_OWNER_UID};
  const std::string rights = confinement::NamesOf(confinement::OwnCapabilities());
  if (const Status closed = confinement::AllowOnly(calls, forbidden_); !closed.ok()) {
    // A kernel or a program that was built without filters is served as it is.
    const bool expected =
        closed.value() == -ENOSYS || closed.value() == -EINVAL || closed.value() == -ENOTSUP;
    return spdlog::log(expected ? spdlog::level::info : spdlog::level::warn,
                       "confined without a filter of system calls ({}); capabilities: {}", closed.why(),
                       rights);
  }
  spdlog::info("confined: system calls outside the list {}; capabilities: {}",
               forbidden_ == confinement::Forbidden::kLog ? "are logged by the kernel" : "end this process",
               rights);
}

}  // namespace dxg
