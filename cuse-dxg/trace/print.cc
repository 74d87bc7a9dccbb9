#include "cuse-dxg/trace/print.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <string>

#include "cuse-dxg/trace/decode.h"
#include "cuse-dxg/trace/line.h"

namespace dxg::trace {
namespace {

constexpr size_t kTextWanted = 64u << 10;  // written at once
constexpr size_t kTextKept = 1u << 20;     // of a long line

std::string LostText(uint64_t records, bool json) {
  return json ? fmt::format("{{\"lost\":{}}}\n", records)
              : fmt::format("--- {} records are lost here\n", records);
}

Status Put(const std::string& text, std::FILE* to) {
  if (std::fwrite(text.data(), 1, text.size(), to) == text.size()) return Status::Ok();
  const int error = errno;
  return Status::Refuse(error, "the output cannot be written: {}", std::strerror(error));
}

}  // namespace

Status Print(TraceReader& reader, const PrintOptions& options, std::FILE* to) {
  const LineOptions line{.elements = options.full ? size_t{std::numeric_limits<int>::max()} : kElementsShown,
                         .begin_ns = reader.header().begin_ns()};
  Decoder decoder;
  std::string text;
  const auto put = [&]() {
    Status status = Put(text, to);
    if (text.capacity() > kTextKept) text.shrink_to_fit();
    text.clear();
    return status;
  };
  if (options.follow) reader.Follow([&] { return put().ok() && std::fflush(to) == 0; });
  for (uint64_t printed = 0; options.limit == 0 || printed < options.limit;) {
    Result<TraceReader::What> what = reader.Next();
    if (!what.ok()) {
      DXG_TRY(put());
      return what.status();
    }
    if (*what == TraceReader::What::kEnd) break;
    if (*what == TraceReader::What::kLost) {
      text += LostText(reader.lost_here(), options.json);
      continue;
    }
    const TraceRecord& record = reader.record();
    if (!options.filter.Passes(record)) continue;
    if (Status decoded = decoder.Decode(record); !decoded.ok()) {
      DXG_TRY(put());
      return Status::Refuse(EINVAL, "record {}: {}", reader.records(), decoded.why());
    }
    const size_t before = text.size();
    if (options.json) {
      AppendJsonOf(record, decoder, &text);
    } else {
      AppendLineOf(record, decoder, line, &text);
    }
    if (options.wanted && !options.wanted(std::string_view(text).substr(before))) {
      text.resize(before);
      continue;
    }
    ++printed;
    if (text.size() >= kTextWanted) DXG_TRY(put());
  }
  DXG_TRY(put());
  if (std::fflush(to) == 0) return Status::Ok();
  const int error = errno;
  return Status::Refuse(error, "the output cannot be written: {}", std::strerror(error));
}

}  // namespace dxg::trace
