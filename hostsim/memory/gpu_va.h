#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "hostsim/machine/bytes.h"
#include "hostsim/machine/user_budget.h"
#include "hostsim/memory/gpu_address.h"
#include "hostsim/memory/range_tree.h"
#include "hostsim/memory/storage.h"
#include "hostsim/memory/video_memory.h"
#include "hostsim/sync/sync_domain.h"

namespace dxg::hostsim {

class Allocation;

// D3DDDIGPUVIRTUALADDRESS_RESERVATION_TYPE, as far as programs may use it
enum class ReservationType : uint32_t { kNoAccess = 0, kZero = 1 };

// D3DDDIGPUVIRTUALADDRESS_PROTECTION_TYPE
inline constexpr uint64_t kProtectWrite = 1u << 0;
inline constexpr uint64_t kProtectExecute = 1u << 1;
inline constexpr uint64_t kProtectZero = 1u << 2;
inline constexpr uint64_t kProtectNoAccess = 1u << 3;
inline constexpr uint64_t kProtectKnown = (1u << 4) - 1;  // that programs may use

// Why an access of an engine fails.
struct GpuFault {
  enum Reason {
    kUnmapped,
    kNoAccess,
    kReadOnly,      // written without the right
    kNotResident,   // mapped to memory that nobody has made resident, or that is still on its way
    kNotEffective,  // its paging operation has not ended
  };
  Reason reason = kUnmapped;
  GpuAddress address;
  bool write = false;
};

// When a change of page tables counts: once a paging fence has a value. Without a fence at once, and a fence
// that is gone had all its values.
struct EffectiveAt {
  std::weak_ptr<const SyncObject> fence;
  uint64_t value = 0;
  bool reached() const {
    const auto alive = fence.lock();
    return !alive || alive->reached(value);
  }
};

// What is behind some GPU virtual addresses: bytes of a storage, or of a fence's page, or zeros if both are
// null. Offsets and sizes are in bytes.
struct GpuSpan {
  std::shared_ptr<Storage> storage;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::shared_ptr<SyncObject> fence;  // of SyncDomain::ReadMemory and WriteMemory

  // The whole span. The caller holds no lock of row 7 or later (see Machine).
  void Read(Bytes to) const;
  void Write(ConstBytes from, Aftermath* aftermath) const;
};

// What the pages of a mapping show.
struct GpuMapping {
  Allocation* allocation = nullptr;  // null: a fence, or no memory; the protection says what then
  uint64_t offset = 0;               // of the allocation
  uint64_t window = 0;               // so many bytes again and again; 0: once
  uint64_t phase = 0;                // how far into the window the first byte is
  uint64_t protection = 0;
  EffectiveAt effective;
  std::shared_ptr<SyncObject> fence;
};

// The GPU virtual addresses of one process on one adapter. All its contexts there share them; other processes
// have their own. The process's lock guards it.
//
//   [0x10000 ................................... 2^address bits)
//      |  reservation         |     |  mapping  |
//      |  piece | gap | piece |     |  piece    |
//
// A *range* is what Reserve or Map gave out and what Free takes back. Its *pieces* say what its pages show; a
// gap in a reservation shows the reservation's type. Ranges lie in a tree that finds room for a new one,
// pieces in a map, both by address, so everything takes time that grows with the logarithm of their number.
class GpuVa {
 public:
  static constexpr GpuAddress kStart{0x10000};
  static constexpr uint64_t kReserveUnit = 64 * 1024;
  static constexpr size_t kPartsMax = 1u << 20;  // ranges and pieces; a user's are limited too

  struct Place {
    GpuAddress base;  // 0: anywhere between the other two
    GpuAddress minimum;
    GpuAddress maximum;  // 0: the end; rounded down to the unit
  };

  // `reaches_guest` is set when an address first shows memory of the guest. `user`: null where he is not
  // known.
  GpuVa(VideoMemory& memory, uint32_t address_bits, std::atomic<uint64_t>& count,
        std::atomic<bool>& reaches_guest, std::shared_ptr<UserBudget> user)
      : memory_(memory),
        end_(1ull << address_bits),
        count_(count),
        reaches_guest_(reaches_guest),
        user_(std::move(user)) {}
  ~GpuVa();

  // These return an NTSTATUS and, in `address`, where the range is. Sizes are in bytes: multiples of
  // kReserveUnit or of the page. Reserve and Map take effect at once, unless SetEffective says later.
  // INVALID_PARAMETER: wrong alignment, or outside the address space, or taken. NO_MEMORY: no gap is large
  // enough, or there are kPartsMax, or the user has as many as he may. Rules: learn.microsoft.com,
  // D3DKMTReserveGpuVirtualAddress and D3DKMTMapGpuVirtualAddress; which gap is chosen is the simulator's
  // choice (the lowest).
  int32_t Reserve(const Place& place, uint64_t bytes, ReservationType type, GpuAddress* address);
  int32_t Map(const Place& place, uint64_t bytes, const GpuMapping& mapping, GpuAddress* address);
  int32_t Free(GpuAddress address, uint64_t bytes);
  // A page that shows the fence's value, at the lowest free address. Only UnmapFence ends it.
  int32_t MapFence(std::shared_ptr<SyncObject> fence, bool writable, GpuAddress* address);
  void UnmapFence(GpuAddress address);
  // When what the last successful Reserve or Map made there takes effect.
  void SetEffective(GpuAddress address, const EffectiveAt& effective);
  // The allocation ends: its mappings, and the ranges that were made for it.
  void Forget(Allocation& allocation);

  // -- Updates of pages inside reservations.

  // Whether `updates` of pages find room, or any number of copies of few pieces.
  bool HasRoomToShow(size_t updates) const { return HasRoom(kPartsOfAShow * updates); }
  // The start of the reservation that holds the whole range and may be updated: it is of the type that reads
  // zero, or all of the range is mapped. Nothing: there is no such reservation.
  std::optional<GpuAddress> ReservationOf(GpuAddress address, uint64_t bytes);
  // The range lies in a reservation. Without room, CopyPages changes nothing.
  void Show(GpuAddress address, uint64_t bytes, const GpuMapping& mapping);
  void CopyPages(GpuAddress source, uint64_t bytes, GpuAddress destination);

  // -- Access as an engine does it. The spans of Translate may be used after the process's lock is released.
  // False: a fault, and Write has written nothing.
  bool Translate(GpuAddress address, uint64_t bytes, bool write, std::vector<GpuSpan>* spans,
                 GpuFault* fault);
  bool Read(GpuAddress address, Bytes bytes, GpuFault* fault);
  bool Write(GpuAddress address, ConstBytes bytes, GpuFault* fault, Aftermath* aftermath);

  size_t ranges() const { return ranges_.size(); }

 private:
  struct Range {
    bool reserved = false;  // not mapped
    bool of_fence = false;  // not the program's to change
    ReservationType type = ReservationType::kNoAccess;
    Allocation* owner = nullptr;  // for which it was mapped
    EffectiveAt effective;
  };
  struct Piece {
    uint64_t bytes;
    GpuMapping mapping;
  };
  using Pieces = std::map<GpuAddress, Piece>;
  static constexpr size_t kPartsOfAShow = 2;  // its own piece, and the second half of one that it parts

  bool HasRoom(size_t parts) const {
    return ranges_.size() + pieces_.size() + parts <= kPartsMax &&
           (user_ == nullptr || user_->va_parts.HasRoom(parts));
  }
  int32_t FindRoom(const Place& place, uint64_t bytes, uint64_t unit, GpuAddress* address) const;
  void Insert(GpuAddress start, uint64_t bytes, Range range);
  void Erase(GpuAddress start);
  bool Covered(GpuAddress start, GpuAddress end) const;
  void CutAt(GpuAddress address);
  void Clear(GpuAddress start, GpuAddress end);
  Pieces::iterator ErasePiece(Pieces::iterator piece);
  void InsertPiece(GpuAddress start, Piece piece);
  static GpuMapping Advanced(GpuMapping mapping, uint64_t bytes);
  std::optional<GpuFault::Reason> Refusal(const GpuMapping& mapping, bool write);
  // Of so many bytes behind the first `skipped` ones.
  static void AddSpans(const GpuMapping& mapping, uint64_t skipped, uint64_t bytes,
                       std::vector<GpuSpan>* spans);

  VideoMemory& memory_;
  const GpuAddress end_;
  std::atomic<uint64_t>& count_;
  std::atomic<bool>& reaches_guest_;
  const std::shared_ptr<UserBudget> user_;
  RangeTree<Range> ranges_{kReserveUnit};  // by the values of addresses
  Pieces pieces_;
};

}  // namespace dxg::hostsim
