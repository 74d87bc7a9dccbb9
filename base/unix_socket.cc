#include "base/unix_socket.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace dxg {
namespace {

UniqueFd NewSocket(int type) { return UniqueFd(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)); }

bool IsSocket(const std::string& path) {
  struct stat file;
  return lstat(path.c_str(), &file) == 0 && S_ISSOCK(file.st_mode);
}

// Whether somebody answers at the address; a file without that is what a dead daemon left.
bool IsServed(const sockaddr_un& address, int type) {
  const UniqueFd probe = NewSocket(type);
  return connect(probe.get(), AnyAddress(address), sizeof(address)) == 0 || errno == EAGAIN;
}

Status Bind(const UniqueFd& listener, const std::string& path, const char* option, const Listening& as) {
  DXG_ASSIGN(const sockaddr_un address, UnixAddress(path, option));
  const auto bind_it = [&] { return bind(listener.get(), AnyAddress(address), sizeof(address)) == 0; };
  const auto refused = [&] {
    return Status::Refuse(errno, "{}: cannot make {}: {}", option, path, std::strerror(errno));
  };
  if (bind_it()) return Status::Ok();
  if (errno != EADDRINUSE) return refused();
  if (!IsSocket(path))
    return Status::Refuse(EEXIST, "{}: {} is there and no socket; give another path", option, path);
  if (IsServed(address, as.type))
    return Status::Refuse(EADDRINUSE, "{}: another {} listens at {}; give another path", option, as.who,
                          path);
  unlink(path.c_str());
  return bind_it() ? Status::Ok() : refused();
}

}  // namespace

Result<sockaddr_un> UnixAddress(const std::string& path, const char* option) {
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  if (path.empty() || path.size() >= sizeof(address.sun_path))
    return Status::Refuse(ENAMETOOLONG, "{}: '{}' is no path of a socket; give 1 to {} bytes", option, path,
                          sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Result<UniqueFd> ListenUnix(const std::string& path, const char* option, const Listening& as) {
  UniqueFd listener = NewSocket(as.type);
  if (!listener.valid()) return Status::Refuse(errno, "{}: no socket: {}", option, std::strerror(errno));
  DXG_TRY(Bind(listener, path, option, as));
  // Nobody can connect before listen, and by then it has its mode.
  if (chmod(path.c_str(), 0600) == 0 && listen(listener.get(), as.waiting_max) == 0) return listener;
  const int error = errno;
  unlink(path.c_str());
  return Status::Refuse(error, "{}: cannot listen at {}: {}", option, path, std::strerror(error));
}

}  // namespace dxg
