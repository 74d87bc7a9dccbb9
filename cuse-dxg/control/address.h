#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <string>

#include "cuse-dxg/status.h"

namespace dxg::control {

// Where the program of `cuse-dxg run` finds its daemon's socket, and where else `cuse-dxg ctl` looks.
inline constexpr char kPathVariable[] = "DXG_CONTROL";
inline constexpr char kPathDefault[] = "/run/cuse-dxg.sock";
inline constexpr char kPathNone[] = "none";

inline Result<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  if (path.empty() || path.size() >= sizeof(address.sun_path))
    return Status::Refuse(ENAMETOOLONG, "--control: '{}' is no path of a socket; give 1 to {} bytes", path,
                          sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

}  // namespace dxg::control
