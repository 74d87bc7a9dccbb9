#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>

#include "base/mutex.h"
#include "base/status.h"
#include "link/trace/trace_file.h"
#include "link/trace/trace_writer.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::trace {

// A recording that is being made. Whoever has a record puts it into memory; a thread of the recording's
// compresses and writes. Where that thread does not keep up, or the file takes nothing, records are lost and
// counted: nobody waits for a file.
//
//     Add --> pending_, 8 MiB at most --(every 20 ms, or when much is there)--> writing --> the file
class Recording {
 public:
  static constexpr size_t kPendingBytesMax = 8u << 20;

  // Sets the format and the version of `header`, and its times; begin_ns where it has none.
  static Result<std::unique_ptr<Recording>> Begin(std::unique_ptr<Sink> sink, TraceHeader header);
  // Writes what is there, and closes the file.
  ~Recording();

  // A record. It is quick, and may be called by several threads at once.
  void Add(const TraceItem& item) DXG_EXCLUDES(mutex_);
  // One that could not even be made, for lack of memory.
  void AddLost() DXG_EXCLUDES(mutex_);

 private:
  Recording(std::unique_ptr<Sink> sink, std::unique_ptr<TraceWriter> writer)
      : sink_(std::move(sink)), writer_(std::move(writer)) {}
  bool TryToAdd(const TraceItem& item) DXG_REQUIRES(mutex_);
  bool TryToAddLost() DXG_REQUIRES(mutex_);
  void Write() DXG_EXCLUDES(mutex_);
  void Say(const Status& status);

  const std::unique_ptr<Sink> sink_;
  const std::unique_ptr<TraceWriter> writer_;  // of the thread
  bool said_ = false;                          // of the thread: that records are lost

  Mutex mutex_;
  ConditionVariable changed_;
  Batch pending_ DXG_GUARDED_BY(mutex_);
  uint64_t lost_ DXG_GUARDED_BY(mutex_) = 0;  // after all of pending_
  bool stopping_ DXG_GUARDED_BY(mutex_) = false;
  bool asleep_ DXG_GUARDED_BY(mutex_) = false;  // the thread, until there is something
  std::thread thread_;
};

}  // namespace dxg::trace
