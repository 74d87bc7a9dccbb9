#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <string>

#include "proto/dxg/trace.pb.h"

namespace dxg::trace {

// How long something took, in constant memory: percentiles are at most 1/64 too high.
class Durations {
 public:
  void Add(uint64_t ns);
  uint64_t count() const { return count_; }
  uint64_t sum_ns() const { return sum_ns_; }
  uint64_t max_ns() const { return max_ns_; }
  uint64_t Percentile(uint32_t percent) const;  // ns; 0 of nothing

 private:
  static constexpr uint32_t kStepsLog = 6;  // 64 steps for each power of two
  static size_t PlaceOf(uint64_t ns);
  static uint64_t HighestOf(size_t place);

  std::array<uint64_t, size_t{65 - kStepsLog} << kStepsLog> counts_{};
  uint64_t count_ = 0, sum_ns_ = 0, max_ns_ = 0;
};

// Counts and times of the records that it is told of, by call and by thread.
class Stats {
 public:
  static constexpr size_t kErrorsMax = 64;       // different ones of a call; the others count together
  static constexpr size_t kReasonsMax = 256;     // different ones; the others are not listed
  static constexpr size_t kThreadsMax = 65'536;  // the others are left out

  void Add(const TraceRecord& record);
  // Tables, the calls that took most time together first.
  std::string Text() const;

 private:
  struct OfCall {
    Durations durations;
    std::map<int32_t, uint64_t> errors;  // by result; 0: others
  };
  struct OfThread {
    uint32_t pid = 0;
    uint64_t count = 0, errors = 0, sum_ns = 0;
  };
  struct Reason {
    std::string call;
    int32_t result;
    std::string text;  // with # for each number
    auto operator<=>(const Reason&) const = default;
  };
  void AddReason(const TraceRecord& record);
  std::string CallsText() const;
  std::string ReasonsText() const;
  std::string ThreadsText() const;

  std::map<std::string, OfCall> calls_;
  std::map<Reason, uint64_t> reasons_;
  std::map<uint32_t, OfThread> threads_;
  uint64_t records_ = 0, sum_ns_ = 0, threadless_ = 0;
  uint64_t first_ns_ = UINT64_MAX, last_ns_ = 0;
};

}  // namespace dxg::trace
