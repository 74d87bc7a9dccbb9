#include "base/command_line/table.h"

#include <algorithm>
#include <cctype>
#include <sstream>

namespace dxg::command_line {
namespace {

std::vector<std::string> Split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, at);) parts.push_back(part);
  return parts;
}

bool IsFixed(const std::string& word) {
  return !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char letter) {
    return std::islower(letter) != 0 || std::isdigit(letter) != 0 || letter == '-';
  });
}

// A type is "NAME|FILE", where words in small letters are given as they are, or the parser's "TEXT:{a,b}".
void ReadType(const std::string& type, Option* option) {
  const size_t open = type.find(":{");
  if (open != std::string::npos && type.back() == '}') {
    option->values = Split(type.substr(open + 2, type.size() - open - 3), ',');
    option->type = "";
    for (const std::string& value : option->values) option->type += (option->type.empty() ? "" : "|") + value;
    return;
  }
  constexpr char kRange[] = " in [";  // "INT:INT in [1 - 64]"
  const size_t from = type.find(kRange);
  if (from != std::string::npos && type.back() == ']') {
    option->type = type.substr(from + sizeof(kRange) - 1, type.size() - from - sizeof(kRange));
    return;
  }
  option->type = type;
  for (const std::string& word : Split(type, '|')) {
    if (IsFixed(word)) option->values.push_back(word);
    if (word == "FILE" || word == "PATH" || word == "DIR") option->is_file = true;
  }
}

Option Read(const CLI::Option& from) {
  Option option;
  for (const std::string& name : from.get_snames()) option.names.push_back("-" + name);
  for (const std::string& name : from.get_lnames()) option.names.push_back("--" + name);
  if (from.get_positional()) {
    option.positional = from.get_name(true, false);
    // A positional shows its name in place of a type.
    for (const char* name : {"FILE", "PROFILE", "BEFORE", "AFTER", "SHARD"})
      option.is_file |= option.positional == name;
  }
  if (from.get_items_expected_max() > 0) ReadType(from.get_type_name(), &option);
  option.help = from.get_description();
  option.variable = from.get_envname();
  option.preset = from.get_default_str();
  option.required = from.get_required();
  option.repeated = from.get_items_expected_max() > 1;
  return option;
}

// An option group is a command without a name. The help of help is said once, for the program.
void AddOptions(const CLI::App& app, Command* command) {
  const auto is_shown = [&app](const CLI::Option* option) {
    const bool is_help = option == app.get_help_ptr() || option == app.get_help_all_ptr();
    return !option->get_group().empty() && !(is_help && app.get_parent() != nullptr);
  };
  for (const CLI::Option* option : app.get_options(is_shown)) command->options.push_back(Read(*option));
  for (const CLI::App* group : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (group->get_name().empty()) AddOptions(*group, command);
  }
}

void Add(const CLI::App& app, const std::string& above, std::vector<Command>* all) {
  Command command;
  command.path = above.empty() ? app.get_name() : above + " " + app.get_name();
  command.help = app.get_description();
  command.footer = app.get_footer();
  AddOptions(app, &command);
  std::vector<const CLI::App*> below;
  for (const CLI::App* one : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (one->get_name().empty() || one->get_group().empty()) continue;
    below.push_back(one);
    command.commands.push_back(one->get_name());
    command.helps.push_back(one->get_description());
  }
  const std::string path = command.path;
  all->push_back(std::move(command));
  for (const CLI::App* one : below) Add(*one, path, all);
}

}  // namespace

std::vector<Command> CommandsOf(const CLI::App& app) {
  std::vector<Command> all;
  Add(app, "", &all);
  return all;
}

std::vector<std::string> Paragraphs(const std::string& text) {
  std::vector<std::string> paragraphs(1);
  for (const std::string& line : Split(text, '\n')) {
    std::string& last = paragraphs.back();
    if (line.empty()) {
      if (!last.empty()) paragraphs.emplace_back();
    } else {
      last += (last.empty() ? "" : "\n") + line;
    }
  }
  if (paragraphs.back().empty()) paragraphs.pop_back();
  return paragraphs;
}

}  // namespace dxg::command_line
