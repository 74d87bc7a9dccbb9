#include "cuse-dxg/top/screen.h"

#include <ncurses.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <term.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

// term.h makes macros of these.
#undef tone
#undef columns
#undef lines

namespace dxg::top {
namespace {

constexpr int kCrashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

// What a crash needs to give the terminal back, where nothing may be called that is not safe in a signal
// handler.
termios before_us;
std::array<char, 128> farewell;
size_t farewell_bytes = 0;

void GiveBack(int signal) {
  tcsetattr(STDIN_FILENO, TCSANOW, &before_us);
  if (write(STDOUT_FILENO, farewell.data(), farewell_bytes) < 0) {
    // There is nobody left to tell.
  }
  raise(signal);  // its handler is the default again: SA_RESETHAND
}

void PrepareForCrashes() {
  farewell_bytes = 0;
  for (const char* name : {"sgr0", "cnorm", "rmkx", "rmcup"}) {
    const char* const text = tigetstr(name);
    if (text == nullptr || text == reinterpret_cast<char*>(-1)) continue;  // Safety: only compared
    farewell_bytes +=
        std::string_view(text).copy(farewell.data() + farewell_bytes, farewell.size() - farewell_bytes);
  }
  struct sigaction action = {};
  action.sa_handler = GiveBack;
  action.sa_flags = SA_RESETHAND | SA_NODEFER;
  for (const int signal : kCrashes) sigaction(signal, &action, nullptr);
}

enum Pair : short { kGreen = 1, kYellow, kRed, kCyan };

chtype AttributesOf(Tone tone, bool colours) {
  auto colour = [colours](Pair pair) -> chtype { return colours ? COLOR_PAIR(pair) : A_NORMAL; };
  switch (tone) {
    case Tone::kPlain:
      return A_NORMAL;
    case Tone::kTitle:
      return A_BOLD | colour(kCyan);
    case Tone::kBar:
      return colour(kGreen);
    case Tone::kWarn:
      return A_BOLD | colour(kYellow);
    case Tone::kBad:
      return A_BOLD | colour(kRed);
    case Tone::kSelected:
      return A_REVERSE;
    case Tone::kDim:
      return A_DIM;
  }
  return A_NORMAL;
}

}  // namespace

Result<std::unique_ptr<Screen>> Screen::Open() {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0)
    return Status::Refuse(
        EINVAL, "standard input and output have to be a terminal; without one, use --once or --json");
  tcgetattr(STDIN_FILENO, &before_us);
  const char* const kind = std::getenv("TERM");
  // newterm, because initscr ends the process where it does not know the terminal.
  if (kind == nullptr || *kind == '\0' || newterm(nullptr, stdout, stdin) == nullptr)
    return Status::Refuse(
        EINVAL,
        "TERM is '{}', which is no terminal that ncurses knows; set it to xterm for example, or "
        "use --once or --json",
        kind == nullptr ? "" : kind);
  std::unique_ptr<Screen> screen(new Screen);
  // From here on its destructor puts everything back.
  for (const int each : {SIGINT, SIGTERM, SIGTSTP, SIGWINCH})
    signal(each, SIG_DFL);  // they come through a file
  PrepareForCrashes();
  cbreak();
  noecho();
  nonl();
  keypad(stdscr, TRUE);
  nodelay(stdscr, TRUE);
  set_escdelay(25);
  curs_set(0);
  // https://no-color.org: any text that is not empty.
  const char* const no_colour = std::getenv("NO_COLOR");
  if ((no_colour == nullptr || *no_colour == '\0') && has_colors()) {
    start_color();
    use_default_colors();
    constexpr short kBehind = -1;  // as the user has it
    init_pair(kGreen, COLOR_GREEN, kBehind);
    init_pair(kYellow, COLOR_YELLOW, kBehind);
    init_pair(kRed, COLOR_RED, kBehind);
    init_pair(kCyan, COLOR_CYAN, kBehind);
    screen->colours_ = true;
  }
  return screen;
}

Screen::~Screen() {
  endwin();
  for (const int each : kCrashes) signal(each, SIG_DFL);
}

Size Screen::size() const {
  return {static_cast<size_t>(std::max(getmaxx(stdscr), 1)),
          static_cast<size_t>(std::max(getmaxy(stdscr), 1))};
}

void Screen::Draw(const Frame& frame) {
  erase();
  const Size room = size();
  int row = 0;
  for (const Line& line : frame) {
    if (static_cast<size_t>(row) >= room.rows) break;
    move(row++, 0);
    size_t used = 0;
    for (const Piece& piece : line) {
      const size_t fits = std::min(piece.text.size(), room.columns - used);
      attrset(static_cast<int>(AttributesOf(piece.tone, colours_)));
      addnstr(piece.text.data(), static_cast<int>(fits));
      used += fits;
    }
  }
  attrset(A_NORMAL);
  refresh();
}

void Screen::DrawAnew() { clearok(stdscr, TRUE); }

void Screen::Resize() {
  winsize now = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &now) == 0 && now.ws_row != 0 && now.ws_col != 0)
    resizeterm(now.ws_row, now.ws_col);
  DrawAnew();
}

int Screen::Key() { return getch(); }

void Screen::Leave() { endwin(); }

// The shell may have set the terminal as it likes, and given the window another size.
void Screen::Return() {
  reset_prog_mode();
  Resize();
}

}  // namespace dxg::top
