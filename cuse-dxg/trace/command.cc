#include "cuse-dxg/trace/command.h"

#include <fmt/format.h>

#include <cstdio>

#include "base/printable.h"
#include "cuse-dxg/trace/print.h"
#include "cuse-dxg/trace/stats.h"

namespace dxg::trace {

Command::Command(CLI::App& app) {
  trace_ = app.add_subcommand("trace", "Show what a recording has (--record of run and serve)");
  trace_->require_subcommand(1);
  trace_->footer(
      "A recording that was cut, because it is still being written or because its recorder was killed, is "
      "read up\n"
      "to the cut, and a line on stderr says so.\n"
      "Exit status: 0; 1 if it cannot be read, or is damaged.");
  print_ = trace_->add_subcommand("print", "Print each record as a line, as --trace-text writes it");
  stats_ = trace_->add_subcommand("stats",
                                  "Print counts, errors and times for each call, and for each thread; "
                                  "percentiles are at most 2 % too high");
  for (CLI::App* command : {print_, stats_}) {
    command->add_option("FILE", file_, "The recording; - is stdin")->type_name("FILE")->required();
    command
        ->add_option("--filter", filter_,
                     "Only these: call=NAME (* is any letters), pid=N, tid=N or errno=NAME, with != for "
                     "those that are "
                     "not; all of several, with commas between them")
        ->type_name("EXPR");
  }
  print_->add_option("--limit", limit_, "At most N lines")->type_name("N")->check(CLI::PositiveNumber);
  print_->add_flag("--json", json_, "A JSON object on each line");
  print_->add_flag("--full", full_,
                   "All bytes and elements (without it: the first 32); --json has them anyway");
  print_->add_flag("--follow", follow_,
                   "Wait for more where the file is still being written, until its recorder closes it");
}

int Command::Run() const {
  const Status status = print_->parsed() ? Print() : PrintStats();
  if (status.ok()) return 0;
  fmt::print(stderr, "cuse-dxg trace: {}\n", status.why());
  return 1;
}

Status Command::Print() const {
  PrintOptions options{
      .filter = {}, .limit = limit_, .json = json_, .full = full_, .follow = follow_, .wanted = {}};
  DXG_ASSIGN(options.filter, Filter::Parse(filter_));
  DXG_ASSIGN(const auto reader, TraceReader::Open(file_));
  DXG_TRY(trace::Print(*reader, options, stdout));
  if (reader->ended()) fmt::print(stderr, "{}", reader->EndText());
  return Status::Ok();
}

Status Command::PrintStats() const {
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
  return Status::Ok();
}

}  // namespace dxg::trace
