#include "cuse-dxg/trace/text_trace.h"

#include <cstring>

#include "cuse-dxg/trace/events.h"

namespace dxg::trace {

Result<std::unique_ptr<TextTrace>> TextTrace::Create(const std::string& path, Form form, uint64_t begin_ns) {
  std::FILE* file = path == "-" ? stdout : std::fopen(path.c_str(), "we");
  if (file == nullptr) {
    const int error = errno;
    return Status::Refuse(
        error, "cannot write the trace to {}: {}; name a file in a directory that can be written, or -", path,
        std::strerror(error));
  }
  std::setvbuf(file, nullptr, _IOLBF, 0);  // a line is there when its call was answered
  return std::unique_ptr<TextTrace>(new TextTrace(file, form, begin_ns));
}

TextTrace::~TextTrace() {
  if (file_ != stdout) std::fclose(file_);
}

void TextTrace::OnEvent(const TraceRecord& record) {
  constexpr uint32_t kNoCommands = 0;  // it has none of the host's, which are of a version
  std::string line;
  if (form_ == Form::kJson) {
    AppendEventJson(record, kNoCommands, &line);
  } else {
    AppendTime(record.begin_ns(), {.begin_ns = begin_ns_}, &line);
    line += EventLine(record, kNoCommands, kElementsShown);
  }
  Put(line);
}

void TextTrace::Put(const std::string& line) {
  MutexLock lock(mutex_);
  std::fwrite(line.data(), 1, line.size(), file_);
}

}  // namespace dxg::trace
