#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cuse-dxg/trace/filter.h"
#include "link/trace/trace_reader.h"
#include "proto/contract/meaning.h"

namespace dxg::trace {

// A call as two recordings can be compared by it: what may have another name stands aside.
struct Comparable {
  struct Name {
    contract::Kind kind;
    uint64_t value;
    bool given;            // by the Reply
    uint32_t process = 0;  // whose name it is; of a LUID nobody's
    bool operator==(const Name&) const = default;
  };
  std::string text;  // call, result, Request, Reply; a place for each name
  std::vector<Name> names;
  std::string line;  // for people
};

// The names of one recording that those of another one are. Each has one partner.
class Renaming {
 public:
  // Whether the calls are the same under it; if so, it has their names from now on.
  bool Agree(const Comparable& a, const Comparable& b);

 private:
  using Key = std::tuple<contract::Kind, uint32_t, uint64_t>;  // a kind, a process and a value
  static Key KeyOf(const Comparable::Name& name) { return {name.kind, name.process, name.value}; }
  std::map<Key, Key> to_b_, to_a_;
};

struct DiffOptions {
  Filter filter;
  bool exact = false;  // also what may differ: clocks, measured values, values of fences
};

struct DiffResult {
  uint64_t same = 0, only_a = 0, only_b = 0;
  bool differs() const { return only_a + only_b != 0; }
};

// Compares the calls thread by thread, in the order in which the threads appear; prints those that only one
// of the two has, as diff(1) does. EINVAL: a recording is damaged; EFBIG: it has too many calls.
class Diff {
 public:
  static constexpr size_t kCallsMax = 2'000'000;
  static constexpr size_t kBytesMax = 1u << 30;  // of their texts, in each recording
  static constexpr size_t kAheadMax = 256;       // calls that are looked at to find where both agree again

  static Result<DiffResult> Run(TraceReader& a, TraceReader& b, const DiffOptions& options, std::FILE* to);
};

}  // namespace dxg::trace
