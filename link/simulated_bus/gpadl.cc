#include "link/simulated_bus/gpadl.h"

#include <algorithm>
#include <cstring>

#include "base/page.h"

namespace dxg::vmbus::link {

bool TellGpadl(Socket& socket, uint32_t relid, uint32_t gpadl, uint64_t address, uint64_t bytes) {
  const uint64_t pages = bytes / kPageBytes;
  std::vector<uint64_t> frames(pages);
  for (uint64_t i = 0; i < pages; ++i) frames[i] = address / kPageBytes + i;
  const auto all = std::as_bytes(std::span(frames));
  const auto part = [&](uint64_t first, uint64_t most) {
    return all.subspan(first * sizeof(uint64_t), std::min(pages - first, most) * sizeof(uint64_t));
  };
  GpadlHeader header;
  header.relid = relid;
  header.gpadl = gpadl;
  header.range_bytes = static_cast<uint16_t>(8 + 8 * pages);
  header.byte_count = static_cast<uint32_t>(bytes);
  if (!socket.Tell(header, {}, part(0, kFramesInHeader))) return false;
  GpadlBody body;
  body.gpadl = gpadl;
  for (uint64_t first = kFramesInHeader; first < pages; first += kFramesInBody) {
    ++body.sequence;
    if (!socket.Tell(body, {}, part(first, kFramesInBody))) return false;
  }
  return true;
}

std::optional<GpadlBegin> ReadGpadlBegin(std::span<const std::byte> payload) {
  std::span<const std::byte> frames;
  const auto header = Read<GpadlHeader>(payload, &frames);
  if (!header || header->range_count != 1 || header->byte_offset != 0 || header->byte_count == 0 ||
      header->byte_count % kPageBytes != 0)
    return std::nullopt;
  return GpadlBegin{header->relid, header->gpadl, header->byte_count / kPageBytes, frames};
}

bool GpadlFrames::Add(std::span<const std::byte> bytes) {
  const size_t count = bytes.size() / sizeof(uint64_t), had = frames_.size();
  if (count > pages_ - had) return false;
  frames_.resize(had + count);
  if (count != 0) std::memcpy(frames_.data() + had, bytes.data(), count * sizeof(uint64_t));
  return true;
}

}  // namespace dxg::vmbus::link
