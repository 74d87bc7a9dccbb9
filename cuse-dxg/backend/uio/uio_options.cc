#include "cuse-dxg/backend/uio/uio_options.h"

#include <cerrno>

#include "base/page.h"
#include "cuse-dxg/backend/uio/iomem.h"

namespace dxg::vmbus {
namespace {

std::optional<uint64_t> ParseSize(std::string_view text) {
  unsigned shift = 0;
  if (text.ends_with('K')) shift = 10;
  if (text.ends_with('M')) shift = 20;
  if (text.ends_with('G')) shift = 30;
  if (shift != 0) text.remove_suffix(1);
  const auto size = ParseNumber(text);
  if (!size || *size > UINT64_MAX >> shift) return std::nullopt;
  return *size << shift;
}

}  // namespace

Result<WindowWanted> WindowWanted::Parse(std::string_view text) {
  const auto refuse = [text](const char* what) {
    return Status::Refuse(
        EINVAL, "window '{}': {}; expected START+LENGTH, 0x1000000000+512M for example, or hole+LENGTH", text,
        what);
  };
  const size_t plus = text.find('+');
  if (plus == std::string_view::npos) return refuse("there is no +");
  WindowWanted wanted;
  const std::string_view start = text.substr(0, plus);
  if (start != "hole") {
    wanted.start = ParseNumber(start);
    if (!wanted.start || *wanted.start % kWindowAlignment != 0)
      return refuse("START is no multiple of 64 KiB");
  }
  const auto length = ParseSize(text.substr(plus + 1));
  if (!length || *length == 0 || *length % kPageBytes != 0)
    return refuse("LENGTH is no number of whole pages of 4 KiB");
  wanted.length = *length;
  if (wanted.start.value_or(0) > UINT64_MAX - wanted.length) return refuse("it ends behind the last address");
  return wanted;
}

}  // namespace dxg::vmbus
