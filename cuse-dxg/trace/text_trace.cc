#include "cuse-dxg/trace/text_trace.h"

#include <cstring>

#include "proto/contract/text.h"

namespace dxg::trace {

Result<std::unique_ptr<TextTrace>> TextTrace::Create(const std::string& path) {
  std::FILE* file = path == "-" ? stdout : std::fopen(path.c_str(), "we");
  if (file == nullptr) {
    const int error = errno;
    return Status::Refuse(
        error, "cannot write the trace to {}: {}; name a file in a directory that can be written, or -", path,
        std::strerror(error));
  }
  std::setvbuf(file, nullptr, _IOLBF, 0);  // a line is there when its call was answered
  return std::unique_ptr<TextTrace>(new TextTrace(file));
}

TextTrace::~TextTrace() {
  if (file_ != stdout) std::fclose(file_);
}

void TextTrace::OnCall(const guest::CallReport& report) {
  std::string line = fmt::format("[{}] ", report.tid);
  if (report.row == nullptr) {
    line += fmt::format("ioctl({:#010x})", report.code);
  } else {
    line += fmt::format("{}({})", report.row->name,
                        report.request != nullptr ? contract::ToText(*report.request) : "");
  }
  line += fmt::format(" = {}", contract::ResultText(report.status->value()));
  if (report.reply != nullptr && report.status->ok() && report.reply->ByteSizeLong() != 0) {
    line += fmt::format(" {}", contract::ToText(*report.reply));
  }
  line +=
      fmt::format(" <{}.{:06}>", report.duration_ns / 1'000'000'000, report.duration_ns / 1000 % 1'000'000);
  if (!report.status->why().empty()) line += ": " + report.status->why();
  line += '\n';
  MutexLock lock(mutex_);
  std::fwrite(line.data(), 1, line.size(), file_);
}

}  // namespace dxg::trace
