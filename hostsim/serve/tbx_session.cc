#include "hostsim/serve/tbx_session.h"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/unix_socket.h"

namespace dxg::hostsim::serve {
namespace {

constexpr size_t kPieceBytes = 64 * 1024;

// Of a body that has as many bytes.
template <class Body>
Body As(std::span<const std::byte> bytes) {
  Body body;
  std::memcpy(&body, bytes.data(), sizeof body);
  return body;
}

Status WrongSize(const tbx::Header& header, uint32_t expected) {
  return Status::Refuse(EPROTO, "message {} of type {} has a body of {} bytes: expected {}", header.number,
                        header.type, header.bytes, expected);
}

}  // namespace

TbxSession::TbxSession(UniqueFd connection, std::string name, const TbxOptions& options)
    : connection_(std::move(connection)),
      name_(std::move(name)),
      device_(name_, options.gpu, options.room, [this] { return Gone(); }) {}

void TbxSession::Run() {
  spdlog::info("{}: connected", name_);
  const Status status = Serve();
  reason_ = status.why();
  if (status.value() == -ECONNRESET || ended_) {
    spdlog::info("{}: gone after {} submissions, {} kernels, {} instructions", name_, device_.submissions(),
                 device_.kernels(), device_.instructions());
  } else {
    spdlog::error("{}: let go: {}", name_, status.why());
  }
  shutdown(connection_.get(), SHUT_RDWR);
}

void TbxSession::End() {
  ended_ = true;
  device_.Cancel();
  shutdown(connection_.get(), SHUT_RDWR);
}

bool TbxSession::Gone() const {
  pollfd event = {connection_.get(), POLLRDHUP, 0};
  return ended_ || (poll(&event, 1, 0) == 1 && (event.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0);
}

Status TbxSession::Serve() {
  while (true) {
    std::array<std::byte, sizeof(tbx::Header)> bytes;
    DXG_TRY(Receive(bytes));
    DXG_TRY(Handle(As<tbx::Header>(bytes)));
  }
}

Status TbxSession::Handle(const tbx::Header& header) {
  std::array<std::byte, tbx::kBodyBytesMax> room;
  if (header.bytes > room.size()) return WrongSize(header, tbx::kBodyBytesMax);
  const std::span<std::byte> body(room.data(), header.bytes);
  DXG_TRY(Receive(body));
  switch (header.type) {
    case tbx::kControl:
      return Status::Ok();
    case tbx::kRegister:
      return HandleRegister(header, body);
    case tbx::kGlobalEntry:
      return HandleGlobalEntry(header, body);
    case tbx::kWriteMemory:
    case tbx::kReadMemory: {
      if (body.size() != sizeof(tbx::MemoryBody)) return WrongSize(header, sizeof(tbx::MemoryBody));
      const auto memory = As<tbx::MemoryBody>(body);
      if (memory.bytes > tbx::kMemoryBytesMax || tbx::AddressOf(memory) + memory.bytes > tbx::kPhysicalEnd)
        return Status::Refuse(
            EPROTO, "message {}: {} bytes of memory at {:#x}: expected at most {}, below {:#x}",
            header.number, memory.bytes, tbx::AddressOf(memory), tbx::kMemoryBytesMax, tbx::kPhysicalEnd);
      return header.type == tbx::kWriteMemory ? HandleWrite(memory) : HandleRead(header, memory);
    }
    default:
      return Status::Refuse(EPROTO,
                            "message {} is of type {}: expected 0 (register), 2 (global table), 4 (write "
                            "memory), 5 (read memory) or 11 (control)",
                            header.number, header.type);
  }
}

Status TbxSession::HandleRegister(const tbx::Header& header, std::span<const std::byte> body) {
  if (body.size() != tbx::kRegisterBytes && body.size() != tbx::kLongRegisterBytes)
    return WrongSize(header, tbx::kRegisterBytes);
  const auto access = As<tbx::RegisterBody>(body);
  if (BytesOf(access) != sizeof(uint32_t) || SpaceOf(access) != 0)
    return Status::Refuse(EPROTO, "register {:#x}: {} bytes of space {}: expected 4 of space 0 (MMIO)",
                          access.offset, BytesOf(access), SpaceOf(access));
  if ((access.flags & tbx::RegisterBody::kWrite) != 0)
    return device_.WriteRegister(access.offset, access.value);
  const uint32_t value = device_.ReadRegister(access.offset);
  const uint32_t answer[] = {tbx::kRegisterValue, header.number, sizeof value, value};
  return Send(std::as_bytes(std::span(answer)));
}

Status TbxSession::HandleGlobalEntry(const tbx::Header& header, std::span<const std::byte> body) {
  if (body.size() != sizeof(tbx::GlobalEntryBody)) return WrongSize(header, sizeof(tbx::GlobalEntryBody));
  const auto access = As<tbx::GlobalEntryBody>(body);
  if ((access.flags & tbx::GlobalEntryBody::kWrite) == 0) {
    const uint64_t entry = device_.memory().Global(access.index);
    const uint32_t answer[] = {tbx::kGlobalEntryValue, header.number, sizeof entry,
                               static_cast<uint32_t>(entry), static_cast<uint32_t>(entry >> 32)};
    return Send(std::as_bytes(std::span(answer)));
  }
  if (!device_.memory().SetGlobal(access.index, access.low | uint64_t{access.high} << 32))
    return Status::Refuse(EPROTO, "entry {} of the global table: {} others are set, which is the most",
                          access.index, TbxMemory::kGlobalEntriesMax);
  return Status::Ok();
}

Status TbxSession::HandleWrite(const tbx::MemoryBody& body) {
  if ((body.flags & tbx::MemoryBody::kMasked) != 0)
    return Status::Refuse(EPROTO, "a write at {:#x} has a mask, which is not taken here",
                          tbx::AddressOf(body));
  uint64_t address = tbx::AddressOf(body);
  for (uint32_t left = body.bytes; left != 0;) {
    if (first_ == end_) DXG_TRY(Fill());
    const size_t part = std::min<size_t>(left, end_ - first_);
    // Safety: bytes.
    if (!device_.memory().Write(address, {reinterpret_cast<const uint8_t*>(&received_[first_]), part}))
      return Status::Refuse(ENOMEM, "there is no room for memory at {:#x}: see memory-mib of --serve=tbx",
                            address);
    first_ += part;
    address += part;
    left -= static_cast<uint32_t>(part);
  }
  return device_.MemoryChanged();
}

Status TbxSession::HandleRead(const tbx::Header& header, const tbx::MemoryBody& body) {
  constexpr size_t kHead = sizeof(tbx::Header) + sizeof(tbx::MemoryBody);
  std::vector<std::byte> piece(kHead + std::min<size_t>(body.bytes, kPieceBytes));
  const tbx::Header answer = {tbx::kMemory, header.number, sizeof(tbx::MemoryBody)};
  const tbx::MemoryBody what = {body.flags & 0xFF00'0000, body.address, body.bytes};
  std::memcpy(piece.data(), &answer, sizeof answer);
  std::memcpy(&piece[sizeof answer], &what, sizeof what);
  size_t begin = kHead;
  uint64_t address = tbx::AddressOf(body);
  for (uint32_t left = body.bytes;;) {
    const size_t part = std::min<size_t>(left, kPieceBytes);
    // Safety: bytes.
    device_.memory().Read(address, {reinterpret_cast<uint8_t*>(piece.data()) + begin, part});
    DXG_TRY(Send(std::span(piece).first(begin + part)));
    left -= static_cast<uint32_t>(part);
    if (left == 0) return Status::Ok();
    address += part;
    begin = 0;
  }
}

// -- Bytes.

// More into received_, which is empty.
Status TbxSession::Fill() {
  const ReceivedPiece piece = ReceivePiece(connection_.get(), received_, 0, true);
  if (piece.bytes <= 0) return Status::Refuse(ECONNRESET, "the program has gone");
  first_ = 0;
  end_ = static_cast<size_t>(piece.bytes);
  return Status::Ok();
}

Status TbxSession::Receive(std::span<std::byte> to) {
  while (!to.empty()) {
    if (first_ == end_) DXG_TRY(Fill());
    const size_t part = std::min(to.size(), end_ - first_);
    std::memcpy(to.data(), &received_[first_], part);
    first_ += part;
    to = to.subspan(part);
  }
  return Status::Ok();
}

Status TbxSession::Send(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    iovec piece = PieceOf(bytes);
    const ssize_t sent = SendPieces(connection_.get(), std::span(&piece, 1), {}, true);
    if (sent <= 0) return Status::Refuse(ECONNRESET, "the program has gone");
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
  return Status::Ok();
}

}  // namespace dxg::hostsim::serve
