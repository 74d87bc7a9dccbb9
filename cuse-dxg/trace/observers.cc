#include "cuse-dxg/trace/observers.h"

#include <cerrno>
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
  bool wants_memory() const override { return first_->wants_memory() || second_->wants_memory(); }

 private:
  const Observer first_, second_;
};

TraceHeader::Memory MemoryOf(const std::string& name) {
  return name == "full" ? TraceHeader::FULL : name == "hash" ? TraceHeader::HASH : TraceHeader::NONE;
}

}  // namespace

Result<Observer> MakeObserver(const std::string& trace_text, const RecordOptions& record,
                              const TraceHeader& header, ReadClient read_client) {
  Observer text, recorder;
  const TraceHeader::Memory memory = MemoryOf(record.memory);
  if (record.file.empty() && (record.redact || memory != TraceHeader::NONE))
    return Status::Refuse(EINVAL, "--memory and --redact are of a recording; give --record FILE as well");
  if (record.redact && memory == TraceHeader::FULL)
    return Status::Refuse(EINVAL,
                          "--redact leaves contents out, which --memory full asks for; give --memory hash");
  if (!record.file.empty()) {
    TraceHeader said = header;
    said.set_memory(memory);
    said.set_redacted(record.redact);
    DXG_ASSIGN(auto sink, FileSink::Create(record.file, record.file_max));
    DXG_ASSIGN(recorder, Recorder::Create(std::move(sink), said, std::move(read_client)));
  }
  if (!trace_text.empty()) {
    DXG_ASSIGN(text, TextTrace::Create(trace_text));
  }
  if (text != nullptr && recorder != nullptr)
    return Observer(std::make_unique<Both>(std::move(recorder), std::move(text)));
  return text != nullptr ? std::move(text) : std::move(recorder);
}

}  // namespace dxg::trace
