#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "cuse-dxg/trace/decode.h"

namespace dxg::trace {

// The objects that the clients made: by which call, of what, and what ended them. A handle in a Reply that
// its process did not have yet is a new object; what the Request named is what it is of.
class Objects {
 public:
  static constexpr size_t kObjectsMax = 1u << 20;  // the others are counted

  enum class End : uint8_t { kNone, kDestroyed, kWithOwner, kProcessEnded };
  struct Object {
    uint32_t pid;
    uint64_t handle;
    std::string kind;  // "device"
    std::string call;  // that made it
    uint64_t record, begin_ns;
    std::vector<size_t> owners;  // indices
    End end = End::kNone;
    std::string ended_by;  // a call; empty of kNone and kProcessEnded
  };

  // `number` is the record's in its file, from 1 on.
  void Add(const TraceRecord& record, const Decoder& decoder, uint64_t number);

  const std::vector<Object>& all() const { return objects_; }
  uint64_t left_out() const { return left_out_; }

  // A table of those that nobody destroyed, or of all.
  std::string Text(bool all, uint64_t begin_ns) const;
  // A graph for `dot`: those that nobody destroyed are filled.
  std::string Dot() const;

 private:
  using Key = std::tuple<uint32_t, bool, uint64_t>;  // process, whether it is an adapter, handle

  void Create(const guest::CallReport& call, uint64_t number);
  void Destroy(const guest::CallReport& call);
  void EndOf(size_t index, End end, const std::string& by);
  void EndOfProcess(uint32_t pid);

  std::vector<Object> objects_;
  std::map<Key, size_t> living_;
  std::map<size_t, std::vector<size_t>> owned_;  // by their owner
  std::map<uint32_t, uint64_t> files_;           // open, by process
  std::map<uint64_t, uint32_t> file_of_;         // whose it is
  uint64_t left_out_ = 0;
};

}  // namespace dxg::trace
