#pragma once

#include <cstdint>
#include <string>

#include "cuse-dxg/trace/decode.h"

// Calls as comma-separated values (RFC 4180), for spreadsheets and data frames.

namespace dxg::trace {

// The names of the columns, with a newline.
const char* CsvHead();

// A call as a row, with its newline; nothing for other records. Times are in seconds from `begin_ns` on;
// `number` is the record's in its file, from 1 on.
void AppendCsv(const TraceRecord& record, const Decoder& decoder, uint64_t number, uint64_t begin_ns,
               std::string* out);

}  // namespace dxg::trace
