#include "cuse-dxg/trace/observers.h"

#include <utility>

#include "cuse-dxg/trace/recorder.h"
#include "cuse-dxg/trace/text_trace.h"

namespace dxg::trace {
namespace {

using Observer = std::unique_ptr<guest::CallObserver>;

// Tells two.
class Both final : public guest::CallObserver {
 public:
  Both(Observer first, Observer second) : first_(std::move(first)), second_(std::move(second)) {}

  void OnCall(const guest::CallReport& report) override {
    first_->OnCall(report);
    second_->OnCall(report);
  }
  void OnFile(const guest::FileReport& report) override {
    first_->OnFile(report);
    second_->OnFile(report);
  }
  void OnAdapter(const guest::AdapterReport& report) override {
    first_->OnAdapter(report);
    second_->OnAdapter(report);
  }

 private:
  const Observer first_, second_;
};

}  // namespace

Result<Observer> MakeObserver(const std::string& trace_text, const std::string& record, uint64_t record_max,
                              const TraceHeader& header) {
  Observer text, recorder;
  if (!record.empty()) {
    DXG_ASSIGN(auto sink, FileSink::Create(record, record_max));
    DXG_ASSIGN(recorder, Recorder::Create(std::move(sink), header));
  }
  if (!trace_text.empty()) {
    DXG_ASSIGN(text, TextTrace::Create(trace_text));
  }
  return Together(std::move(recorder), std::move(text));
}

Observer Together(Observer first, Observer second) {
  if (first != nullptr && second != nullptr)
    return std::make_unique<Both>(std::move(first), std::move(second));
  return first != nullptr ? std::move(first) : std::move(second);
}

}  // namespace dxg::trace
