#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "cuse-dxg/trace/perfetto.pb.h"

namespace dxg::trace {

// Packets of a Perfetto trace, written as they come. Times are of CLOCK_MONOTONIC, in nanoseconds.
class PerfettoWriter {
 public:
  using Event = perfetto::TrackEvent;
  using Unit = perfetto::CounterDescriptor;

  // The file outlives the writer. `monotonic_ns` and `real_ns` are the same moment on the two clocks.
  PerfettoWriter(std::FILE* file, uint64_t monotonic_ns, int64_t real_ns);

  // Tracks, by a name that no other one has. They are described when they are first named; `parent` is 0 of
  // one at the top.
  uint64_t Process(uint32_t pid, const std::string& name);
  uint64_t Thread(uint32_t pid, uint32_t tid);
  uint64_t Track(const std::string& key, uint64_t parent, const std::string& name);
  uint64_t Counter(const std::string& key, uint64_t parent, const std::string& name, Unit::Unit unit);

  void Begin(uint64_t track, uint64_t at_ns, Event event) {
    Put(track, at_ns, Event::TYPE_SLICE_BEGIN, std::move(event));
  }
  void End(uint64_t track, uint64_t at_ns) { Put(track, at_ns, Event::TYPE_SLICE_END, {}); }
  void Instant(uint64_t track, uint64_t at_ns, Event event) {
    Put(track, at_ns, Event::TYPE_INSTANT, std::move(event));
  }
  void Count(uint64_t track, uint64_t at_ns, uint64_t value);

  // What was refused by the file, the first time.
  Status Close();

 private:
  perfetto::TracePacket NewPacket();
  uint64_t Describe(const std::string& key, perfetto::TrackDescriptor track);
  void Put(uint64_t track, uint64_t at_ns, Event::Type type, Event event);
  void Write(const perfetto::TracePacket& packet);

  std::FILE* const file_;
  std::map<std::string, uint64_t> tracks_;
  std::string bytes_;
  int error_ = 0;
};

}  // namespace dxg::trace
