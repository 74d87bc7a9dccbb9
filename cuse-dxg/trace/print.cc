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
  const size_t elements = options.full ? std::numeric_limits<int>::max() : kElementsShown;
  Decoder decoder;
  for (uint64_t printed = 0; options.limit == 0 || printed < options.limit;) {
    DXG_ASSIGN(const TraceReader::What what, reader.Next());
    if (what == TraceReader::What::kEnd) break;
    if (what == TraceReader::What::kLost) {
      DXG_TRY(Put(LostText(reader.lost_here(), options.json), to));
      continue;
    }
    const TraceRecord& record = reader.record();
    if (!options.filter.Passes(record)) continue;
    if (Status decoded = decoder.Decode(record); !decoded.ok())
      return Status::Refuse(EINVAL, "record {}: {}", reader.records(), decoded.why());
    DXG_TRY(Put(options.json ? JsonOf(record, decoder) : LineOf(record, decoder, elements), to));
    ++printed;
  }
  if (std::fflush(to) == 0) return Status::Ok();
  const int error = errno;
  return Status::Refuse(error, "the output cannot be written: {}", std::strerror(error));
}

}  // namespace dxg::trace
