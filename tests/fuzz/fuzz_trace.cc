// Random bytes as a recording, as they are and behind a good beginning: all of it is printed, or is refused
// with a reason, and what a record has is bounded.
#include <zstd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "cuse-dxg/trace/csv.h"
#include "cuse-dxg/trace/diff.h"
#include "cuse-dxg/trace/objects.h"
#include "cuse-dxg/trace/print.h"
#include "cuse-dxg/trace/stats.h"
#include "cuse-dxg/trace/timeline.h"
#include "link/trace/trace_writer.h"
#include "tests/fuzz/fuzz_check.h"

namespace {

using dxg::trace::TraceReader;

// A frame of the items' bytes.
std::string Frame(const std::string& items) {
  std::string frame(ZSTD_compressBound(items.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), items.data(), items.size(), 1));
  return frame;
}

std::string Header() {
  dxg::TraceItem item;
  item.mutable_header()->set_format(dxg::trace::kFormat);
  std::string items;
  dxg::trace::AppendItem(item, &items);
  return Frame(items);
}

dxg::Result<std::unique_ptr<TraceReader>> Open(std::string& bytes) {
  return TraceReader::Read(fmemopen(bytes.data(), bytes.size(), "r"), "input");
}

// The questions that look at each record's fields.
void Ask(std::string bytes) {
  static std::FILE* const nowhere = std::fopen("/dev/null", "w");
  auto reader = Open(bytes);
  dxg::trace::Decoder decoder;
  dxg::trace::Objects objects;
  dxg::trace::PerfettoWriter writer(nowhere, 0, 0);
  dxg::trace::Timeline timeline(writer);
  std::string rows;
  for (;;) {
    auto what = (*reader)->Next();
    if (!what.ok() || *what == TraceReader::What::kEnd) break;
    if (*what != TraceReader::What::kRecord || !decoder.Decode((*reader)->record()).ok()) continue;
    const uint64_t number = (*reader)->records();
    objects.Add((*reader)->record(), decoder, number);
    timeline.Add((*reader)->record(), decoder, number);
    dxg::trace::AppendCsv((*reader)->record(), decoder, number, 0, &rows);
  }
  FUZZ_CHECK(writer.Close().ok());
  FUZZ_CHECK(!objects.Text(true, 0).empty() && !objects.Dot().empty());
  std::string again = bytes;
  auto a = Open(bytes), b = Open(again);
  auto result = dxg::trace::Diff::Run(**a, **b, {}, nowhere);
  FUZZ_CHECK(!result.ok() || !(*result).differs());
}

void ReadThrough(std::string bytes) {
  static std::FILE* const nowhere = std::fopen("/dev/null", "w");
  for (const bool json : {false, true}) {
    auto reader = Open(bytes);
    FUZZ_CHECK(reader.ok() || !reader.status().why().empty());
    if (!reader.ok()) return;
    dxg::trace::PrintOptions options;
    options.json = json;
    const dxg::Status printed = dxg::trace::Print(**reader, options, nowhere);
    FUZZ_CHECK(printed.ok() || !printed.why().empty());
    FUZZ_CHECK(!printed.ok() || (*reader)->ended());
  }
  auto reader = Open(bytes);
  dxg::trace::Stats stats;
  for (;;) {
    auto what = (*reader)->Next();
    if (!what.ok() || *what == TraceReader::What::kEnd) break;
    if (*what == TraceReader::What::kRecord) stats.Add((*reader)->record());
  }
  FUZZ_CHECK(!stats.Text().empty());
  Ask(bytes);
}

}  // namespace

// The first byte says where the others stand: in the file, in a frame, in an item.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);  // Safety: bytes
  static const std::string header = Header();
  switch (data[0] % 4) {
    case 0:
      ReadThrough(bytes);
      break;
    case 1:
      ReadThrough(header + bytes);
      break;
    case 2:
      ReadThrough(header + Frame(bytes));
      break;
    default:
      dxg::TraceItem item;
      if (!item.mutable_record()->ParseFromString(bytes)) break;
      std::string items;
      dxg::trace::AppendItem(item, &items);
      ReadThrough(header + Frame(items));
  }
  return 0;
}
