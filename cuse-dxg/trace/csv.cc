#include "cuse-dxg/trace/csv.h"

#include <fmt/format.h>

#include <iterator>

#include "base/printable.h"
#include "proto/contract/answers.h"
#include "proto/contract/text.h"

namespace dxg::trace {
namespace {

void AppendField(std::string_view text, std::string* out) {
  *out += '"';
  for (const char c : text) {
    if (c == '"') *out += '"';
    *out += c;
  }
  *out += '"';
}

}  // namespace

const char* CsvHead() {
  return "record,begin_s,duration_us,process,thread,call,result,errno,reason,request,reply\n";
}

void AppendCsv(const TraceRecord& record, const Decoder& decoder, uint64_t number, uint64_t begin_ns,
               std::string* out) {
  if (!record.has_call()) return;
  const guest::CallReport& call = decoder.call();
  const uint64_t at_ns = record.begin_ns() > begin_ns ? record.begin_ns() - begin_ns : 0;
  const bool is_errno = record.result() < 0 && record.result() >= -kErrnoMax;
  fmt::format_to(std::back_inserter(*out), "{},{}.{:09},{}.{:03},{},{},{},{},{},", number,
                 at_ns / 1'000'000'000, at_ns % 1'000'000'000, call.duration_ns / 1000,
                 call.duration_ns % 1000, record.pid(), record.tid(), NameOf(record), record.result(),
                 is_errno ? contract::ErrnoName(-record.result()) : "");
  AppendField(Printable(record.reason()), out);
  *out += ',';
  AppendField(call.request != nullptr ? contract::ToText(*call.request) : "", out);
  *out += ',';
  std::string reply;
  if (call.row != nullptr && call.request != nullptr && call.reply != nullptr && call.status->ok()) {
    thread_local contract::AnswerDecoder answers;
    contract::AppendText(*call.reply, kElementsShown, answers.OfReply(*call.row, *call.request, *call.reply),
                         &reply);
  }
  AppendField(reply, out);
  *out += '\n';
}

}  // namespace dxg::trace
