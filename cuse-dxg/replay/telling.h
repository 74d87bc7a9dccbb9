#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/mutex.h"
#include "cuse-dxg/replay/client.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::replay {

// What players, which are processes, say to who started them: all over one pipe.

// Of a call: its number, and a record with what was asked and answered. One of a process at a time.
void Tell(int to, Mutex& mutex, size_t call, const Outcome& outcome) DXG_EXCLUDES(mutex);
// Something that is no call is over.
void TellOfOther(int to, Mutex& mutex) DXG_EXCLUDES(mutex);

// The other end.
class Hearing {
 public:
  // Reads what is there, and gives on each record that is whole: begin_ns is the number of the call, and one
  // that no call has is of something else. False: nobody is left who could say something.
  bool Read(int from, const std::function<void(std::unique_ptr<TraceRecord>)>& of_call);

 private:
  std::unordered_map<int32_t, std::string> told_;  // by player
  std::string pieces_;
};

}  // namespace dxg::replay
