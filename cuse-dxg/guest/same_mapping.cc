#include "cuse-dxg/guest/same_mapping.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace dxg::guest {
namespace {

// A range that shows one file, or none.
struct Piece {
  uint64_t begin, end;
  bool shared;
  client::FileId file;
  uint64_t offset;  // in it, of `begin`
};

bool IsSame(const Piece& piece, const client::MappedRange& range, uint64_t address) {
  if (piece.file.inode == 0 && range.file.inode == 0) return !range.shared;
  return piece.shared == range.shared && piece.file == range.file &&
         range.offset + (address - range.begin) == piece.offset + (address - piece.begin);
}

std::vector<Piece> PiecesOf(client::AddressMap& map, uint64_t address, uint64_t size) {
  std::vector<Piece> pieces;
  for (uint64_t at = address; at < address + size;) {
    const auto range = map.At(at);
    if (!range) break;
    const uint64_t end = std::min(range->end, address + size);
    if (!pieces.empty() && IsSame(pieces.back(), *range, at)) {
      pieces.back().end = end;  // split by its rights
    } else {
      pieces.push_back({at, end, range->shared, range->file, range->offset + (at - range->begin)});
    }
    at = end;
  }
  return pieces;
}

class SameMapping final : public client::AddressSpace {
 public:
  SameMapping(std::unique_ptr<client::AddressSpace> space, std::shared_ptr<client::AddressMap> map,
              std::vector<Piece> pieces)
      : space_(std::move(space)), map_(std::move(map)), pieces_(std::move(pieces)) {}

  bool Read(uint64_t address, std::span<std::byte> to) override {
    return IsThere(address, to.size()) && space_->Read(address, to);
  }
  bool Write(uint64_t address, std::span<const std::byte> from) override {
    return IsThere(address, from.size()) && space_->Write(address, from);
  }
  bool Frames(uint64_t address, std::span<uint64_t> frames) override {
    return space_->Frames(address, frames);
  }
  int file() const override { return space_->file(); }
  uint64_t number() const override { return space_->number(); }

 private:
  bool IsThere(uint64_t address, uint64_t size) {
    auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), address,
                                  [](uint64_t value, const Piece& each) { return value < each.end; });
    for (uint64_t at = address; at < address + size; ++piece) {
      if (piece == pieces_.end()) return false;
      for (const uint64_t end = std::min(piece->end, address + size); at < end;) {
        const auto range = map_->At(at);
        if (!range || !IsSame(*piece, *range, at)) return false;
        at = std::min(range->end, end);
      }
    }
    return true;
  }

  const std::unique_ptr<client::AddressSpace> space_;
  const std::shared_ptr<client::AddressMap> map_;
  const std::vector<Piece> pieces_;
};

}  // namespace

std::unique_ptr<client::AddressSpace> AsMappedNow(std::unique_ptr<client::AddressSpace> space,
                                                  std::shared_ptr<client::AddressMap> map, uint64_t address,
                                                  uint64_t size) {
  if (space == nullptr || map == nullptr || !map->is_quick()) return space;
  std::vector<Piece> pieces = PiecesOf(*map, address, size);
  if (pieces.empty() || pieces.back().end != address + size) return nullptr;
  return std::make_unique<SameMapping>(std::move(space), std::move(map), std::move(pieces));
}

}  // namespace dxg::guest
