#pragma once

#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/unix_socket.h"
#include "cuse-dxg/preload/node_protocol.h"

// A library of --attach=preload, as the test plays it.

namespace dxg::attach::library {

using preload::node::Said;
using preload::node::Told;
namespace say = preload::node::say;
namespace tell = preload::node::tell;

inline constexpr uint32_t kCode = _IOWR('t', 1, uint64_t);

inline Said IoctlOf(uint64_t file, uint32_t number) {
  Said said = {};
  said.kind = say::kIoctl;
  said.number = number;
  said.file = file;
  said.code = kCode;
  said.argument = 0x1000;
  return said;
}

struct Heard {
  Told told = {};
  std::vector<std::byte> extra;
  std::vector<UniqueFd> files;
  bool ended = false;
};

// A thread's connection, as a library has it.
class Connection {
 public:
  explicit Connection(const std::string& place) {
    socket_ = UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
    place.copy(address.sun_path + 1, preload::node::kNameBytes);
    const auto bytes =
        static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + preload::node::kNameBytes);
    EXPECT_EQ(connect(socket_.get(), AnyAddress(address), bytes), 0);
    secret_ = place.substr(preload::node::kNameBytes + 1);
  }

  explicit Connection(UniqueFd socket) : socket_(std::move(socket)) {}

  int socket() const { return socket_.get(); }

  Said Hello() const {
    Said said = {};
    said.kind = say::kHello;
    said.code = preload::node::kVersion;
    said.tid = gettid();
    secret_.copy(said.secret, sizeof(said.secret));
    return said;
  }
  Connection& Greet() {
    Send(Hello());
    return *this;
  }
  bool Send(const Said& said, std::span<const std::byte> extra = {}, std::span<const int> files = {}) {
    iovec pieces[] = {PieceOf(std::as_bytes(std::span(&said, 1))), PieceOf(extra)};
    return SendPieces(socket_.get(), std::span(pieces, extra.empty() ? 1 : 2), files, true) >= 0;
  }
  Heard Hear() {
    std::vector<std::byte> room(sizeof(Told) + (1 << 17));
    ReceivedPiece piece = ReceivePiece(socket_.get(), room, 2, true);
    Heard heard;
    heard.ended = piece.bytes < static_cast<ssize_t>(sizeof(Told));
    if (heard.ended) return heard;
    std::memcpy(&heard.told, room.data(), sizeof(Told));
    heard.extra.assign(room.begin() + sizeof(Told), room.begin() + piece.bytes);
    heard.files = std::move(piece.files);
    return heard;
  }
  bool IsLetGo() { return Hear().ended; }
  // Whether nothing has come, not even the end.
  bool HearsNothing() {
    char first;
    return recv(socket_.get(), &first, sizeof(first), MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
  }

  Heard Open() {
    Said said = {};
    said.kind = say::kOpen;
    said.number = ++calls_;
    Send(said);
    return Hear();
  }
  // Says the call; what comes of it is heard later.
  uint32_t Say(uint64_t file, uint64_t value = 0, std::span<const int> files = {}) {
    const Said said = IoctlOf(file, ++calls_);
    Send(said, std::as_bytes(std::span(&value, 1)), files);
    return calls_;
  }
  void Done(const Told& ask, uint64_t result, int error = 0, std::span<const int> files = {},
            std::span<const std::byte> extra = {}) {
    Said said = {};
    said.kind = say::kDone;
    said.number = ask.number;
    said.argument = result;
    said.error = error;
    Send(said, extra, files);
  }
  void Interrupt(uint32_t number) {
    Said said = {};
    said.kind = say::kInterrupt;
    said.number = number;
    Send(said);
  }
  void Close() { socket_.reset(); }

 private:
  UniqueFd socket_;
  std::string secret_;
  uint32_t calls_ = 0;
};

}  // namespace dxg::attach::library
