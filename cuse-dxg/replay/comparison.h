#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cuse-dxg/replay/recording.h"

namespace dxg::replay {

// What one answer is beside another, by the rules of proto/dxg/meaning.proto.
struct Verdict {
  bool same = true;  // but for names, and for what may differ
  bool renamed = false;
  bool differs_as_it_may = false;   // a time, a measured value, a fence's value, or 0 where PENDING was
  std::vector<std::string> fields;  // that are different; "result" is one
};

// Compares answers that are given with those of a recording, call by call, in the order of the recording or
// of who lives. Names become known from the answers: a handle, a LUID, an address stands for one of the other
// run's from where it first appears.
class Comparison {
 public:
  // `process` is a number for whose names these are.
  Verdict Compare(uint64_t process, const RecordedCall& call, const Message& request, int32_t result,
                  const Message& reply);

 private:
  // One to one.
  struct Names {
    std::unordered_map<uint64_t, uint64_t> live, recorded;
    // True: they stand for each other, or do from here on. A name that was made anew loses what it was.
    bool Bind(uint64_t of_recording, uint64_t of_live, bool made_anew);
  };
  using Key = std::pair<uint64_t, Kind>;  // whose: 0 for those of the whole machine
  std::map<Key, Names> names_;
};

// "result = 0, recorded -1 EINVAL (Invalid argument); private_data ...", for a person.
std::string DifferenceText(const RecordedCall& recorded, int32_t result, const Message& reply);

// How often what was found.
class Counts {
 public:
  void Add(const RecordedCall& recorded, int32_t result, const Verdict& verdict);
  uint64_t calls() const { return calls_; }
  uint64_t different() const { return different_; }
  // "45 calls compared: 45 the same (3 with other names, 2 with values that may differ), 0 different"
  // and a line for each kind of difference, of which it has at most kKindsMax.
  std::string Text() const;

  static constexpr size_t kKindsMax = 64;

 private:
  struct Kind {
    uint64_t count = 0, first = 0;  // how often, and the record of the first
  };
  std::map<std::string, Kind> kinds_;
  uint64_t calls_ = 0, renamed_ = 0, may_differ_ = 0, different_ = 0;
};

// So many calls are shown with a difference.
inline constexpr size_t kHistoryMax = 12;

// The calls that made what the call names, and what those name, in the order of the recording. At most the
// last `calls_max`.
std::vector<const RecordedCall*> HistoryOf(const Recording& recording, const RecordedCall& call,
                                           size_t calls_max);

// The same, where `maker` knows which call made an object; null: none that is known.
std::vector<const RecordedCall*> HistoryOf(const std::function<const RecordedCall*(uint32_t object)>& maker,
                                           const RecordedCall& call, size_t calls_max);

// "record 12: CreateDevice({adapter=0x40000040, flags=0x0}) = 0 {device=0x40000080}".
std::string LineOf(const RecordedCall& call);

}  // namespace dxg::replay
