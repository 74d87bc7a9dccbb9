#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "proto/dxg/trace.pb.h"

// What programs saw of adapters: from a recording, or asked of a node.

namespace dxg::profile {

// A question of QueryAdapterInfo and its answer: so many times, one after another, of one process.
struct Asked {
  uint32_t process;
  int32_t result;  // as the ioctl returned it
  std::string question;
  std::string answer;  // as long as the question, where the result is a success
  uint32_t times = 1;
};

// Private data that a call took to the driver, and as it came back.
struct Given {
  std::string before, after;
  int32_t result = 0;
  uint64_t mapped_bytes = 0;  // of an allocation: up to there it was mapped for the GPU; 0: not known
};

struct AdapterSeen {
  static constexpr uint32_t kNodesMax = 64;  // of a profile
  uint64_t luid = 0;
  bool compute_only = false;
  uint32_t interface_version = 0;  // 0: not known
  // By type and size of the buffer, each in the order of the questions.
  std::map<std::pair<uint32_t, uint32_t>, std::vector<Asked>> queries;
  struct Feature {
    uint32_t version, value;
  };
  std::map<uint32_t, Feature> features;  // by number
  bool features_refused = false;
  std::map<uint32_t, uint64_t> clock_hz;    // by node
  std::optional<uint64_t> budget_bytes[2];  // by segment group, the most
  std::vector<Given> allocations, contexts, hw_queues, escapes;
  std::set<size_t> submission_bytes;  // sizes of private data
  bool has_hw_queues = false;         // one was made
  uint32_t nodes_used = 0;            // contexts and clocks were of nodes below that

  // The answer of the longest buffer to a question of that type that begins with `input`; null: none that has
  // so many bytes.
  const std::string* Find(uint32_t type, size_t bytes, const std::string& input = "") const;
};

class Samples {
 public:
  // What is kept of a recording, so that one of any length can be read.
  static constexpr size_t kAskedMax = 1024;  // of one type and size
  static constexpr size_t kGivenMax = 256;   // of one kind
  static constexpr size_t kBytesMax = 64u << 20;
  static constexpr size_t kAdaptersMax = 64;

  // EINVAL: the record does not hold what its call has.
  Status Add(const TraceRecord& record);

  // That of the LUID, from its first mention on; null: there are too many.
  AdapterSeen* Adapter(uint64_t luid);
  void AddQuery(uint64_t luid, uint32_t type, Asked asked);

  const std::vector<AdapterSeen>& adapters() const { return adapters_; }  // as they were first seen
  uint64_t left_out() const { return left_out_; }  // answers and private data beyond the limits

 private:
  using Handle = std::pair<uint32_t, uint32_t>;  // of a process
  template <class Call>
  Status Read(const TraceRecord& record);
  template <class Call>
  void Take(const TraceRecord& record, const typename Call::Request& request,
            const typename Call::Reply& reply);
  void Enter(std::map<Handle, uint64_t>* table, const TraceRecord& record, uint32_t handle, uint64_t luid);
  AdapterSeen* Of(const std::map<Handle, uint64_t>& table, const TraceRecord& record, uint32_t handle);
  void Keep(std::vector<Given>* list, const TraceRecord& record, const std::string& before,
            const std::string& after);
  bool Fits(size_t bytes);

  std::vector<AdapterSeen> adapters_;
  std::map<Handle, uint64_t> opened_, devices_, contexts_, hw_queues_;  // to LUIDs
  std::map<Handle, std::pair<uint64_t, size_t>> allocations_;           // to a LUID and a place in its list
  size_t bytes_ = 0;
  uint64_t left_out_ = 0;
};

}  // namespace dxg::profile
