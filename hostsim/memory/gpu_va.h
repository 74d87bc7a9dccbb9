#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "hostsim/machine/bytes.h"
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

// Why an engine's access stops.
struct GpuFault {
  enum Reason {
    kUnmapped,
    kNoAccess,
    kReadOnly,      // written without the right
    kNotResident,   // mapped to memory that nobody has made resident, or that is still on its way
    kNotEffective,  // its paging operation has not ended
  };
  Reason reason = kUnmapped;
  uint64_t address = 0;
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

// What some bytes of GPU virtual addresses are: a piece of a storage or of a fence's page, or zeros where
// there is neither.
struct GpuSpan {
  std::shared_ptr<Storage> storage;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::shared_ptr<SyncObject> fence;  // of SyncDomain::ReadMemory and WriteMemory

  // All of the span, under no lock of the host's that is not above the sync domain's.
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
  static constexpr uint64_t kStart = 0x10000;
  static constexpr uint64_t kReserveUnit = 64 * 1024;

  struct Place {
    uint64_t base = 0;  // 0: anywhere between the other two
    uint64_t minimum = 0;
    uint64_t maximum = 0;  // 0: the end
  };

  GpuVa(VideoMemory& memory, uint32_t address_bits, std::atomic<uint64_t>& count)
      : memory_(memory), end_(1ull << address_bits), count_(count) {}
  ~GpuVa();

  // An NTSTATUS, and where the range is. The change is effective at once until SetEffective says otherwise.
  int32_t Reserve(const Place& place, uint64_t bytes, ReservationType type, uint64_t* address);
  int32_t Map(const Place& place, uint64_t bytes, const GpuMapping& mapping, uint64_t* address);
  int32_t Free(uint64_t address, uint64_t bytes);
  // A page that is the fence, wherever there is room. Only UnmapFence ends it.
  int32_t MapFence(std::shared_ptr<SyncObject> fence, bool writable, uint64_t* address);
  void UnmapFence(uint64_t address);
  // Of what the last successful Reserve or Map made there.
  void SetEffective(uint64_t address, const EffectiveAt& effective);
  // The allocation ends: its mappings, and the ranges that were made for it.
  void Forget(Allocation& allocation);

  // -- Updates of pages inside reservations.

  // The start of the reservation that holds the whole range and takes updates: it reads zero, or all of the
  // range is mapped. Nothing: none does.
  std::optional<uint64_t> ReservationOf(uint64_t address, uint64_t bytes);
  // The range lies in a reservation.
  void Show(uint64_t address, uint64_t bytes, const GpuMapping& mapping);
  void CopyPages(uint64_t source, uint64_t bytes, uint64_t destination);

  // -- Access as an engine. What Translate gives stays good without the process's lock. False: a fault, and
  // in Write nothing is written.
  bool Translate(uint64_t address, uint64_t bytes, bool write, std::vector<GpuSpan>* spans, GpuFault* fault);
  bool Read(uint64_t address, Bytes bytes, GpuFault* fault);
  bool Write(uint64_t address, ConstBytes bytes, GpuFault* fault, Aftermath* aftermath);

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
  using Pieces = std::map<uint64_t, Piece>;

  int32_t FindRoom(const Place& place, uint64_t bytes, bool aligned, uint64_t* address) const;
  void Insert(uint64_t start, uint64_t bytes, Range range);
  void Erase(uint64_t start);
  bool Covered(uint64_t start, uint64_t end) const;
  void CutAt(uint64_t address);
  void Clear(uint64_t start, uint64_t end);
  Pieces::iterator ErasePiece(Pieces::iterator piece);
  void InsertPiece(uint64_t start, Piece piece);
  static GpuMapping Advanced(GpuMapping mapping, uint64_t bytes);
  std::optional<GpuFault::Reason> Refusal(const GpuMapping& mapping, bool write);
  static void AddSpans(const GpuMapping& mapping, uint64_t bytes, std::vector<GpuSpan>* spans);

  VideoMemory& memory_;
  const uint64_t end_;
  std::atomic<uint64_t>& count_;
  RangeTree<Range> ranges_{kReserveUnit};
  Pieces pieces_;
};

}  // namespace dxg::hostsim
