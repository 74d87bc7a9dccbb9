#include "base/command_line/completion.h"

#include <algorithm>

#include "base/command_line/table.h"

namespace dxg::command_line {
namespace {

std::string Joined(const std::vector<std::string>& words, const char* between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

std::string Replaced(std::string text, const std::string& what, const std::string& by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
    text.replace(at, what.size(), by);
  return text;
}

// Within '...' of a shell.
std::string Quoted(const std::string& text) { return "'" + Replaced(text, "'", "'\\''") + "'"; }

std::string FunctionName(const Command& program) { return "_" + Replaced(program.path, "-", "_"); }

std::vector<std::string> Names(const Command& command) {
  std::vector<std::string> names;
  for (const Option& option : command.options)
    names.insert(names.end(), option.names.begin(), option.names.end());
  return names;
}

// What one may type next, beside what an option takes.
std::vector<std::string> Words(const Command& command) {
  std::vector<std::string> words = command.commands;
  const std::vector<std::string> names = Names(command);
  words.insert(words.end(), names.begin(), names.end());
  return words;
}

bool TakesFile(const Command& command) {
  return std::any_of(command.options.begin(), command.options.end(),
                     [](const Option& option) { return option.names.empty() && option.is_file; });
}

// Cases of one command, by the option before the word that is completed.
std::string BashValues(const Command& command) {
  std::string text;
  for (const Option& option : command.options) {
    if (option.names.empty() || option.type.empty()) continue;
    std::vector<std::string> places;
    for (const std::string& name : option.names) places.push_back("\"" + command.path + "\":" + name);
    text += "    " + Joined(places, " | ") + ") words=" + Quoted(Joined(option.values, " ")) +
            (option.is_file ? " files=yes" : "") + " ;;\n";
  }
  return text;
}

// A case of that command's command, which becomes the place.
std::string PlaceOf(const Command& command, const std::string& name) {
  std::string place = command.path;
  place.append(" ").append(name);
  std::string text = "      \"";
  return text.append(place).append("\") place=\"").append(place).append("\"");
}

// The loop that both shells have: which command the words before this one are in. "--" ends the search.
std::string BashPlaces(const std::vector<Command>& commands) {
  std::string text;
  for (const Command& command : commands) {
    for (const std::string& name : command.commands) text.append(PlaceOf(command, name)).append(" ;;\n");
  }
  return text;
}

// As an argument of _arguments in zsh: '--name[help]:type:action'.
std::string ZshOption(const Option& option, const std::string& name) {
  std::string help = option.help;
  for (const char* special : {"\\", "[", "]", ":", "`", "$", "\""})
    help = Replaced(help, special, std::string("\\") + special);
  help = Replaced(help, "\n", " ");
  std::string text = "*" + name + (option.type.empty() || name.size() < 3 ? "" : "=") + "[" + help + "]";
  if (option.type.empty()) return Quoted(text);
  text += ":" + Replaced(option.type, ":", "\\:") + ":";
  if (option.is_file && !option.values.empty())
    return Quoted(text + "{_alternative \"words:word:(" + Joined(option.values, " ") +
                  ")\" \"files:file:_files\"}");
  if (option.is_file) return Quoted(text + "_files");
  return Quoted(option.values.empty() ? text + " " : text + "(" + Joined(option.values, " ") + ")");
}

std::string ZshCase(const Command& command) {
  std::string text = "    \"" + command.path + "\")\n      commands=(";
  for (size_t i = 0; i < command.commands.size(); ++i)
    text += "\n        " + Quoted(command.commands[i] + ":" + Replaced(command.helps[i], "\n", " "));
  text += ")\n      options=(";
  for (const Option& option : command.options) {
    for (const std::string& name : option.names) text += "\n        " + ZshOption(option, name);
  }
  if (TakesFile(command)) text += "\n        '*:file:_files'";
  return text + ")\n      ;;\n";
}

}  // namespace

std::string BashCompletion(const CLI::App& app) {
  const std::vector<Command> commands = CommandsOf(app);
  const Command& program = commands.front();
  const std::string function = FunctionName(program);
  std::string text = "# Completion of " + program.path + " for bash, made from the tables of --help.\n" +
                     function +
                     R"(() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words= files= place=")" +
                     program.path + R"(" i
  # "=" is a word of its own.
  if [[ $word == = ]]; then
    word=
  elif [[ $before == = ]]; then
    before=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ ${COMP_WORDS[i]} == -- ]]; then
      if ((i + 1 == COMP_CWORD)); then
        mapfile -t COMPREPLY < <(compgen -c -- "$word")
      elif declare -F _command_offset >/dev/null; then
        _command_offset $((i + 1))
      fi
      return
    fi
    case "$place ${COMP_WORDS[i]}" in
)" + BashPlaces(commands) +
                     R"(      *) ;;
    esac
  done
  case "$place":$before in
)";
  for (const Command& command : commands) text += BashValues(command);
  for (const Command& command : commands) {
    text += "    \"" + command.path + "\":*) words=" + Quoted(Joined(Words(command), " ")) +
            (TakesFile(command) ? " files=yes" : "") + " ;;\n";
  }
  return text + R"(  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word"; [[ -z $files ]] || compgen -f -- "$word")
  [[ -z $files ]] || compopt -o filenames 2>/dev/null
}
complete -F )" +
         function + " " + program.path;
}

std::string ZshCompletion(const CLI::App& app) {
  const std::vector<Command> commands = CommandsOf(app);
  const Command& program = commands.front();
  const std::string function = FunctionName(program);
  std::string text = "#compdef " + program.path + "\n# Completion of " + program.path +
                     " for zsh, made from the tables of --help.\n" + function + R"(() {
  local place=")" + program.path +
                     R"(" last=1 i
  local -a commands options
  for ((i = 2; i < CURRENT; i++)); do
    if [[ $words[i] == -- ]]; then  # what follows is another program's
      shift $i words
      ((CURRENT -= i))
      _normal
      return
    fi
    case "$place $words[i]" in
)";
  for (const Command& command : commands) {
    for (const std::string& name : command.commands)
      text.append(PlaceOf(command, name)).append(" last=$i ;;\n");
  }
  text += R"(    esac
  done
  case $place in
)";
  for (const Command& command : commands) text += ZshCase(command);
  return text + R"(  esac
  # Options belong to the last command.
  words=("${(@)words[last,-1]}")
  CURRENT=$((CURRENT - last + 1))
  if ((CURRENT == 2 && $#commands)) && [[ $words[2] != -* ]]; then
    _describe command commands
  else
    _arguments -S $options
  fi
}
if [[ $funcstack[1] == )" +
         function + R"( ]]; then
  )" + function +
         R"( "$@"
else
  compdef )" +
         function + " " + program.path + R"(
fi)";
}

}  // namespace dxg::command_line
