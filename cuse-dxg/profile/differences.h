#pragma once

#include <string>
#include <vector>

#include "proto/dxg/profile.pb.h"

namespace dxg::profile {

// What was asked or given, and what came back: as long.
struct Pair {
  const std::string *before, *after;
};

// Bytes that explain all pairs: written over what was before, they give what came back. Runs of them, with at
// most `gap` bytes between them that nobody changed. False: no such bytes do.
struct Runs {
  struct Run {
    size_t at;
    std::string bytes;
  };
  std::vector<Run> runs;
  size_t bytes() const;
};
bool Explain(const std::vector<Pair>& pairs, Runs* runs);

void AddWrites(const Runs& runs, google::protobuf::RepeatedPtrField<AdapterProfile::Write>* writes);

}  // namespace dxg::profile
