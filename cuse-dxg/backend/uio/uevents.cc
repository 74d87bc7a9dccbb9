#include "cuse-dxg/backend/uio/uevents.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace dxg::vmbus {
namespace {

constexpr size_t kEventBytesMax = 8192;  // the kernel's are at most 2 KiB
constexpr uint32_t kFromKernel = 1;      // the multicast group

}  // namespace

Result<UniqueFd> ListenToUevents() {
  UniqueFd socket(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kFromKernel;
  // Safety: the interface's way to pass one of its kinds of address.
  if (!socket.valid() ||
      bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return Status::Refuse(errno, "cannot listen to the kernel's device events: {}", std::strerror(errno));
  return socket;
}

// "add@/devices/...", then "KEY=VALUE" each, all with a 0 behind them.
bool ConcernsUs(std::string_view event) {
  constexpr std::string_view kKey = "SUBSYSTEM=";
  while (!event.empty()) {
    const std::string_view field = event.substr(0, event.find('\0'));
    if (field.starts_with(kKey)) {
      const std::string_view subsystem = field.substr(kKey.size());
      return subsystem == "vmbus" || subsystem == "uio" || subsystem == "pci";
    }
    event.remove_prefix(std::min(field.size() + 1, event.size()));
  }
  return false;
}

bool TakeUevents(int socket) {
  bool ours = false;
  std::array<char, kEventBytesMax> event;
  for (;;) {
    const ssize_t got = recv(socket, event.data(), event.size(), 0);
    if (got >= 0) {
      ours |= ConcernsUs({event.data(), static_cast<size_t>(got)});
    } else if (errno == ENOBUFS) {
      ours = true;
    } else if (errno != EINTR) {
      return ours;
    }
  }
}

}  // namespace dxg::vmbus
