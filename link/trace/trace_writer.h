#pragma once

#include <zstd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "link/trace/format.h"
#include "link/trace/trace_file.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::trace {

// An item as it is in a frame: its length and its bytes, at the end of `bytes`.
void AppendItem(const TraceItem& item, std::string* bytes);

// A piece of the file, uncompressed: records, and where some are missing.
struct Batch {
  struct Item {
    uint32_t bytes;
    uint64_t lost;  // of an item that says that records are missing; 0: it is a record
    uint64_t begin_ns;
  };
  std::string bytes;
  std::vector<Item> items;

  void Add(const TraceItem& item);
  bool empty() const { return items.empty(); }
  void Clear() { bytes.clear(), items.clear(); }
};

// Makes a file of items: frames, totals, the index. What cannot be written is counted, and a later write
// that works says so in the file. Used by one thread.
class TraceWriter {
 public:
  // Writes the header. The sink outlives the writer.
  static Result<std::unique_ptr<TraceWriter>> Begin(Sink& sink, const TraceHeader& header);

  // The status is of the first frame that could not be written; the others are tried all the same.
  Status Write(const Batch& batch);
  // Totals and the index. Nothing can be written after it.
  Status Close();

  uint64_t records() const { return records_; }
  uint64_t lost() const { return lost_; }

 private:
  explicit TraceWriter(Sink& sink);
  Status AppendFrame(std::span<const char> bytes);
  Status AppendSkippable(uint32_t magic, const std::string& content);
  Status SayWhatIsLost();
  void Enter(uint64_t record, uint64_t begin_ns);
  Status WriteTotals(bool closed);
  std::string Totals(bool closed) const;

  Sink& sink_;
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> compressor_;
  std::vector<std::byte> frame_;
  uint64_t offset_ = 0;        // of the end
  uint64_t frame_offset_ = 0;  // of the last frame
  uint64_t totals_offset_ = 0;
  uint64_t records_ = 0;  // in the file
  uint64_t lost_ = 0;     // in all
  uint64_t unsaid_ = 0;   // of those, which no item in the file says
  TraceIndex index_;
  size_t frames_ = 0, stride_ = 1;  // each stride_-th frame is in the index
};

}  // namespace dxg::trace
