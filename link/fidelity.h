#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "proto/dxg/control.pb.h"

namespace dxg {

// How far what a program asked for was done as the real device and its host would do it. In the order of
// ControlReply::Thing::Kind, without its UNKNOWN.
enum class FidelityKind : uint8_t {
  kExact,
  kApproximated,  // done, but not as the real one does it
  kUnread,        // passed through, and nobody looked at it
  kNotExecuted,   // recognized, and left out
  kUnknown,       // not recognized
  kRefused,
};
inline constexpr size_t kFidelityKinds = 6;

// What is counted together. `what` says it in a few words; where it has a number, "{}", "{:016x}" or
// "{:#010x}" stands for that. The call is the one that asked for it; empty: not known.
struct FidelityThing {
  FidelityKind kind = FidelityKind::kExact;
  std::string_view call;
  std::string_view what;
  std::optional<uint64_t> number = {};
};

// Who asked for a thing first, and when. 0: not known.
struct FidelityFirst {
  uint64_t process = 0;
  uint32_t thread = 0;
  uint64_t ns = 0;  // by the clock of who notes it
};

// Counts what programs asked for, for the report (docs/fidelity.md). A client chooses what it asks for and
// how often, and every call passes here. So the room is fixed, what does not fit is only counted, nothing is
// allocated, and counting what was seen before takes no lock. Any thread may use it; the lock is a leaf.
class Fidelity {
 public:
  // What one kind may fill cannot crowd out another. Exact things are of many calls, so they have more room.
  static constexpr size_t kThingsMax = 64;
  static constexpr size_t kExactThingsMax = 128;
  // The rest of a text is cut off.
  static constexpr size_t kCallBytesMax = 47;
  static constexpr size_t kWhatBytesMax = 79;
  static constexpr size_t kWhyBytesMax = 119;

  explicit Fidelity(uint64_t start_ns);

  // `first` is called where the thing is new, for a FidelityFirst. `why` explains it to a person; the first
  // one is kept.
  template <class First>
  void Note(const FidelityThing& thing, First first, std::string_view why = {}, uint64_t times = 1) {
    if (!Count(thing, times)) Enter(thing, first(), why, times);
  }

  struct Noted {
    FidelityKind kind;
    std::string call, what, why;
    std::optional<uint64_t> number;
    uint64_t count;
    FidelityFirst first;  // ns since the start
  };
  std::vector<Noted> Read() const;  // in the order in which they were first seen
  // How often something was asked for that had no room.
  uint64_t lost(FidelityKind kind) const { return lost_[static_cast<size_t>(kind)]; }

  void AddTo(ControlReply* reply) const;

 private:
  struct Slot {
    std::atomic<uint64_t> key{0};  // 0: empty
    std::atomic<uint64_t> count{0};
  };
  struct Entry {
    FidelityKind kind;
    bool has_number;
    char call[kCallBytesMax + 1], what[kWhatBytesMax + 1], why[kWhyBytesMax + 1];
    uint64_t number;
    FidelityFirst first;
    const Slot* slot;
  };
  static constexpr size_t kEntriesMax = kExactThingsMax + (kFidelityKinds - 1) * kThingsMax;
  static constexpr size_t kSlots = 1024;  // a power of 2, and never more than half full
  static_assert(kEntriesMax * 2 <= kSlots);

  static size_t RoomFor(FidelityKind kind) {
    return kind == FidelityKind::kExact ? kExactThingsMax : kThingsMax;
  }
  static uint64_t KeyOf(const FidelityThing& thing);
  // The slot with that key, or the empty one where it belongs.
  Slot& Find(uint64_t key);
  // False: it is new, and there is room.
  bool Count(const FidelityThing& thing, uint64_t times);
  void Enter(const FidelityThing& thing, const FidelityFirst& first, std::string_view why, uint64_t times);

  const uint64_t start_ns_;
  std::array<Slot, kSlots> slots_;
  std::array<std::atomic<uint64_t>, kFidelityKinds> lost_{};
  std::array<std::atomic<size_t>, kFidelityKinds> used_{};  // entries; written under the lock
  mutable Mutex mutex_;
  // The lock guards what is in them, which clang can say of plain pointers only.
  const std::unique_ptr<Entry[]> entries_;
  size_t entry_count_ DXG_GUARDED_BY(mutex_) = 0;
};

// The words for what guest and host both speak of, or what the report knows.
namespace fidelity {
inline constexpr std::string_view kType = "type {}";                   // of QueryAdapterInfo or of an escape
inline constexpr std::string_view kRegistryValue = "registry value ";  // and its name
inline constexpr std::string_view kPrivateData = "private data of {} bytes";
inline constexpr std::string_view kErrno = "error {}";
inline constexpr std::string_view kRequestCode = "request code {:#010x}";
inline constexpr std::string_view kDispatch = "dispatch of kernel {:016x}";
inline constexpr std::string_view kKernel = "kernel {:016x}";
inline constexpr std::string_view kInstructions = "instructions of kernels";
inline constexpr std::string_view kForeignCommands = "commands of a foreign format";
}  // namespace fidelity

// "dispatch of kernel {:016x}" with its number in place.
std::string FidelityText(const std::string& what, std::optional<uint64_t> number);

}  // namespace dxg
