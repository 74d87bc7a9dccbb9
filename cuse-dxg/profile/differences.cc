#include "cuse-dxg/profile/differences.h"

#include <algorithm>

namespace dxg::profile {

size_t Runs::bytes() const {
  size_t sum = 0;
  for (const Run& run : runs) sum += run.bytes.size();
  return sum;
}

bool Explain(const std::vector<Pair>& pairs, Runs* runs) {
  constexpr size_t kGapMax = 4;  // as long as what another run costs
  runs->runs.clear();
  size_t bytes = SIZE_MAX;
  for (const Pair& pair : pairs) {
    if (pair.before->size() != pair.after->size()) return false;
    bytes = std::min(bytes, pair.after->size());
  }
  if (pairs.empty()) return false;
  const std::string& first = *pairs.front().after;
  size_t last = 0;  // behind the last byte that was changed
  for (size_t at = 0; at < bytes; ++at) {
    bool changed = false, same = true;
    for (const Pair& pair : pairs) {
      changed |= (*pair.before)[at] != (*pair.after)[at];
      same &= (*pair.after)[at] == first[at];
    }
    if (!changed) continue;
    if (!same) return false;
    if (runs->runs.empty() || at > last + kGapMax) {
      runs->runs.push_back({at, {}});
    } else {
      for (; last < at; ++last) {
        // A gap is bridged where all agree on it.
        const bool agreed = std::all_of(pairs.begin(), pairs.end(),
                                        [&](const Pair& pair) { return (*pair.after)[last] == first[last]; });
        if (!agreed) {
          runs->runs.push_back({at, {}});
          break;
        }
        runs->runs.back().bytes += first[last];
      }
    }
    runs->runs.back().bytes += first[at];
    last = at + 1;
  }
  return true;
}

void AddWrites(const Runs& runs, google::protobuf::RepeatedPtrField<AdapterProfile::Write>* writes) {
  for (const Runs::Run& run : runs.runs) {
    AdapterProfile::Write* const write = writes->Add();
    write->set_at(static_cast<uint32_t>(run.at));
    write->set_data(run.bytes);
  }
}

}  // namespace dxg::profile
