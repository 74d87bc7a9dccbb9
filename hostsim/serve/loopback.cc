#include "hostsim/serve/loopback.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

namespace dxg::hostsim::serve {
namespace {

constexpr int kWaitingMax = 128;
constexpr int kLooks = 3;
constexpr uint64_t kTableBytesMax = 16u << 20;

sockaddr_in AddressOf(uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// What proc(5) calls "sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid ...".
std::optional<uid_t> UserOf(const std::string& table, uint16_t from, uint16_t to) {
  const std::string ends =
      fmt::format(" {:08X}:{:04X} {:08X}:{:04X} ", htonl(INADDR_LOOPBACK), from, htonl(INADDR_LOOPBACK), to);
  const size_t found = table.find(ends);
  if (found == std::string::npos) return std::nullopt;
  unsigned state = 0, user = 0;
  if (std::sscanf(&table[found + ends.size()], "%x %*x:%*x %*x:%*x %*x %u", &state, &user) != 2)
    return std::nullopt;
  // Of one that is closed on its side the kernel has forgotten the user, and says 0.
  if (state != TCP_ESTABLISHED) return std::nullopt;
  return user;
}

std::string ReadAll(int file) {
  std::string text;
  while (text.size() < kTableBytesMax) {
    char piece[16 * 1024];
    const ssize_t bytes = pread(file, piece, sizeof piece, static_cast<off_t>(text.size()));
    if (bytes <= 0) break;
    text.append(piece, static_cast<size_t>(bytes));
  }
  return text;
}

}  // namespace

LoopbackListener::LoopbackListener(UniqueFd socket, UniqueFd table, uint16_t port)
    : socket_(std::move(socket)), table_(std::move(table)), port_(port) {}

Result<LoopbackListener> LoopbackListener::At(uint16_t port, const char* option) {
  UniqueFd table(open("/proc/net/tcp", O_RDONLY | O_CLOEXEC));
  if (!table.valid())
    return Status::Refuse(errno, "{}: cannot read /proc/net/tcp, which says whose connections are: {}",
                          option, std::strerror(errno));
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  const int yes = 1;
  sockaddr_in address = AddressOf(port);
  socklen_t bytes = sizeof address;
  // Safety: sin_family says what they are, here and below.
  if (!listener.valid() || setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener.get(), kWaitingMax) != 0 ||
      getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &bytes) != 0)
    return Status::Refuse(errno,
                          "{}: cannot listen at 127.0.0.1 port {}: {}; give another port, or 0 for any",
                          option, port, std::strerror(errno));
  return LoopbackListener(std::move(listener), std::move(table), ntohs(address.sin_port));
}

Result<LoopbackPeer> LoopbackListener::Accept() const {
  sockaddr_in address = {};
  socklen_t bytes = sizeof address;
  LoopbackPeer peer;
  peer.socket.reset(accept4(socket_.get(), reinterpret_cast<sockaddr*>(&address), &bytes, SOCK_CLOEXEC));
  if (!peer.socket.valid()) return Status::Refuse(errno, "nobody has connected: {}", std::strerror(errno));
  peer.port = ntohs(address.sin_port);
  // Lines move while others come and go, so that one may be missed.
  std::optional<uid_t> user;
  for (int looks = 0; !user && looks < kLooks; ++looks)
    user = UserOf(ReadAll(table_.get()), peer.port, port_);
  if (!user) return Status::Refuse(EACCES, "port {}: nobody has that connection any more", peer.port);
  peer.user = *user;
  const int yes = 1;
  setsockopt(peer.socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  return peer;
}

}  // namespace dxg::hostsim::serve
