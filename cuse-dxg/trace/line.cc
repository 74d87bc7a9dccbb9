#include "cuse-dxg/trace/line.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>

#include "base/printable.h"
#include "proto/contract/answers.h"
#include "proto/contract/text.h"

namespace dxg::trace {
namespace {

// "00" to "99", one after another.
constexpr std::array<char, 200> kPairs = [] {
  std::array<char, 200> pairs{};
  for (size_t i = 0; i < pairs.size(); i += 2) {
    pairs[i] = static_cast<char>('0' + i / 20);
    pairs[i + 1] = static_cast<char>('0' + i / 2 % 10);
  }
  return pairs;
}();

// "0.001234"
void AppendSeconds(uint64_t ns, std::string* out) {
  char text[20 + 1 + 6];
  char* end = std::to_chars(text, std::end(text), ns / 1'000'000'000).ptr;
  *end++ = '.';
  const auto micros = static_cast<uint32_t>(ns / 1000 % 1'000'000);
  for (const uint32_t pair : {micros / 10'000, micros / 100 % 100, micros % 100})
    end = std::copy_n(&kPairs[size_t{2} * pair], 2, end);
  out->append(text, end);
}

void AppendTid(pid_t tid, std::string* out) {
  char text[1 + 20 + 2] = {'['};
  char* end = std::to_chars(text + 1, std::end(text), static_cast<uint32_t>(tid)).ptr;
  *end++ = ']';
  *end++ = ' ';
  out->append(text, end);
}

// " at {data=0x7f0000001000}": those that there are.
void AppendAddresses(const guest::CallReport& report, std::string* out) {
  if (report.addresses.empty() || report.row == nullptr) return;
  const char* separator = " at {";
  contract::ForEachAddress(*report.row, report.request, report.addresses,
                           [&](const std::string& name, uint64_t address) {
                             char text[16];
                             *out += separator;
                             *out += name;
                             *out += "=0x";
                             out->append(text, std::to_chars(text, std::end(text), address, 16).ptr);
                             separator = ", ";
                           });
  if (*separator == ',') *out += '}';
}

}  // namespace

void AppendTime(uint64_t at_ns, const LineOptions& options, std::string* out) {
  AppendSeconds(at_ns > options.begin_ns ? at_ns - options.begin_ns : 0, out);
  *out += ' ';
}

void AppendLine(const guest::CallReport& report, const LineOptions& options, std::string* out) {
  thread_local contract::AnswerDecoder answers;
  AppendTime(report.begin_ns, options, out);
  AppendTid(report.tid, out);
  if (report.row == nullptr) {
    *out += fmt::format("ioctl({:#010x})", report.code);
  } else {
    *out += report.row->name;
    *out += '(';
    if (report.request != nullptr)
      contract::AppendText(*report.request, options.elements, answers.OfRequest(*report.row, *report.request),
                           out);
    *out += ')';
  }
  *out += " = ";
  const int32_t result = report.status->value();
  if (result == 0) {
    *out += '0';
  } else {
    *out += contract::ResultText(result);
  }
  if (report.reply != nullptr && report.status->ok() && report.reply->ByteSizeLong() != 0) {
    *out += ' ';
    const bool asked = report.row != nullptr && report.request != nullptr;
    contract::AppendText(
        *report.reply, options.elements,
        asked ? answers.OfReply(*report.row, *report.request, *report.reply) : contract::DecodedField{}, out);
  }
  AppendAddresses(report, out);
  *out += " <";
  AppendSeconds(report.duration_ns, out);
  *out += '>';
  if (!report.status->why().empty()) {
    *out += ": ";
    *out += Printable(report.status->why());
  }
  *out += '\n';
}

void AppendLine(const guest::FileReport& report, const LineOptions& options, std::string* out) {
  using What = guest::FileReport::What;
  AppendTime(report.at_ns, options, out);
  AppendTid(report.tid, out);
  if (report.what == What::kClose) {
    *out += fmt::format("close({{file={}, pid={}}}) = 0\n", report.file, report.pid);
  } else if (report.what == What::kOpenShared) {
    *out += fmt::format("open({{shared=true}}) = 0 {{file={}}}\n", report.file);
  } else if (report.error == 0) {
    *out += fmt::format("open() = 0 {{file={}, pid={}, name=\"{}\"}}\n", report.file, report.pid,
                        Printable(report.name));
  } else {
    *out += fmt::format("open() = {}: {}\n", contract::ResultText(-report.error), Printable(report.why));
  }
}

void AppendLine(const guest::AdapterReport& report, const LineOptions& options, std::string* out) {
  constexpr const char* kWhat[] = {"arrived", "stopped", "removed"};
  AppendTime(report.at_ns, options, out);
  *out += fmt::format("--- adapter {:08x}-{:08x} {}\n", report.luid >> 32, report.luid & 0xffffffff,
                      kWhat[static_cast<size_t>(report.what)]);
}

}  // namespace dxg::trace
