#include "cuse-dxg/trace/line.h"

#include <fmt/format.h>

#include "base/printable.h"
#include "proto/contract/text.h"

namespace dxg::trace {

std::string ToLine(const guest::CallReport& report, size_t limit) {
  std::string line = fmt::format("[{}] ", report.tid);
  if (report.row == nullptr) {
    line += fmt::format("ioctl({:#010x})", report.code);
  } else {
    line += fmt::format("{}({})", report.row->name,
                        report.request != nullptr ? contract::ToText(*report.request, limit) : "");
  }
  line += fmt::format(" = {}", contract::ResultText(report.status->value()));
  if (report.reply != nullptr && report.status->ok() && report.reply->ByteSizeLong() != 0) {
    line += fmt::format(" {}", contract::ToText(*report.reply, limit));
  }
  line +=
      fmt::format(" <{}.{:06}>", report.duration_ns / 1'000'000'000, report.duration_ns / 1000 % 1'000'000);
  if (!report.status->why().empty()) line += ": " + Printable(report.status->why());
  line += '\n';
  return line;
}

std::string ToLine(const guest::FileReport& report) {
  using What = guest::FileReport::What;
  if (report.what == What::kClose)
    return fmt::format("[{}] close({{file={}, pid={}}}) = 0\n", report.tid, report.file, report.pid);
  if (report.what == What::kOpenShared)
    return fmt::format("[{}] open({{shared=true}}) = 0 {{file={}}}\n", report.tid, report.file);
  if (report.error == 0)
    return fmt::format("[{}] open() = 0 {{file={}, pid={}, name=\"{}\"}}\n", report.tid, report.file,
                       report.pid, Printable(report.name));
  return fmt::format("[{}] open() = {}: {}\n", report.tid, contract::ResultText(-report.error),
                     Printable(report.why));
}

std::string ToLine(const guest::AdapterReport& report) {
  constexpr const char* kWhat[] = {"arrived", "stopped", "removed"};
  return fmt::format("--- adapter {:08x}-{:08x} {}\n", report.luid >> 32, report.luid & 0xffffffff,
                     kWhat[static_cast<size_t>(report.what)]);
}

}  // namespace dxg::trace
