// Random bytes as what the kernel and the user write of a VMBus: whatever is understood is so in every
// respect.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "cuse-dxg/backend/uio/iomem.h"
#include "cuse-dxg/backend/uio/sysfs.h"
#include "cuse-dxg/backend/uio/uevents.h"
#include "cuse-dxg/backend/uio/uio_options.h"
#include "link/vmbus/guid.h"
#include "tests/fuzz/fuzz_check.h"

namespace dxg::vmbus {
namespace {

void CheckHole(std::string_view text) {
  auto ranges = ParseIomem(text);
  if (!ranges.ok()) return;
  const uint64_t length = uint64_t{1} << (12 + text.size() % 30);
  auto hole = ChooseHole(*ranges, length, ParseAddressBits(text));
  if (!hole.ok()) return;
  FUZZ_CHECK(*hole % kWindowAlignment == 0 && *hole >= kWindowFirst && *hole + length <= kWindowEnd);
  for (const AddressRange& range : *ranges) {
    FUZZ_CHECK(range.is_room() || range.last < *hole || range.first >= *hole + length);
  }
}

void CheckWindow(std::string_view text) {
  auto window = WindowWanted::Parse(text);
  if (!window.ok()) return;
  FUZZ_CHECK(window->length != 0 && window->length % 4096 == 0);
  FUZZ_CHECK(window->start.value_or(0) % kWindowAlignment == 0 &&
             window->start.value_or(0) + window->length > window->start.value_or(0));
}

}  // namespace
}  // namespace dxg::vmbus

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dxg::vmbus;
  const std::string copy(reinterpret_cast<const char*>(data), size);  // Safety: any bytes are chars
  const std::string_view text = copy;
  if (const auto guid = Guid::Parse(text)) FUZZ_CHECK(Guid::Parse(guid->text()) == guid);
  if (const auto number = ParseNumber(text)) FUZZ_CHECK(ParseNumber(std::to_string(*number)) == number);
  const unsigned bits = ParseAddressBits(text);
  FUZZ_CHECK(bits >= 32 && bits <= 57);
  (void)ConcernsUs(text);
  CheckHole(text);
  CheckWindow(text);
  return 0;
}
