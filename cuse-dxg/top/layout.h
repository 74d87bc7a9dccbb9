#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cuse-dxg/top/picture.h"

// A picture as lines of text. Nothing here knows a terminal.

namespace dxg::top {

enum class Tone : uint8_t { kPlain, kTitle, kBar, kWarn, kBad, kSelected, kDim };

struct Piece {
  std::string text;
  Tone tone = Tone::kPlain;
};
using Line = std::vector<Piece>;
using Frame = std::vector<Line>;

struct View {
  SortBy sort = SortBy::kMemory;
  bool frozen = false;
  bool help = false;
  uint64_t opened = 0;    // the process that is shown alone; 0: all
  uint64_t selected = 0;  // its line is marked; 0: none
  bool keys = true;       // the last line names the keys
  std::string note;       // stands instead of them, once
};

struct Size {
  size_t columns = 80;
  size_t rows = 24;  // 0: as many as there are lines
};

// At most `size` lines and columns, ASCII. `picture.processes` is sorted.
Frame Layout(const Picture& picture, const View& view, Size size);

// Without tones, a newline behind each line and no spaces at ends.
std::string ToText(const Frame& frame);

std::string BytesText(uint64_t bytes);  // "1.0 GiB"; at most 10 letters

}  // namespace dxg::top
