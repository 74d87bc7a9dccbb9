#include "cuse-dxg/attach/library/memory.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

namespace dxg::attach::library {
namespace {

// What one thread waits for and another one may bring.
struct Copied {
  std::atomic<bool> done = false;
  Result<std::vector<std::byte>> bytes = Status();
};

}  // namespace

bool LibraryMemory::Read(pid_t tid, uint64_t address, std::span<std::byte> to) {
  if (to.empty() || (direct_ && session_.MayReach(tid) && processes_.Read(tid, address, to))) return true;
  return Carry(tid, address, to, {});
}

bool LibraryMemory::Write(pid_t tid, uint64_t address, std::span<const std::byte> from) {
  if (from.empty() || (direct_ && session_.MayReach(tid) && processes_.Write(tid, address, from)))
    return true;
  return Carry(tid, address, {}, from);
}

bool LibraryMemory::ReadPieces(pid_t tid, std::span<const client::ReadPiece> pieces) {
  if (direct_ && session_.MayReach(tid) && processes_.ReadPieces(tid, pieces)) return true;
  return std::all_of(pieces.begin(), pieces.end(),
                     [&](const client::ReadPiece& piece) { return Read(tid, piece.address, piece.to); });
}

bool LibraryMemory::WritePieces(pid_t tid, std::span<const client::WritePiece> pieces) {
  if (direct_ && session_.MayReach(tid) && processes_.WritePieces(tid, pieces)) return true;
  return std::all_of(pieces.begin(), pieces.end(),
                     [&](const client::WritePiece& piece) { return Write(tid, piece.address, piece.from); });
}

// Who has executed a program with more rights meanwhile is found out afterwards: what was opened is the
// address space of before, or that of the program, which whoever comes after it does not have.
std::unique_ptr<client::AddressSpace> LibraryMemory::Pin(pid_t tid, uint64_t address, uint64_t size,
                                                         bool writable) {
  auto space = processes_.Pin(tid, address, size, writable);
  return session_.MayReach(tid) || session_.HasItsOwnRights(tid) ? std::move(space) : nullptr;
}

std::unique_ptr<client::AddressMap> LibraryMemory::MapOf(pid_t tid) {
  auto map = processes_.MapOf(tid);
  return session_.MayReach(tid) || session_.HasItsOwnRights(tid) ? std::move(map) : nullptr;
}

// The rights that it had when it connected, and those that it has.
Result<UniqueFd> LibraryMemory::OpenFor(pid_t tid, const std::string& path) {
  const auto credentials = session_.CredentialsOf(tid);
  if (!credentials) return Status::Refuse(EACCES, "thread {} has no call under way", tid);
  DXG_TRY(client::OpenFor(*credentials, path).status());
  return processes_.OpenFor(tid, path);
}

bool LibraryMemory::Carry(pid_t tid, uint64_t address, std::span<std::byte> to,
                          std::span<const std::byte> from) {
  const auto channels = session_.CallersOf(tid);
  const auto caller = std::find_if(channels.rbegin(), channels.rend(),
                                   [](const auto& each) { return each->current() != nullptr; });
  if (caller == channels.rend()) return false;
  const size_t size = to.size() + from.size();
  for (size_t at = 0; at < size;) {
    const size_t bytes = std::min<size_t>(size - at, preload::node::kPieceBytesMax);
    auto copied = std::make_shared<Copied>();
    Errand errand;
    errand.address = address + at;
    errand.bytes = bytes;
    if (!from.empty()) errand.stored = from.subspan(at, bytes);
    errand.copied = [copied](Result<std::vector<std::byte>> came) {
      copied->bytes = std::move(came);
      copied->done.store(true, std::memory_order_release);
    };
    (*caller)->Ask(std::move(errand));
    while (!copied->done.load(std::memory_order_acquire)) session_.Pump(*caller);
    if (!copied->bytes.ok()) return false;
    if (!to.empty()) std::memcpy(to.data() + at, (*copied->bytes).data(), bytes);
    at += bytes;
  }
  return true;
}

}  // namespace dxg::attach::library
