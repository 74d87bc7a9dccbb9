#include "cuse-dxg/trace/observers.h"

#include <cerrno>
#include <utility>

#include "base/monotonic.h"
#include "cuse-dxg/trace/contents.h"
#include "cuse-dxg/trace/event_observer.h"
#include "cuse-dxg/trace/finishing.h"
#include "cuse-dxg/trace/recorder.h"
#include "cuse-dxg/trace/text_trace.h"

namespace dxg::trace {
namespace {

using Observer = std::unique_ptr<guest::CallObserver>;

// Tells two.
class Both final : public guest::CallObserver, public EventObserver, public Finishing {
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
  void OnSignal(const guest::SignalReport& report) override {
    first_->OnSignal(report);
    second_->OnSignal(report);
  }
  void OnEvent(const TraceRecord& record) override {
    for (guest::CallObserver* const each : {first_.get(), second_.get()}) {
      if (auto* const of_events = dynamic_cast<EventObserver*>(each)) of_events->OnEvent(record);
    }
  }
  void Finish() override {
    for (guest::CallObserver* const each : {first_.get(), second_.get()}) {
      if (auto* const finishing = dynamic_cast<Finishing*>(each)) finishing->Finish();
    }
  }
  bool wants_memory() const override { return first_->wants_memory() || second_->wants_memory(); }

 private:
  const Observer first_, second_;
};

}  // namespace

Result<Observer> MakeObserver(const ObserverFiles& files, TraceHeader header, ReadClient read_client) {
  const RecordOptions& record = files.record;
  const Status contents = SetContents(record.memory, record.redact, &header);
  if (record.file.empty() && (record.redact || header.memory() != TraceHeader::NONE))
    return Status::Refuse(EINVAL, "--memory and --redact are of a recording; give --record FILE as well");
  DXG_TRY(contents);
  header.set_begin_ns(MonotonicNs());
  Observer all;
  const auto add = [&all](Observer one) { all = Together(std::move(all), std::move(one)); };
  if (!record.file.empty()) {
    DXG_ASSIGN(auto sink, FileSink::Create(record.file, record.file_max));
    DXG_ASSIGN(auto recorder, Recorder::Create(std::move(sink), header, std::move(read_client)));
    add(std::move(recorder));
  }
  if (!files.trace_text.empty()) {
    DXG_ASSIGN(auto text, TextTrace::Create(files.trace_text, TextTrace::Form::kLines, header.begin_ns()));
    add(std::move(text));
  }
  if (!files.trace_json.empty()) {
    DXG_ASSIGN(auto json, TextTrace::Create(files.trace_json, TextTrace::Form::kJson));
    add(std::move(json));
  }
  return all;
}

Observer Together(Observer first, Observer second) {
  if (first != nullptr && second != nullptr)
    return std::make_unique<Both>(std::move(first), std::move(second));
  return first != nullptr ? std::move(first) : std::move(second);
}

}  // namespace dxg::trace
