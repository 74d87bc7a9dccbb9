#include "cuse-dxg/top/command.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <optional>
#include <vector>

#include "base/unique_fd.h"
#include "cuse-dxg/control/address.h"
#include "cuse-dxg/top/conversation.h"
#include "cuse-dxg/top/interaction.h"
#include "cuse-dxg/top/json.h"
#include "cuse-dxg/top/picture.h"
#include "cuse-dxg/top/screen.h"

namespace dxg::top {
namespace {

using Clock = Conversation::Clock;

int MsUntil(Clock::time_point then) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(then - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 3'600'000));
}

// A sample now, waiting for it.
Result<ControlReply::Live> SampleNow(Conversation& daemon, uint64_t process) {
  DXG_TRY(daemon.Begin(process, Clock::now()));
  for (;;) {
    pollfd answer = {daemon.fd(), POLLIN, 0};
    (void)poll(&answer, 1, MsUntil(daemon.deadline()));
    DXG_ASSIGN(const bool whole, daemon.GoOn(Clock::now()));
    if (whole) return daemon.TakeLive();
  }
}

// False: it could not be printed, as where nobody reads a pipe any more.
bool PrintNow(const std::string& text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
}

size_t ColumnsOfOutput() {
  constexpr size_t kColumns = 110;  // in a pipe
  winsize window = {};
  const bool known = isatty(STDOUT_FILENO) != 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0;
  return known && window.ws_col != 0 ? window.ws_col : kColumns;
}

// All that a terminal or a shell may send, as a file.
Result<UniqueFd> TakeSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int each : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH})
    sigaddset(&signals, each);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  UniqueFd file(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!file.valid()) return Status::Refuse(errno, "no signalfd can be had: {}", std::strerror(errno));
  return file;
}

void LetThrough(int number) {
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, number);
  sigprocmask(SIG_UNBLOCK, &one, nullptr);
}

// As if nobody had caught it: stopped by SIGTSTP it comes back, by others it ends here.
void Obey(int number) {
  raise(number);
  LetThrough(number);
  sigset_t again;
  sigemptyset(&again);
  sigaddset(&again, number);
  sigprocmask(SIG_BLOCK, &again, nullptr);
}

// The picture on a terminal, until a key or a signal ends it.
class Display {
 public:
  Display(Conversation& daemon, Screen& screen, int signals, Clock::duration interval, View view)
      : daemon_(daemon),
        screen_(screen),
        signals_(signals),
        interval_(interval),
        interaction_(std::move(view)) {}

  Status Run(int* ended_by) {
    DXG_TRY(daemon_.Begin(interaction_.view().opened, Clock::now()));
    Draw();
    for (;;) {
      Wait();
      if (const int signal = TakeSignals(); signal != 0) {
        *ended_by = signal;
        return Status::Ok();
      }
      if (TakeKeys()) return Status::Ok();
      DXG_TRY(Ask());
      if (stale_) Draw();
    }
  }

 private:
  void Wait() {
    const bool asking = daemon_.is_asking();
    pollfd events[] = {
        {STDIN_FILENO, POLLIN, 0}, {signals_, POLLIN, 0}, {asking ? daemon_.fd() : -1, POLLIN, 0}};
    (void)poll(events, std::size(events), MsUntil(asking ? daemon_.deadline() : next_));
    // A terminal that is gone is read without end.
    gone_ = (events[0].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
  }

  // The one that ends it, or 0.
  int TakeSignals() {
    signalfd_siginfo info;
    while (read(signals_, &info, sizeof info) == sizeof info) {
      const int number = static_cast<int>(info.ssi_signo);
      switch (number) {
        case SIGWINCH:
          screen_.Resize();
          break;
        case SIGTSTP:
          screen_.Leave();
          Obey(SIGTSTP);
          screen_.Return();
          break;
        case SIGCONT:  // after a stop that asks nobody
          screen_.Return();
          break;
        default:
          return number;
      }
      stale_ = true;
    }
    return gone_ ? SIGHUP : 0;
  }

  // True: quit.
  bool TakeKeys() {
    for (int key = screen_.Key(); key != -1; key = screen_.Key()) {
      stale_ = true;
      switch (interaction_.Press(key, picture_)) {
        case Interaction::What::kQuit:
          return true;
        case Interaction::What::kDrawAnew:
          screen_.DrawAnew();
          break;
        case Interaction::What::kAsk:
          next_ = Clock::now();
          break;
        case Interaction::What::kNothing:
          break;
      }
    }
    return false;
  }

  Status Ask() {
    const Clock::time_point now = Clock::now();
    if (!daemon_.is_asking() && now >= next_) DXG_TRY(daemon_.Begin(interaction_.view().opened, now));
    if (!daemon_.is_asking()) return Status::Ok();
    DXG_ASSIGN(const bool whole, daemon_.GoOn(now));
    if (!whole) return Status::Ok();
    next_ = now + interval_;
    ControlReply::Live live = daemon_.TakeLive();
    // A frozen picture stays, and the next rates are of one interval all the same.
    if (!interaction_.view().frozen) {
      picture_ = MakePicture(before_, live);
      stale_ = true;
    }
    before_ = std::move(live);
    return Status::Ok();
  }

  void Draw() {
    interaction_.Settle(&picture_);
    screen_.Draw(Layout(picture_, interaction_.view(), screen_.size()));
    stale_ = false;
  }

  Conversation& daemon_;
  Screen& screen_;
  const int signals_;
  const Clock::duration interval_;
  Interaction interaction_;
  Clock::time_point next_{};
  ControlReply::Live before_;
  Picture picture_;
  bool stale_ = true;
  bool gone_ = false;
};

}  // namespace

Command::Command(CLI::App& app) {
  top_ =
      app.add_subcommand("top", "Show adapters, engines, processes and refusals of a running daemon, live");
  path_ = control::kPathDefault;
  top_->add_option("--control", path_, "The daemon's socket; `run` sets the variable")
      ->type_name("PATH")
      ->envname(control::kPathVariable)
      ->configurable(false)
      ->capture_default_str();
  constexpr double kIntervalMin = 0.1, kIntervalMax = 3600;
  top_->add_option("--interval", interval_s_, "Seconds between pictures, over which rates are taken")
      ->type_name("SECONDS")
      ->check(CLI::Range(kIntervalMin, kIntervalMax))
      ->capture_default_str();
  CLI::Option* once =
      top_->add_flag("--once", once_, "One picture as text, after one interval; no terminal is needed");
  top_->add_flag("--json", json_, "A JSON object for each interval, on a line of its own");
  top_->add_option("--count", count_, "End after N objects or texts; 0: never")
      ->type_name("N")
      ->excludes(once);
  std::vector<std::string> keys;
  for (const SortBy key : kSortKeys) keys.emplace_back(SortName(key));
  top_->add_option("--sort", sort_, "What the processes are sorted by")
      ->check(CLI::IsMember(keys))
      ->capture_default_str();
  top_->add_option("--process", process_, "Open this process: its calls by name")->type_name("PID");
  top_->footer(
      "Keys: q quit, h help, s sort, f freeze, Enter open the selected process. NO_COLOR=1 takes the colours "
      "away.\n"
      "docs/top.md explains what is shown, and has the schema of --json.\n"
      "Exit status: 0; 1 if the daemon is not there, ends, does not answer or answers nonsense, with the "
      "reason on\n"
      "stderr; 2 if the command line is wrong.");
}

SortBy Command::sort() const {
  for (const SortBy key : kSortKeys) {
    if (sort_ == SortName(key)) return key;
  }
  return SortBy::kMemory;
}

Status Command::Print() const {
  Conversation daemon(path_);
  const auto interval =
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(interval_s_));
  Clock::time_point next = Clock::now();
  DXG_ASSIGN(ControlReply::Live before, SampleNow(daemon, process_));
  const uint64_t count = once_ ? 1 : count_;
  for (uint64_t printed = 0; count == 0 || printed < count; ++printed) {
    next = std::max(next + interval, Clock::now());
    while (Clock::now() < next) (void)poll(nullptr, 0, MsUntil(next));
    DXG_ASSIGN(ControlReply::Live now, SampleNow(daemon, process_));
    Picture picture = MakePicture(before, now);
    Sort(&picture.processes, sort());
    const View view{.sort = sort(), .opened = process_, .keys = false, .note = {}};
    if (!PrintNow(json_ ? ToJson(picture) : ToText(Layout(picture, view, {ColumnsOfOutput(), 0}))))
      return Status::Refuse(errno, "cannot write: {}", std::strerror(errno));
    before = std::move(now);
  }
  return Status::Ok();
}

Status Command::Show(int* ended_by) const {
  Conversation daemon(path_);
  // Before the terminal is taken: what is wrong already is said where it can be read.
  DXG_TRY(SampleNow(daemon, 0).status());
  DXG_ASSIGN(const UniqueFd signals, TakeSignals());
  DXG_ASSIGN(const std::unique_ptr<Screen> screen, Screen::Open());
  const auto interval =
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(interval_s_));
  Display display(daemon, *screen, signals.get(), interval, {.sort = sort(), .opened = process_, .note = {}});
  return display.Run(ended_by);
}

int Command::Run() const {
  int ended_by = 0;
  Status status;
  try {
    status = once_ || json_ || count_ != 0 ? Print() : Show(&ended_by);
  } catch (const std::exception& error) {
    status = Status::Refuse(ENOMEM, "{}", error.what());
  }
  if (ended_by != 0) {
    raise(ended_by);
    LetThrough(ended_by);
  }
  if (status.ok()) return 0;
  fmt::print(stderr, "cuse-dxg top: {}\n", status.why());
  return 1;
}

}  // namespace dxg::top
