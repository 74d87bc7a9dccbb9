#include "base/command_line/parse.h"

#include <string>

#include "base/command_line/completion.h"
#include "base/command_line/man_page.h"

namespace dxg::command_line {

void AddPages(CLI::App& app) {
  // Thrown like a version, because that comes before any complaint of what is missing. In the group "", which
  // --help leaves out.
  app.add_flag_callback(
         "--man", [&app] { throw CLI::CallForVersion(ManPage(app), 0); }, "The manual page")
      ->configurable(false)
      ->group("");
  app.add_option_function<std::string>(
         "--completion",
         [&app](const std::string& shell) {
           throw CLI::CallForVersion(shell == "zsh" ? ZshCompletion(app) : BashCompletion(app), 0);
         },
         "The completion for a shell")
      ->check(CLI::IsMember({"bash", "zsh"}))
      ->configurable(false)
      ->group("");
}

int Explain(const CLI::App& app, const CLI::ParseError& error, int exit_wrong) {
  return app.exit(error) == 0 ? 0 : exit_wrong;
}

std::optional<int> Parse(CLI::App& app, int argc, const char* const* argv, int exit_wrong) {
  AddPages(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return Explain(app, error, exit_wrong);
  }
  return std::nullopt;
}

}  // namespace dxg::command_line
