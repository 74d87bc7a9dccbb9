#include "cuse-dxg/top/interaction.h"

#include <ncurses.h>

#include <algorithm>
#include <iterator>

namespace dxg::top {
namespace {

constexpr int kControlC = 3, kControlL = 12, kEscape = 27, kDelete = 127;

struct SortKey {
  int key;
  SortBy by;
};
constexpr SortKey kKeys[] = {{'M', SortBy::kMemory},  {'G', SortBy::kGpu},   {'C', SortBy::kCalls},
                             {'R', SortBy::kRefused}, {'W', SortBy::kWaits}, {'P', SortBy::kPid},
                             {'N', SortBy::kName}};

}  // namespace

Interaction::What Interaction::Move(const Picture& picture, int lines) {
  if (view_.opened != 0 || picture.processes.empty()) return What::kNothing;
  const auto& all = picture.processes;
  const auto at = std::find_if(all.begin(), all.end(),
                               [this](const Process& each) { return each.pid == view_.selected; });
  const auto last = static_cast<ptrdiff_t>(all.size()) - 1;
  const ptrdiff_t to = at == all.end() ? 0 : std::clamp<ptrdiff_t>(at - all.begin() + lines, 0, last);
  view_.selected = all[static_cast<size_t>(to)].pid;
  return What::kNothing;
}

Interaction::What Interaction::Press(int key, const Picture& picture) {
  for (const SortKey& each : kKeys) {
    if (each.key == key) view_.sort = each.by;
  }
  switch (key) {
    case 'q':
    case kControlC:
      return What::kQuit;
    case 'h':
    case '?':
      view_.help = !view_.help;
      return What::kNothing;
    case 's': {
      const auto* const now = std::find(std::begin(kSortKeys), std::end(kSortKeys), view_.sort);
      view_.sort = std::next(now) == std::end(kSortKeys) ? kSortKeys[0] : *std::next(now);
      return What::kNothing;
    }
    case 'f':
    case ' ':
      view_.frozen = !view_.frozen;
      return view_.frozen ? What::kNothing : What::kAsk;
    case 'j':
    case KEY_DOWN:
      return Move(picture, 1);
    case 'k':
    case KEY_UP:
      return Move(picture, -1);
    case '\r':
    case '\n':
    case KEY_ENTER:
      if (view_.opened == 0) view_.opened = view_.selected;
      return What::kAsk;
    case kEscape:
    case KEY_BACKSPACE:
    case kDelete:
    case '\b':
      if (view_.help) {
        view_.help = false;
      } else {
        view_.opened = 0;
      }
      return What::kNothing;
    case kControlL:
      return What::kDrawAnew;
    default:
      return What::kNothing;
  }
}

void Interaction::Settle(Picture* picture) {
  Sort(&picture->processes, view_.sort);
  const auto& all = picture->processes;
  if (std::none_of(all.begin(), all.end(),
                   [this](const Process& each) { return each.pid == view_.selected; }))
    view_.selected = 0;
}

}  // namespace dxg::top
