#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "cuse-dxg/replay/client.h"
#include "cuse-dxg/replay/comparison.h"

namespace dxg::replay {

// What is different of calls that are played while they are recorded. Nothing is kept of them but, until the
// first difference, those that made objects, and of those the latest.
class LiveDifferences {
 public:
  // The text of the first that differs, with its history; empty: it is the same, or not the first.
  std::string Compare(const std::shared_ptr<const RecordedCall>& call, const Outcome& outcome);
  std::string CountsText() const { return counts_.Text(); }

 private:
  void Keep(const std::shared_ptr<const RecordedCall>& call);

  std::deque<std::shared_ptr<const RecordedCall>> kept_;
  std::map<uint32_t, std::shared_ptr<const RecordedCall>> makers_;  // by object
  Comparison comparison_;
  Counts counts_;
  bool differs_ = false;
};

}  // namespace dxg::replay
