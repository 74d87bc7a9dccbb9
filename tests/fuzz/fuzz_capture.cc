// Random text as what the bpftrace script captured: all of it is read, and what becomes of it is a command.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "cuse-dxg/trace/vmbus_capture.h"
#include "tests/fuzz/fuzz_check.h"

namespace {

void Convert(std::string text) {
  dxg::trace::VmbusCapture capture([&](const dxg::TraceItem& item) {
    FUZZ_CHECK(item.has_lost() || item.record().has_host_command());
    return dxg::Status::Ok();
  });
  std::FILE* const file = fmemopen(text.data(), text.size(), "r");
  FUZZ_CHECK(capture.Read(file).ok());
  std::fclose(file);
  FUZZ_CHECK(capture.not_understood() == 0 || capture.first_not_understood() != 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data), size);  // Safety: any bytes are chars
  Convert(bytes);
  Convert("> ffff 40 1 type 6 flags 1 " + bytes + "\n< ffff 24 " + bytes);
  return 0;
}
