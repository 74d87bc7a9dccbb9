#pragma once

#include <memory>
#include <utility>

#include "cuse-dxg/guest/observer.h"
#include "cuse-dxg/trace/client_memory.h"
#include "cuse-dxg/trace/event_observer.h"
#include "cuse-dxg/trace/events.h"
#include "cuse-dxg/trace/memory_reader.h"
#include "link/trace/recording.h"

namespace dxg::trace {

// Records what an observer sees (docs/recording.md).
class Recorder final : public guest::CallObserver, public EventObserver {
 public:
  static constexpr size_t kPendingBytesMax = Recording::kPendingBytesMax;

  // `header` says what the recorder cannot know: product, node, back-end; when it began, where that is not
  // now; and what is to be recorded: `memory`, for which `read_client` is asked, and `redacted`.
  static Result<std::unique_ptr<Recorder>> Create(std::unique_ptr<Sink> sink, const TraceHeader& header,
                                                  ReadClient read_client = nullptr);

  void OnCall(const guest::CallReport& report) override;
  void OnFile(const guest::FileReport& report) override;
  void OnAdapter(const guest::AdapterReport& report) override;
  void OnEvent(const TraceRecord& record) override;
  void OnSignal(const guest::SignalReport& report) override { OnEvent(RecordOf(report)); }
  bool wants_memory() const override { return memory_ != nullptr; }
  // A record of another observer's.
  void Add(const TraceItem& item) { recording_->Add(item); }

 private:
  Recorder(std::unique_ptr<Recording> recording, std::unique_ptr<ClientMemory> memory, bool redacted)
      : recording_(std::move(recording)), memory_(std::move(memory)), redacted_(redacted) {}
  void Fill(const guest::CallReport& report, TraceItem* item);

  const std::unique_ptr<Recording> recording_;
  const std::unique_ptr<ClientMemory> memory_;  // null: nothing of it is recorded
  const bool redacted_;
};

}  // namespace dxg::trace
