#include "cuse-dxg/trace/command.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "base/printable.h"
#include "cuse-dxg/trace/print.h"
#include "cuse-dxg/trace/stats.h"
#include "cuse-dxg/trace/vmbus_capture.h"
#include "link/trace/trace_writer.h"

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
  convert_ = trace_->add_subcommand("convert", "Make a recording of what others have captured");
  convert_
      ->add_option("--vmbus", vmbus_,
                   "What the bpftrace script of docs/vmbus.md printed on a machine with dxgkrnl; - is stdin")
      ->type_name("CAPTURE")
      ->required();
  convert_->add_option("-o,--output", output_, "The recording")->type_name("FILE")->required();
}

int Command::Run() const {
  const Status status = convert_->parsed() ? Convert() : print_->parsed() ? Print() : PrintStats();
  if (status.ok()) return 0;
  fmt::print(stderr, "cuse-dxg trace: {}\n", status.why());
  return 1;
}

Status Command::Print() const {
  PrintOptions options{.limit = limit_, .json = json_, .full = full_};
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

Status Command::Convert() const {
  std::FILE* const file = vmbus_ == "-" ? stdin : std::fopen(vmbus_.c_str(), "re");
  if (file == nullptr) {
    const int error = errno;
    return Status::Refuse(error, "{}: {}", vmbus_, std::strerror(error));
  }
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> closing(file,
                                                                [](std::FILE* f) { return std::fclose(f); });
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
  return Status::Ok();
}

}  // namespace dxg::trace
