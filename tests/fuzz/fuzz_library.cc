// Random messages of a library in a client (cuse-dxg run --attach=preload) to the device process. Nothing may
// crash or hang, and the next client is served.
//
// Input: messages, each with 2 bytes in front: its length, and whether a descriptor comes along (bit 0), or
// whether it is written to the page of a ring instead (bit 1), at 64 times the other bits, and the bell rung.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>

#include "base/shared_memory.h"
#include "base/unix_socket.h"
#include "cuse-dxg/attach/library/session.h"
#include "cuse-dxg/preload/node_ring.h"
#include "tests/attach/scripted_node.h"
#include "tests/fuzz/fuzz_check.h"

namespace {

using dxg::UniqueFd;
using dxg::attach::library::LibrarySession;
using dxg::preload::node::Said;

struct Device {
  Device() : session(*LibrarySession::Create()) {
    spdlog::set_level(spdlog::level::off);
    FUZZ_CHECK(session->Start(node, 2).ok());
  }
  dxg::attach::ScriptedNode node;
  const std::unique_ptr<LibrarySession> session;
};

UniqueFd Connect(const std::string& place) {
  UniqueFd made(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  place.copy(address.sun_path + 1, dxg::preload::node::kNameBytes);
  FUZZ_CHECK(connect(made.get(), dxg::AnyAddress(address),
                     static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 +
                                            dxg::preload::node::kNameBytes)) == 0);
  Said hello = {};
  hello.code = dxg::preload::node::kVersion;
  hello.tid = gettid();
  place.copy(hello.secret, sizeof(hello.secret), dxg::preload::node::kNameBytes + 1);
  FUZZ_CHECK(dxg::SendDatagram(made.get(), std::as_bytes(std::span(&hello, 1))).ok());
  return made;
}

// A ring of that connection, which has said nothing but its greeting.
struct Ring {
  explicit Ring(int socket) {
    Said ask = {};
    ask.kind = dxg::preload::node::say::kRing;
    FUZZ_CHECK(dxg::SendDatagram(socket, std::as_bytes(std::span(&ask, 1))).ok());
    std::byte answer[sizeof(dxg::preload::node::Told)];
    dxg::ReceivedPiece got = dxg::ReceivePiece(socket, answer, 2, true);
    if (got.files.size() != 2) return;
    memory = dxg::MapSharedMemory(got.files[0].get(), 0, dxg::preload::node::ring::kBytes);
    bell = std::move(got.files[1]);
  }
  void Scribble(size_t at, std::span<const uint8_t> bytes) const {
    if (memory == nullptr) return;
    std::memcpy(memory.get() + at, bytes.data(),
                std::min(bytes.size(), dxg::preload::node::ring::kBytes - at));
    const uint64_t one = 1;
    FUZZ_CHECK(write(bell.get(), &one, sizeof(one)) == sizeof(one));
  }
  std::shared_ptr<std::byte> memory;
  UniqueFd bell;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Device device;
  const UniqueFd client = Connect(device.session->place());
  const Ring ring(client.get());
  const UniqueFd file(open("/dev/null", O_RDWR | O_CLOEXEC));
  for (size_t at = 0; at + 2 < size;) {
    const size_t bytes = std::min<size_t>(std::max<size_t>(data[at], 1), size - at - 2);
    if ((data[at + 1] & 2) != 0) {
      ring.Scribble(size_t{data[at + 1]} / 4 * 64, std::span(data + at + 2, bytes));
      at += 2 + bytes;
      continue;
    }
    iovec piece = dxg::PieceOf(std::as_bytes(std::span(data + at + 2, bytes)));
    const int descriptor = file.get();
    if (dxg::SendPieces(client.get(), std::span(&piece, 1), std::span(&descriptor, data[at + 1] & 1), false) <
        0)
      break;
    at += 2 + bytes;
  }
  const UniqueFd next = Connect(device.session->place());
  Said ask = {};
  ask.kind = dxg::preload::node::say::kOpen;
  ask.number = 1;
  FUZZ_CHECK(dxg::SendDatagram(next.get(), std::as_bytes(std::span(&ask, 1))).ok());
  std::byte answer[sizeof(dxg::preload::node::Told)];
  FUZZ_CHECK(dxg::ReceiveDatagram(next.get(), answer).ok());
  return 0;
}
