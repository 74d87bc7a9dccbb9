#include "cuse-dxg/tracer/command.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/utsname.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <memory>
#include <utility>
#include <vector>

#include "cuse-dxg/trace/contents.h"
#include "cuse-dxg/trace/recorder.h"
#include "cuse-dxg/tracer/program.h"
#include "cuse-dxg/tracer/tracee_memory.h"
#include "cuse-dxg/tracer/tracer.h"

namespace dxg::tracer {
namespace {

// What is wrong is ours, and not the program's.
Status Ours(const Status& status) { return Status::Refuse(ECHILD, "{}", status.why()); }

std::string FirstLineOf(const char* path) {
  std::string line;
  std::getline(std::ifstream(path), line);
  return line;
}

void PrintSummary(const Tracer::Counts& counts) {
  const auto each = [](uint64_t part, uint64_t whole) {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
  };
  fmt::print(stderr,
             "cuse-dxg record: {} calls, with {} stops of their threads ({:.2f} for each)\n"
             "cuse-dxg record: {} other system calls, with {} stops ({:.2f} for each)\n"
             "cuse-dxg record: {} open descriptions, {} processes, and {} threads beside their first\n",
             counts.calls, counts.call_stops, each(counts.call_stops, counts.calls), counts.others,
             counts.other_stops, each(counts.other_stops, counts.others), counts.descriptions,
             counts.processes, counts.threads);
}

}  // namespace

Command::Command(CLI::App& app, int argc, char** argv) : words_("record", argc, argv) {
  record_ = app.add_subcommand(
      "record", "Run one program on a node that is there, also a real one, and record what it says to it");
  record_->add_option("-o,--output", file_, "The recording, for `cuse-dxg trace` (docs/recording.md)")
      ->type_name("FILE")
      ->required();
  record_->add_option("--device", node_, "The node, as this process sees it")
      ->type_name("PATH")
      ->capture_default_str();
  record_
      ->add_option("--record-max", bytes_max_,
                   "The largest size of FILE, such as 500MiB; records beyond it are lost and counted")
      ->type_name("SIZE")
      ->transform(CLI::AsSizeValue(false).description(""))
      ->default_str("16GiB");
  record_
      ->add_option(
          "--memory", memory_,
          "What is recorded of the memory that calls name: hash (a hash of it), full (its contents). Of "
          "CreateAllocation that is the program's own pages of an existing heap, since only the driver knows "
          "the size of others; of locked memory, what is mapped from its address on")
      ->check(CLI::IsMember({"none", "hash", "full"}))
      ->capture_default_str();
  record_->add_flag("--redact", redact_,
                    "Record private data, names, and paths of programs as their sizes and hashes only");
  record_->add_flag("--summary", summary_,
                    "At the end, say on stderr how many calls there were, and how often they stopped the "
                    "program");
  words_.AddTo(record_, &program_);
  record_->footer(
      "Usage: cuse-dxg record -o FILE [OPTIONS] -- PROGRAM [ARGS...]\n"
      "It needs no root. All that PROGRAM starts is recorded, and it ends when all of that has ended. With a "
      "node of\n"
      "cuse-dxg, `cuse-dxg run --record FILE` says more, and stops nothing.\n"
      "Exit status: that of PROGRAM; a signal that ends it also ends cuse-dxg. 125 if cuse-dxg itself "
      "fails,\n"
      "whatever the reason; 126 if PROGRAM is there and cannot be run; 127 if it is not found.");
}

TraceHeader Command::Header() const {
  TraceHeader header;
  header.set_product("cuse-dxg " DXG_VERSION);
  header.set_node("client " + node_);
  header.set_side(TraceHeader::CLIENT);
  if (const std::string version = FirstLineOf("/sys/module/dxgkrnl/version"); !version.empty())
    header.set_driver("dxgkrnl " + version);
  utsname machine{};
  if (uname(&machine) == 0)
    header.set_machine(fmt::format("{} {} {}", machine.sysname, machine.release, machine.machine));
  return header;
}

Result<int> Command::Run() {
  if (const Status words = words_.Check(); !words.ok()) return Ours(words);
  TraceHeader header = Header();
  if (const Status contents = trace::SetContents(memory_, redact_, &header); !contents.ok())
    return Ours(contents);
  auto sink = trace::FileSink::Create(file_, bytes_max_);
  if (!sink.ok()) return Ours(sink.status());
  // Before a thread is made, which would have to be forked with.
  DXG_ASSIGN(Program program, Program::Fork(program_));
  signal(SIGCHLD, SIG_DFL);  // a parent that ignores it is not told of stops
  const sigset_t handled = Tracer::HandledSignals();
  pthread_sigmask(SIG_BLOCK, &handled, nullptr);
  if (const Status seized = program.Seize(); !seized.ok()) return Ours(seized);
  auto recorder = trace::Recorder::Create(*std::move(sink), header);
  if (!recorder.ok()) return Ours(recorder.status());
  trace::Contents contents(header, ReadMemory);
  Tracer tracer(node_, contents.wants_memory(), [&](TraceItem& item, const ObservedCall* call) {
    if (call == nullptr) {
      contents.Apply(item.mutable_record());
    } else {
      contents.Apply(call->request(), call->reply(),
                     contents.wants_memory() ? call->NamedMemory() : std::vector<guest::NamedMemory>(),
                     item.mutable_record());
    }
    (*recorder)->Add(item);
  });
  const int ended = tracer.Run(program);
  recorder->reset();
  if (const Status why = program.Why(); !why.ok()) return why;
  if (summary_) PrintSummary(tracer.counts());
  return ended;
}

}  // namespace dxg::tracer
