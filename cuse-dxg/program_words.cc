#include "cuse-dxg/program_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string_view>

#include "base/command_line/parse.h"

namespace dxg {

ProgramWords::ProgramWords(const char* command, int argc, char** argv)
    : command_(command), argv_(argv), argc_(argc) {
  // The first word that is no option of the program itself; of those, --config and --completion take a word.
  int at = 1;
  for (; at < argc && argv[at][0] == '-'; ++at) {
    const std::string_view word = argv[at];
    if (word == "--config" || word == "--completion") ++at;
  }
  if (at < argc && argv[at] == std::string_view(command)) word_ = at;
  char** const separator =
      is_asked_for() ? std::find(argv + at, argv + argc, std::string_view("--")) : argv + argc;
  argc_ = static_cast<int>(separator - argv);
  if (argc_ != argc) program_.assign(separator + 1, argv + argc);
}

void ProgramWords::AddTo(CLI::App* command, std::vector<std::string>* program) {
  *program = program_;
  option_ = command->add_option("PROGRAM", *program, "The program and its arguments, after --");
  option_->configurable(false);
}

Status ProgramWords::Check() const {
  const std::vector<std::string>& program = option_->results();
  if (program.empty()) {
    if (!program_.empty()) return Status::Ok();
    return Status::Refuse(EINVAL, "{0}: which program? cuse-dxg {0} [OPTIONS] -- PROGRAM [ARGS...]",
                          command_);
  }
  // Without "--" the program has to be all that is left: else an option of its own would be one of ours, or
  // unknown.
  const std::vector<std::string> words(argv_ + word_ + 1, argv_ + argc_);
  if (argv_[argc_] == nullptr && std::equal(program.rbegin(), program.rend(), words.rbegin()))
    return Status::Ok();
  std::string ours, theirs;
  bool is_theirs = false;
  for (char** word = argv_ + word_ + 1; *word != nullptr; ++word) {
    is_theirs |= *word == program.front();
    (is_theirs ? theirs : ours) += std::string(" ") + *word;
  }
  return Status::Refuse(EINVAL, "{0}: put -- before the program: cuse-dxg {0}{1} --{2}", command_, ours,
                        theirs);
}

int ProgramWords::Explain(const CLI::App& app, const CLI::ParseError& error) const {
  const Status status = Check();
  const bool has_bare_program = !option_->results().empty();  // one that no "--" is before
  if (error.get_exit_code() == 0 || status.ok() || !has_bare_program)
    return command_line::Explain(app, error, kExitNotStarted);
  fmt::print(stderr, "{}\nRun with --help for more information.\n", status.why());
  return kExitNotStarted;
}

}  // namespace dxg
