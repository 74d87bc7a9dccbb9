// Random bytes as the answers of a daemon: two samples always come to a picture, which fits every terminal
// and holds nothing that a terminal obeys.
#include <cstddef>
#include <cstdint>

#include "cuse-dxg/top/json.h"
#include "cuse-dxg/top/layout.h"
#include "tests/fuzz/fuzz_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dxg::top;
  constexpr size_t kColumnsMax = 140, kRowsMax = 50;
  const size_t half = size / 2;
  dxg::ControlReply before, now;
  (void)before.ParseFromArray(data, static_cast<int>(half));
  (void)now.ParseFromArray(data + half, static_cast<int>(size - half));
  Picture picture = MakePicture(before.live(), now.live());
  Sort(&picture.processes, kSortKeys[size % (sizeof kSortKeys / sizeof *kSortKeys)]);
  const Size room{1 + size % kColumnsMax, size % kRowsMax};
  const uint64_t opened = size % 2 == 0 || picture.processes.empty() ? 0 : picture.processes[0].pid;
  const Frame frame = Layout(picture, {.opened = opened, .note = {}}, room);
  FUZZ_CHECK(room.rows == 0 || frame.size() <= room.rows);
  for (const Line& line : frame) {
    size_t length = 0;
    for (const Piece& piece : line) {
      length += piece.text.size();
      for (const unsigned char letter : piece.text) FUZZ_CHECK(letter >= ' ' && letter < 127);
    }
    FUZZ_CHECK(length <= room.columns);
  }
  FUZZ_CHECK(ToJson(picture).ends_with("}\n"));
  return 0;
}
