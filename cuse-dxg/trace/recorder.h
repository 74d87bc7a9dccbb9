#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "base/mutex.h"
#include "cuse-dxg/guest/observer.h"
#include "cuse-dxg/trace/trace_file.h"
#include "cuse-dxg/trace/trace_writer.h"

namespace dxg::trace {

// Writes what an observer sees into a file (docs/recording.md). Whoever answers a call puts its record into
// memory; a thread of the recorder's compresses and writes. Where that thread does not keep up, or the file
// takes nothing, records are lost and counted: no call waits for a file.
//
//     OnCall --> pending_, 8 MiB at most --(every 20 ms, or when much is there)--> writing_ --> the file
class Recorder final : public guest::CallObserver {
 public:
  static constexpr size_t kPendingBytesMax = 8u << 20;

  // `header` says what the recorder cannot know: product, node, back-end.
  static Result<std::unique_ptr<Recorder>> Create(std::unique_ptr<Sink> sink, TraceHeader header);
  // Writes what is there, and closes the file.
  ~Recorder() override;

  void OnCall(const guest::CallReport& report) override;
  void OnFile(const guest::FileReport& report) override;
  void OnAdapter(const guest::AdapterReport& report) override;
  // A record of another observer's.
  void Add(const TraceItem& item) DXG_EXCLUDES(mutex_);

 private:
  Recorder(std::unique_ptr<Sink> sink, std::unique_ptr<TraceWriter> writer)
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
