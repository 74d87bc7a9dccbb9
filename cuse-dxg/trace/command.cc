#include "cuse-dxg/trace/command.h"

#include <fmt/format.h>
#include <regex.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

#include "base/printable.h"
#include "base/unique_fd.h"
#include "cuse-dxg/trace/csv.h"
#include "cuse-dxg/trace/diff.h"
#include "cuse-dxg/trace/objects.h"
#include "cuse-dxg/trace/print.h"
#include "cuse-dxg/trace/stats.h"
#include "cuse-dxg/trace/timeline.h"
#include "cuse-dxg/trace/vmbus_capture.h"
#include "link/trace/trace_file.h"
#include "link/trace/trace_writer.h"

namespace dxg::trace {
namespace {

// The same numbers as those of grep(1) and diff(1).
constexpr int kExitYes = 0;
constexpr int kExitNo = 1;
constexpr int kExitTrouble = 2;

// A regular expression as grep -E has it, against lines without their newlines.
class Pattern {
 public:
  static Result<std::unique_ptr<Pattern>> Make(const std::string& text, bool ignore_case) {
    std::unique_ptr<Pattern> made(new Pattern);
    const int error =
        regcomp(&made->regex_, text.c_str(), REG_EXTENDED | REG_NOSUB | (ignore_case ? REG_ICASE : 0));
    if (error == 0) {
      made->compiled_ = true;
      return made;
    }
    char why[256];
    regerror(error, &made->regex_, why, sizeof(why));
    return Status::Refuse(EINVAL, "\"{}\" is no regular expression: {}", Printable(text), why);
  }
  ~Pattern() {
    if (compiled_) regfree(&regex_);
  }
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;

  bool Matches(std::string_view line) const {
    if (line.ends_with('\n')) line.remove_suffix(1);
    regmatch_t part{.rm_so = 0, .rm_eo = static_cast<regoff_t>(line.size())};
    return regexec(&regex_, line.data(), 1, &part, REG_STARTEND) == 0;
  }

 private:
  Pattern() = default;
  regex_t regex_{};
  bool compiled_ = false;
};

// Calls `each` with the records that pass, and with their numbers; `lost` with how many are missing.
template <typename Each, typename Lost>
Status ForEachRecord(TraceReader& reader, const Filter& filter, const Each& each, const Lost& lost) {
  Decoder decoder;
  for (;;) {
    DXG_ASSIGN(const TraceReader::What what, reader.Next());
    if (what == TraceReader::What::kEnd) return Status::Ok();
    if (what == TraceReader::What::kLost) lost(reader.lost_here());
    if (what != TraceReader::What::kRecord || !filter.Passes(reader.record())) continue;
    if (Status decoded = decoder.Decode(reader.record()); !decoded.ok())
      return Status::Refuse(EINVAL, "record {}: {}", reader.records(), decoded.why());
    each(reader.record(), decoder, reader.records());
  }
}

template <typename Each>
Status ForEachRecord(TraceReader& reader, const Filter& filter, const Each& each) {
  return ForEachRecord(reader, filter, each, [](uint64_t) {});
}

// Where something is written must not be what is read.
Status CheckIsAnother(const char* option, const std::string& written, const std::string& read) {
  if (!IsSameFile(written, read)) return Status::Ok();
  return Status::Refuse(EINVAL, "{} {}: that is the file to be read; name another one", option, written);
}

struct CloseFile {
  void operator()(std::FILE* file) const {
    if (file != stdout) std::fclose(file);
  }
};

}  // namespace

Command::Command(CLI::App& app) {
  trace_ = app.add_subcommand(
      "trace",
      "Show what a recording has (of `cuse-dxg record`, or --record of run and serve, and of dxg-hostsim)");
  trace_->require_subcommand(1);
  trace_->footer(
      "A recording that was cut, because it is still being written or because its recorder was killed, is "
      "read up\n"
      "to the cut, and a line on stderr says so.\n"
      "Exit status: 0; 1 if it cannot be read, or is damaged. grep: 1 if no line matches; diff: 1 if there "
      "are\n"
      "differences; both: 2 if a recording cannot be read.");
  print_ = trace_->add_subcommand("print", "Print each record as a line, as --trace-text writes it");
  grep_ = trace_->add_subcommand("grep", "Print the lines that match a regular expression");
  stats_ =
      trace_->add_subcommand("stats",
                             "Print counts, errors with their reasons, and times, for each call and for each "
                             "thread; percentiles are at most 2 % too high");
  objects_ =
      trace_->add_subcommand("objects", "Print which objects were made by which call and never destroyed");
  diff_ =
      trace_->add_subcommand("diff",
                             "Compare the calls of two recordings; handles, LUIDs, addresses and descriptors "
                             "may have other numbers");
  export_ = trace_->add_subcommand("export", "Write a recording in another program's format");
  grep_->add_option("PATTERN", pattern_, "A regular expression as grep -E has it")
      ->type_name("PATTERN")
      ->required();
  grep_->add_flag("-i,--ignore-case", ignore_case_, "Letters match in both cases");
  for (CLI::App* command : {print_, grep_, stats_, objects_, diff_, export_}) {
    command->add_option("FILE", file_, "The recording; - is stdin")->type_name("FILE")->required();
    AddFilter(command);
  }
  diff_->add_option("OTHER", other_, "The recording to compare it with")->type_name("FILE")->required();
  diff_->add_flag("--exact", exact_, "Compare measured values too: clocks, loads, counters of the machine");
  for (CLI::App* command : {print_, grep_}) {
    command->add_option("--limit", limit_, "At most N lines")->type_name("N")->check(CLI::PositiveNumber);
    command->add_flag("--full", full_,
                      "All bytes and elements (without it: the first 32); --json has them anyway");
    command->add_flag(
        "--follow", follow_,
        "Wait for more where the file is still being written, until its recorder closes it or is gone");
  }
  print_->add_flag("--json", json_, "A JSON object on each line");
  objects_->add_flag("--all", all_, "Those that were destroyed as well");
  objects_->add_flag("--dot", dot_,
                     "A graph of all objects, for `dot -Tsvg`; what was never destroyed is filled");
  CLI::Option_group* const format = export_->add_option_group("format");
  format->add_option("--perfetto", perfetto_, "A timeline for ui.perfetto.dev; - is stdout")
      ->type_name("FILE");
  format->add_option("--csv", csv_, "A row for each call; - is stdout")->type_name("FILE");
  format->require_option(1);
  convert_ = trace_->add_subcommand("convert", "Make a recording of what others have captured");
  convert_
      ->add_option("--vmbus", vmbus_,
                   "What the bpftrace script of docs/vmbus.md printed on a machine with dxgkrnl; - is stdin")
      ->type_name("CAPTURE")
      ->required();
  convert_->add_option("-o,--output", output_, "The recording")->type_name("FILE")->required();
}

void Command::AddFilter(CLI::App* command) {
  command
      ->add_option("--filter", filter_,
                   "Only these: call=NAME (* is any letters), pid=N, tid=N or errno=NAME, with != for "
                   "those that are "
                   "not; all of several, with commas between them")
      ->type_name("EXPR");
}

int Command::Run() const {
  const bool asks = grep_->parsed() || diff_->parsed();
  Result<int> exit_status = print_->parsed()     ? Print()
                            : grep_->parsed()    ? Grep()
                            : stats_->parsed()   ? PrintStats()
                            : objects_->parsed() ? PrintObjects()
                            : diff_->parsed()    ? PrintDiff()
                            : convert_->parsed() ? Convert()
                                                 : Export();
  if (exit_status.ok()) return *exit_status;
  fmt::print(stderr, "cuse-dxg trace: {}\n", exit_status.status().why());
  return asks ? kExitTrouble : kExitNo;
}

Result<int> Command::Print() const {
  PrintOptions options{
      .filter = {}, .limit = limit_, .json = json_, .full = full_, .follow = follow_, .wanted = {}};
  DXG_ASSIGN(options.filter, Filter::Parse(filter_));
  DXG_ASSIGN(const auto reader, TraceReader::Open(file_));
  DXG_TRY(trace::Print(*reader, options, stdout));
  if (reader->ended()) fmt::print(stderr, "{}", reader->EndText());
  return kExitYes;
}

Result<int> Command::Grep() const {
  DXG_ASSIGN(const auto pattern, Pattern::Make(pattern_, ignore_case_));
  PrintOptions options{
      .filter = {}, .limit = limit_, .json = false, .full = full_, .follow = follow_, .wanted = {}};
  DXG_ASSIGN(options.filter, Filter::Parse(filter_));
  bool found = false;
  options.wanted = [&](std::string_view line) {
    const bool matches = pattern->Matches(line);
    found |= matches;
    return matches;
  };
  DXG_ASSIGN(const auto reader, TraceReader::Open(file_));
  DXG_TRY(trace::Print(*reader, options, stdout));
  if (reader->ended()) fmt::print(stderr, "{}", reader->EndText());
  return found ? kExitYes : kExitNo;
}

Result<int> Command::PrintStats() const {
  DXG_ASSIGN(const Filter filter, Filter::Parse(filter_));
  DXG_ASSIGN(const auto reader, TraceReader::Open(file_));
  Stats stats;
  for (;;) {
    DXG_ASSIGN(const TraceReader::What what, reader->Next());
    if (what == TraceReader::What::kEnd) break;
    if (what == TraceReader::What::kRecord && filter.Passes(reader->record())) stats.Add(reader->record());
  }
  const TraceHeader& header = reader->header();
  fmt::print("{}, {}, back-end {}\n{}", Printable(header.product()), Printable(header.node()),
             Printable(header.backend()), stats.Text());
  fmt::print(stderr, "{}", reader->EndText());
  return kExitYes;
}

Result<int> Command::PrintObjects() const {
  DXG_ASSIGN(const Filter filter, Filter::Parse(filter_));
  DXG_ASSIGN(const auto reader, TraceReader::Open(file_));
  Objects objects;
  DXG_TRY(
      ForEachRecord(*reader, filter, [&](const TraceRecord& record, const Decoder& decoder, uint64_t number) {
        objects.Add(record, decoder, number);
      }));
  fmt::print("{}", dot_ ? objects.Dot() : objects.Text(all_, reader->header().begin_ns()));
  fmt::print(stderr, "{}", reader->EndText());
  return kExitYes;
}

Result<int> Command::PrintDiff() const {
  DiffOptions options{.filter = {}, .exact = exact_};
  DXG_ASSIGN(options.filter, Filter::Parse(filter_));
  DXG_ASSIGN(const auto a, TraceReader::Open(file_));
  DXG_ASSIGN(const auto b, TraceReader::Open(other_));
  DXG_ASSIGN(const DiffResult result, Diff::Run(*a, *b, options, stdout));
  fmt::print(stderr, "{}{}", a->EndText(), b->EndText());
  return result.differs() ? kExitNo : kExitYes;
}

Result<int> Command::Export() const {
  const std::string& path = perfetto_.empty() ? csv_ : perfetto_;
  const char* const option = perfetto_.empty() ? "--csv" : "--perfetto";
  DXG_ASSIGN(const Filter filter, Filter::Parse(filter_));
  DXG_ASSIGN(const auto reader, TraceReader::Open(file_));
  // Nothing is emptied before it is known what to write there.
  DXG_TRY(CheckIsAnother(option, path, file_));
  std::unique_ptr<std::FILE, CloseFile> to(stdout);
  if (path != "-") {
    // What a recording holds of somebody's secrets is in its export too.
    DXG_ASSIGN(UniqueFd file, OpenPrivate(path, option));
    to.reset(fdopen(file.get(), "w"));
    if (to == nullptr) return Status::Refuse(ENOMEM, "{}: there is no memory for {}", option, path);
    (void)file.release();
  }
  DXG_TRY(ExportTo(*reader, filter, to.get()));
  return kExitYes;
}

Status Command::ExportTo(TraceReader& from, const Filter& filter, std::FILE* to) const {
  const TraceHeader& header = from.header();
  if (perfetto_.empty()) {
    std::string rows = CsvHead();
    bool written = true;
    DXG_TRY(
        ForEachRecord(from, filter, [&](const TraceRecord& record, const Decoder& decoder, uint64_t number) {
          AppendCsv(record, decoder, number, header.begin_ns(), &rows);
          written = written && std::fwrite(rows.data(), 1, rows.size(), to) == rows.size();
          rows.clear();
        }));
    written = written && std::fwrite(rows.data(), 1, rows.size(), to) == rows.size();
    if (!written || std::fflush(to) != 0) {
      const int error = errno;
      return Status::Refuse(error, "the export cannot be written: {}", std::strerror(error));
    }
  } else {
    PerfettoWriter writer(to, header.begin_ns(), header.unix_ns());
    Timeline timeline(writer);
    DXG_TRY(ForEachRecord(
        from, filter,
        [&](const TraceRecord& record, const Decoder& decoder, uint64_t number) {
          timeline.Add(record, decoder, number);
        },
        [&](uint64_t records) { timeline.AddLost(records); }));
    DXG_TRY(writer.Close());
  }
  fmt::print(stderr, "{}", from.EndText());
  return Status::Ok();
}

Result<int> Command::Convert() const {
  std::FILE* const file = vmbus_ == "-" ? stdin : std::fopen(vmbus_.c_str(), "re");
  if (file == nullptr) {
    const int error = errno;
    return Status::Refuse(error, "{}: {}", vmbus_, std::strerror(error));
  }
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> closing(file,
                                                                [](std::FILE* f) { return std::fclose(f); });
  DXG_TRY(CheckIsAnother("-o", output_, vmbus_));
  DXG_ASSIGN(const auto sink, FileSink::Create(output_, ~0ull, "-o"));
  TraceHeader header;
  header.set_format(kFormat);
  header.set_version(kVersion);
  header.set_product("bpftrace");
  header.set_node("VMBus");
  header.set_driver("dxgkrnl");
  header.set_side(TraceHeader::HOST);
  DXG_ASSIGN(const auto writer, TraceWriter::Begin(*sink, header));
  Batch batch;
  VmbusCapture capture([&](const TraceItem& item) {
    batch.Add(item);
    if (batch.bytes.size() < kFrameBytesWanted) return Status::Ok();
    Status written = writer->Write(batch);
    batch.Clear();
    return written;
  });
  DXG_TRY(capture.Read(file));
  DXG_TRY(writer->Write(batch));
  DXG_TRY(writer->Close());
  if (capture.packets() == 0)
    return Status::Refuse(
        EINVAL, "{}: has no packet; expected lines as the script of docs/vmbus.md prints them", vmbus_);
  if (capture.not_understood() != 0)
    fmt::print(stderr, "{}: {} lines look like packets and are none; the first one is {}\n", vmbus_,
               capture.not_understood(), capture.first_not_understood());
  return kExitYes;
}

}  // namespace dxg::trace
