#pragma once

#include <memory>
#include <utility>

#include "cuse-dxg/guest/observer.h"
#include "link/trace/recording.h"

namespace dxg::trace {

// Records what an observer sees (docs/recording.md).
class Recorder final : public guest::CallObserver {
 public:
  static constexpr size_t kPendingBytesMax = Recording::kPendingBytesMax;

  // `header` says what the recorder cannot know: product, node, back-end.
  static Result<std::unique_ptr<Recorder>> Create(std::unique_ptr<Sink> sink, TraceHeader header);

  void OnCall(const guest::CallReport& report) override;
  void OnFile(const guest::FileReport& report) override;
  void OnAdapter(const guest::AdapterReport& report) override;

 private:
  explicit Recorder(std::unique_ptr<Recording> recording) : recording_(std::move(recording)) {}

  const std::unique_ptr<Recording> recording_;
};

}  // namespace dxg::trace
