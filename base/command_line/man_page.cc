#include "base/command_line/man_page.h"

#include <algorithm>
#include <sstream>

#include "base/command_line/table.h"

namespace dxg::command_line {
namespace {

constexpr char kStatus[] = "Exit status:";
constexpr char kUsage[] = "Usage:";

bool BeginsWith(const std::string& text, const char* beginning) { return text.rfind(beginning, 0) == 0; }

// troff reads dots and apostrophes at the beginning of a line, and backslashes, as orders.
std::string Escaped(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool begins = i == 0 || text[i - 1] == '\n';
    if (begins && (text[i] == '.' || text[i] == '\'')) out += "\\&";
    if (text[i] == '\\') {
      out += "\\e";
    } else if (text[i] == '-') {
      out += "\\-";
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string Bold(const std::string& text) { return "\\fB" + Escaped(text) + "\\fR"; }
std::string Italic(const std::string& text) { return "\\fI" + Escaped(text) + "\\fR"; }

std::string AsSentence(std::string text) {
  if (!text.empty() && text.back() != '.') text += '.';
  return text;
}

std::string Label(const Option& option) {
  if (option.names.empty()) return Italic(option.positional);
  std::string label;
  for (const std::string& name : option.names) label += (label.empty() ? "" : ", ") + Bold(name);
  return option.type.empty() ? label : label + " " + Italic(option.type);
}

std::string ToText(const Option& option) {
  std::string text = ".TP\n" + Label(option) + "\n" + Escaped(AsSentence(option.help)) + "\n";
  if (!option.preset.empty()) text += "Default: " + Italic(option.preset) + ".\n";
  if (!option.variable.empty()) text += "Else " + Bold(option.variable) + " of the environment is taken.\n";
  return text;
}

// What a footer says: a usage line stands in the synopsis, the exit statuses of a program in their own
// section.
struct Footer {
  std::string usage, status;
  std::vector<std::string> others;
};

Footer ReadFooter(const Command& command) {
  Footer footer;
  for (const std::string& paragraph : Paragraphs(command.footer)) {
    std::vector<std::string> rest(1);
    std::istringstream lines(paragraph);
    bool of_status = false;
    for (std::string line; std::getline(lines, line);) {
      if (BeginsWith(line, kUsage)) {
        footer.usage = line.substr(line.find_first_not_of(' ', sizeof(kUsage) - 1));
      } else if (BeginsWith(line, kStatus)) {
        of_status = true;
        footer.status = line.substr(line.find_first_not_of(' ', sizeof(kStatus) - 1));
      } else if (of_status) {
        footer.status += "\n" + line;
      } else {
        rest.back() += (rest.back().empty() ? "" : "\n") + line;
      }
    }
    if (!rest.back().empty()) footer.others.push_back(rest.back());
  }
  return footer;
}

std::string Synopsis(const Command& command, const Footer& footer) {
  if (BeginsWith(footer.usage, command.path.c_str()))
    return Bold(command.path) + Escaped(footer.usage.substr(command.path.size()));
  std::string text = Bold(command.path);
  if (std::any_of(command.options.begin(), command.options.end(),
                  [](const Option& option) { return !option.names.empty(); }))
    text += " [OPTIONS]";
  for (const Option& option : command.options) {
    if (!option.names.empty()) continue;
    const std::string name = Italic(option.positional) + (option.repeated ? "..." : "");
    text += option.required ? " " + name : " [" + name + "]";
  }
  return command.commands.empty() ? text : text + " COMMAND";
}

std::string Preformatted(const std::string& text) { return ".PP\n.nf\n" + Escaped(text) + "\n.fi\n"; }

std::string OptionsText(const Command& command) {
  std::string text;
  for (const Option& option : command.options) text += ToText(option);
  return text;
}

std::string StatusText(const std::string& status) { return Escaped(status) + "\n"; }

std::string Below(const Command& command) {
  const Footer footer = ReadFooter(command);
  std::string text = ".SS " + ('"' + Escaped(command.path) + "\"\n");
  text += ".PP\n" + Synopsis(command, footer) + "\n";
  text += ".PP\n" + Escaped(AsSentence(command.help)) + "\n" + OptionsText(command);
  for (const std::string& other : footer.others) text += Preformatted(other);
  if (!footer.status.empty()) text += ".PP\nExit status: " + StatusText(footer.status);
  return text;
}

std::string Environment(const std::vector<Command>& commands) {
  std::vector<std::string> seen;
  std::string text;
  for (const Command& command : commands) {
    for (const Option& option : command.options) {
      if (option.variable.empty()) continue;
      if (std::find(seen.begin(), seen.end(), option.variable) != seen.end()) continue;
      seen.push_back(option.variable);
      text += ".TP\n" + Bold(option.variable) + "\nWhat " + Bold(option.names.back()) +
              " has where it is not given.\n";
    }
  }
  return text.empty() ? "" : ".SH ENVIRONMENT\n" + text;
}

std::string Capitals(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char letter) { return std::toupper(letter); });
  return text;
}

// The line that whatis(1) shows.
std::string Summary(const Command& program) {
  std::string text = program.help;
  text = text.substr(0, text.find(". "));
  std::replace(text.begin(), text.end(), '\n', ' ');
  if (!text.empty() && text.back() == '.') text.pop_back();
  return text;
}

}  // namespace

std::string ManPage(const CLI::App& app) {
  const std::vector<Command> commands = CommandsOf(app);
  const Command& program = commands.front();
  const Footer footer = ReadFooter(program);
  std::string text = ".\\\" Made from the tables of --help.\n.TH " + Escaped(Capitals(program.path)) +
                     " 1 \"\" \"" + Escaped(app.version()) + "\" \"User Commands\"\n";
  text += ".SH NAME\n" + Escaped(program.path) + " \\- " + Escaped(Summary(program)) + "\n";
  text += ".SH SYNOPSIS\n" + Synopsis(program, footer) + "\n";
  for (const Command& command : commands) {
    const bool is_group = std::all_of(command.options.begin(), command.options.end(),
                                      [](const Option& option) { return !option.names.empty(); }) &&
                          !command.commands.empty();
    if (&command != &program && !is_group) text += ".br\n" + Synopsis(command, ReadFooter(command)) + "\n";
  }
  text += ".SH DESCRIPTION\n" + Escaped(AsSentence(program.help)) + "\n";
  for (const std::string& other : footer.others) text += Preformatted(other);
  text += ".SH OPTIONS\n" + OptionsText(program);
  if (commands.size() > 1) text += ".SH COMMANDS\n";
  for (const Command& command : commands) {
    if (&command != &program) text += Below(command);
  }
  text += Environment(commands);
  if (!footer.status.empty()) text += ".SH \"EXIT STATUS\"\n" + StatusText(footer.status);
  text.pop_back();  // who prints it ends the line
  return text;
}

}  // namespace dxg::command_line
