#include "tests/golden/fake_client.h"

#include <algorithm>

namespace dxg::golden {
namespace {

bool Inside(uint64_t address, size_t size, uint64_t begin, uint64_t end) {
  return address >= begin && address <= end && size <= end - address;
}

// Nobody works with the memory in a replay; only the frames' places in the packets are filled.
class Pinned final : public client::AddressSpace {
 public:
  bool Read(uint64_t, std::span<std::byte>) override { return false; }
  bool Write(uint64_t, std::span<const std::byte>) override { return false; }
  bool Frames(uint64_t, std::span<uint64_t> frames) override {
    std::fill(frames.begin(), frames.end(), 0);
    return true;
  }
};

}  // namespace

void FakeClient::Put(pid_t tgid, uint64_t address, std::span<const std::byte> bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const uint64_t at = address + done;
    Bytes& page = pages_[{tgid, at / kPage}];
    page.resize(kPage);
    const size_t run = std::min<size_t>(kPage - at % kPage, bytes.size() - done);
    std::copy_n(bytes.begin() + done, run, page.begin() + at % kPage);
    done += run;
  }
}

Bytes FakeClient::Get(pid_t tgid, uint64_t address, size_t size) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) {
    const auto page = pages_.find({tgid, (address + i) / kPage});
    if (page != pages_.end()) bytes[i] = page->second[(address + i) % kPage];
  }
  return bytes;
}

bool FakeClient::Read(pid_t tid, uint64_t address, std::span<std::byte> to) {
  if (!Inside(address, to.size(), kArena, kArenaEnd) && !Inside(address, to.size(), kReadOnly, kReadOnlyEnd))
    return false;
  const Bytes bytes = Get(tgid_.at(tid), address, to.size());
  std::copy(bytes.begin(), bytes.end(), to.begin());
  return true;
}

bool FakeClient::Write(pid_t tid, uint64_t address, std::span<const std::byte> from) {
  if (!Inside(address, from.size(), kArena, kArenaEnd)) return false;
  Put(tgid_.at(tid), address, from);
  return true;
}

bool FakeClient::WritePieces(pid_t tid, std::span<const client::WritePiece> pieces) {
  return std::all_of(pieces.begin(), pieces.end(),
                     [&](const auto& piece) { return Write(tid, piece.address, piece.from); });
}

std::unique_ptr<client::AddressSpace> FakeClient::Pin(pid_t, uint64_t address, uint64_t size, bool writable) {
  if (size == 0 || !Inside(address, size, kSysmem, kSysmemEnd)) return nullptr;
  if (writable && Inside(address, size, kSysmemReadOnly, kSysmemReadOnlyEnd)) return nullptr;
  return std::make_unique<Pinned>();
}

std::optional<client::Identity> FakeClient::Identify(pid_t tid) {
  client::Identity identity;
  identity.tgid = tgid_.at(tid);
  identity.own_pid = tid;
  identity.pid_namespace = 1;
  identity.name = task_name_;
  return identity;
}

}  // namespace dxg::golden
