#include "cuse-dxg/top/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "cuse-dxg/control/print.h"

namespace dxg::top {
namespace {

constexpr size_t kEndless = 1u << 20;  // more rows than there are lines
constexpr double kBusy = 0.9;          // from here on a bar warns

// At most 8 letters.
std::string RateText(double per_second) {
  constexpr double kThousand = 1e3, kMillion = 1e6, kTooMuch = 1e9;
  if (per_second >= kTooMuch) return ">=1e9";
  if (per_second >= kMillion * 10) return fmt::format("{:.1f}M", per_second / kMillion);
  if (per_second >= kThousand * 100) return fmt::format("{:.1f}k", per_second / kThousand);
  return per_second != 0 && per_second < 10 ? fmt::format("{:.1f}", per_second)
                                            : fmt::format("{:.0f}", per_second);
}

std::string CountText(uint64_t count) {
  constexpr uint64_t kLong = 100'000;
  return count < kLong ? fmt::format("{}", count) : RateText(static_cast<double>(count));
}

std::string AgeText(double seconds) {
  constexpr double kMinute = 60, kHour = 3600, kDay = 86400;
  if (seconds < kMinute) return fmt::format("{:.0f}s", seconds);
  if (seconds < kHour) return fmt::format("{:.0f}m", seconds / kMinute);
  return seconds < kDay ? fmt::format("{:.0f}h", seconds / kHour) : fmt::format("{:.0f}d", seconds / kDay);
}

Line Bar(const std::string& head, double part, size_t width, std::string tail) {
  const double shown = std::clamp(part, 0.0, 1.0);
  const auto full = static_cast<size_t>(std::lround(shown * static_cast<double>(width)));
  return {{head + "["},
          {std::string(full, '|'), part >= kBusy ? Tone::kWarn : Tone::kBar},
          {std::string(width - full, ' ') + "] " + std::move(tail)}};
}

// -- Parts of the picture.

Line Title(const Picture& picture, const View& view) {
  std::string text = "cuse-dxg top";
  text += fmt::format("  {} process{}", picture.processes.size(), picture.processes.size() == 1 ? "" : "es");
  if (picture.has_guest)
    text += fmt::format("  {} calls/s  {} refused/s", RateText(picture.calls_per_second),
                        RateText(picture.refused_per_second));
  text += fmt::format("  {} wait{}", picture.waits, picture.waits == 1 ? "" : "s");
  Line line = {{text, Tone::kTitle}};
  if (view.frozen) line.push_back({"  frozen", Tone::kWarn});
  return line;
}

void AddMemory(const char* name, const Memory& memory, size_t bar, Frame* frame) {
  if (memory.size == 0) return;
  const double part =
      memory.budget == 0 ? 0 : static_cast<double>(memory.used) / static_cast<double>(memory.budget);
  frame->push_back(Bar(fmt::format("  {:<12}", name), part, bar,
                       fmt::format("{:>10} of {:>10}", BytesText(memory.used), BytesText(memory.budget))));
}

Frame AdapterLines(const Picture& picture, size_t columns) {
  const size_t bar = std::clamp<size_t>(columns / 4, 4, 40);
  Frame frame;
  if (picture.adapters.empty()) frame.push_back({{"No adapter is there."}});
  for (const Adapter& adapter : picture.adapters) {
    std::string head = fmt::format("{}  {}", control::LuidText(adapter.luid), adapter.description);
    Line line = {{std::move(head), Tone::kTitle}};
    if (adapter.resets != 0)
      line.push_back(
          {fmt::format("  {} reset{}", adapter.resets, adapter.resets == 1 ? "" : "s"), Tone::kBad});
    frame.push_back(std::move(line));
    AddMemory("local", adapter.local, bar, &frame);
    AddMemory("non-local", adapter.non_local, bar, &frame);
    for (size_t i = 0; i < adapter.engines.size(); ++i) {
      const Engine& engine = adapter.engines[i];
      constexpr double kPercent = 100;
      Line bar_line =
          Bar(fmt::format("  {:<12}", fmt::format("{} {:.9}", i, engine.name)), engine.load, bar,
              fmt::format("{:>5.1f} %  {} queue{}, {} ready, {}/s", kPercent * engine.load, engine.queues,
                          engine.queues == 1 ? "" : "s", engine.ready, RateText(engine.commands_per_second)));
      if (engine.faulted != 0) bar_line.push_back({fmt::format("  {} faulted", engine.faulted), Tone::kBad});
      frame.push_back(std::move(bar_line));
    }
  }
  return frame;
}

// A column of the table. They stand in the order of what one misses least last: a narrow terminal drops from
// behind.
struct Column {
  const char* head;
  size_t width;
  bool left;
  std::string (*cell)(const Process&);
};
std::string OfGuest(const Process& process, const std::string& text) {
  return process.has_guest ? text : "-";
}
const Column kColumns[] = {
    {"PID", 7, false, [](const Process& p) { return fmt::format("{}", p.pid); }},
    {"NAME", 15, true, [](const Process& p) { return p.name; }},
    {"LOCAL", 10, false, [](const Process& p) { return BytesText(p.local); }},
    {"GPU%", 5, false, [](const Process& p) { return fmt::format("{:.1f}", p.load * 100); }},
    {"CALLS/S", 7, false, [](const Process& p) { return OfGuest(p, RateText(p.calls_per_second)); }},
    {"REFUSED", 7, false, [](const Process& p) { return OfGuest(p, CountText(p.refused)); }},
    {"WAITS", 6, false, [](const Process& p) { return OfGuest(p, CountText(p.waits())); }},
    {"NONLOCAL", 10, false, [](const Process& p) { return BytesText(p.non_local); }},
    {"ALLOCATED", 10, false, [](const Process& p) { return OfGuest(p, BytesText(p.bytes)); }},
    {"CALLS", 7, false, [](const Process& p) { return OfGuest(p, CountText(p.calls)); }},
    {"QUEUED", 6, false, [](const Process& p) { return CountText(p.queued); }},
    {"USER", 7, false, [](const Process& p) { return OfGuest(p, fmt::format("{}", p.user)); }},
};

// How many of them there is room for.
size_t ColumnsThatFit(size_t columns) {
  size_t fit = 0, used = 0;
  for (const Column& column : kColumns) {
    used += column.width + (fit == 0 ? 0 : 1);
    if (used > columns) break;
    ++fit;
  }
  return std::max<size_t>(fit, 1);
}

template <class Cell>
std::string Row(size_t fit, Cell cell) {
  std::string row;
  for (size_t i = 0; i < fit; ++i) {
    const Column& column = kColumns[i];
    const std::string text = cell(column).substr(0, column.width);
    row += i == 0 ? "" : " ";
    row +=
        column.left ? fmt::format("{:<{}}", text, column.width) : fmt::format("{:>{}}", text, column.width);
  }
  return row;
}

// The head, and as many processes as there is room for, with the selected one among them.
Frame ProcessLines(const Picture& picture, const View& view, size_t columns, size_t rows) {
  Frame frame;
  const size_t fit = ColumnsThatFit(columns);
  frame.push_back({{Row(fit, [](const Column& column) { return std::string(column.head); }), Tone::kTitle}});
  if (picture.processes.empty()) frame.push_back({{"No process has the node open."}});
  const size_t room = rows > 1 ? rows - 1 : 0;
  size_t first = 0;
  for (size_t i = room; i < picture.processes.size() && room != 0; ++i) {
    if (picture.processes[i].pid == view.selected) first = i + 1 - room;
  }
  const size_t end = std::min(picture.processes.size(), first + room);
  for (size_t i = first; i < end; ++i) {
    const Process& process = picture.processes[i];
    const bool selected = view.selected != 0 && process.pid == view.selected;
    frame.push_back({{Row(fit, [&](const Column& column) { return column.cell(process); }),
                      selected ? Tone::kSelected : Tone::kPlain}});
  }
  return frame;
}

Frame RefusalLines(const Picture& picture, uint64_t process) {
  Frame frame;
  for (const Refusal& refusal : picture.refusals) {
    if (process != 0 && refusal.process != process) continue;
    if (frame.empty()) frame.push_back({{"Refused lately", Tone::kTitle}});
    std::string who = refusal.process == 0 ? "?" : fmt::format("{}", refusal.process);
    if (process == 0) who += " " + refusal.name;
    frame.push_back({{fmt::format("{:>4} ago  {}  {} ", AgeText(refusal.seconds_ago), who, refusal.call)},
                     {refusal.error, Tone::kBad},
                     {fmt::format("{}{}{}", refusal.count > 1 ? fmt::format(" x{}", refusal.count) : "",
                                  refusal.why.empty() ? "" : ": ", refusal.why)}});
  }
  return frame;
}

Line Footer(const View& view) {
  if (!view.note.empty()) return {{view.note, Tone::kWarn}};
  if (view.opened != 0) return {{"Esc all processes  f freeze  h help  q quit", Tone::kDim}};
  return {{fmt::format("q quit  h help  s sort ({})  f freeze  Up, Down, Enter open a process",
                       SortName(view.sort)),
           Tone::kDim}};
}

// -- What fills the space below the title.

void Append(Frame more, size_t most, Frame* frame) {
  if (more.size() > most) more.resize(most);
  std::move(more.begin(), more.end(), std::back_inserter(*frame));
}

// `fixed`: there are so many rows, and no fewer.
void AddAll(const Picture& picture, const View& view, size_t columns, size_t rows, bool fixed, Frame* frame) {
  constexpr size_t kProcessesMin = 4;  // lines, where there is room for anything else
  constexpr size_t kRefusalsMax = 6;
  Frame adapters = AdapterLines(picture, columns), refusals = RefusalLines(picture, 0);
  auto left = [&](size_t used) { return rows > used + kProcessesMin ? rows - used - kProcessesMin : 0; };
  const size_t of_adapters = std::min(adapters.size(), left(0));
  const size_t of_refusals = std::min({refusals.size(), kRefusalsMax, left(of_adapters)});
  Append(std::move(adapters), of_adapters, frame);
  Append(ProcessLines(picture, view, columns, rows - of_adapters - of_refusals),
         rows - of_adapters - of_refusals, frame);
  // They stand at the bottom, so that nothing jumps when a process comes or goes.
  if (fixed && of_refusals != 0) frame->resize(std::max(frame->size(), rows - of_refusals + 1));
  Append(std::move(refusals), of_refusals, frame);
}

void AddNamed(const char* head, const std::vector<NamedCount>& counts, bool rates, Frame* frame) {
  if (counts.empty()) return;
  frame->push_back({{head, Tone::kTitle}});
  for (const NamedCount& each : counts) {
    Line line = {{fmt::format("  {:<36}{:>10}", each.name, each.count)}};
    if (rates) line.push_back({fmt::format("{:>10}/s", RateText(each.per_second))});
    if (each.refused != 0) line.push_back({fmt::format("  {} refused", each.refused), Tone::kBad});
    frame->push_back(std::move(line));
  }
}

Frame ProcessPage(const Picture& picture, uint64_t pid) {
  const auto found = std::find_if(picture.processes.begin(), picture.processes.end(),
                                  [pid](const Process& each) { return each.pid == pid; });
  if (found == picture.processes.end())
    return {{{fmt::format("Process {} has closed the node.", pid), Tone::kWarn}}};
  const Process& process = *found;
  Frame frame;
  frame.push_back(
      {{fmt::format("Process {}  {}  user {}", process.pid, process.name, process.user), Tone::kTitle}});
  frame.push_back(
      {{fmt::format("  memory   {} local, {} non-local resident; {} allocated", BytesText(process.local),
                    BytesText(process.non_local), BytesText(process.bytes))}});
  constexpr double kPercent = 100, kNsPerMs = 1e6;
  frame.push_back(
      {{fmt::format("  GPU      {:.1f} %, {:.1f} ms so far, {} packets queued", kPercent * process.load,
                    static_cast<double>(process.running_ns) / kNsPerMs, process.queued)}});
  frame.push_back({{fmt::format("  calls    {} ({}/s), {} refused, {} objects, {} points waited for",
                                process.calls, RateText(process.calls_per_second), process.refused,
                                process.objects, process.wait_points)}});
  AddNamed("Waits in", process.waiting, false, &frame);
  AddNamed("Calls", process.by_name, true, &frame);
  Frame refusals = RefusalLines(picture, pid);
  const size_t count = refusals.size();
  Append(std::move(refusals), count, &frame);
  return frame;
}

Frame HelpPage() {
  Frame frame;
  for (const char* line :
       {"Keys", "  q, Ctrl-C       quit", "  h, ?            this help, or back",
        "  s               sort by the next of: memory, gpu, calls, refused, waits, pid, name",
        "  M G C R W P N   sort by that one", "  f, Space        freeze the picture, or go on",
        "  Up, Down, j, k  select a process", "  Enter           open it: its calls by name",
        "  Esc, Backspace  back to all of them", "  Ctrl-L          draw anew", "",
        "LOCAL, NONLOCAL  bytes that are resident in that segment group",
        "ALLOCATED        bytes of allocations, as they were asked for",
        "GPU%             of the time, how long the engine that it used most had its commands",
        "REFUSED          calls that ended with an error, so far",
        "WAITS            calls that have no answer yet"})
    frame.push_back({{line, Tone::kPlain}});
  frame.front().front().tone = Tone::kTitle;
  return frame;
}

void Cut(Line* line, size_t columns) {
  size_t used = 0;
  for (Piece& piece : *line) {
    piece.text.resize(std::min(piece.text.size(), columns - used));
    used += piece.text.size();
  }
}

}  // namespace

std::string BytesText(uint64_t bytes) {
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  constexpr uint64_t kStep = 1024;
  if (bytes < kStep) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / kStep;
  size_t unit = 0;
  // As it is going to be rounded.
  constexpr double kNext = 1023.95;
  for (; value >= kNext && unit + 1 < std::size(kUnits); ++unit) value /= kStep;
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

Frame Layout(const Picture& picture, const View& view, Size size) {
  const bool endless = size.rows == 0;  // as text: nothing has a place at the bottom
  const size_t rows = endless ? kEndless : size.rows;
  const size_t footer = view.keys && !endless && rows > 1 ? 1 : 0;
  const size_t inner = rows - 1 - footer;  // below the title
  Frame frame = {Title(picture, view)};
  if (view.help) {
    Append(HelpPage(), inner, &frame);
  } else if (view.opened != 0) {
    Append(ProcessPage(picture, view.opened), inner, &frame);
  } else {
    AddAll(picture, view, size.columns, inner, footer != 0, &frame);
  }
  if (footer != 0) {
    frame.resize(rows - 1);
    frame.push_back(Footer(view));
  }
  for (Line& line : frame) Cut(&line, size.columns);
  return frame;
}

std::string ToText(const Frame& frame) {
  std::string text;
  for (const Line& line : frame) {
    std::string row;
    for (const Piece& piece : line) row += piece.text;
    row.resize(row.find_last_not_of(' ') + 1);  // npos + 1 is 0
    text += row + "\n";
  }
  return text;
}

}  // namespace dxg::top
