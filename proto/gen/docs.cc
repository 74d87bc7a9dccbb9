// Writes what follows from the finished table of calls: docs/calls.md and the tables of docs/abi.md for
// people, a dictionary for fuzzers. A program of its own, because dxg-gen writes that table and so cannot
// read it: only the compiler knows the sizes of the structs.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/contract/contract.h"

namespace dxg::gen {
namespace {

using contract::CallRow;
using contract::Difference;
using contract::UnhandledNumber;

// '|' would end the column.
std::string Cell(std::string_view text) {
  std::string cell;
  for (char c : text) {
    if (c == '|') cell += '\\';
    cell += c;
  }
  return cell;
}

// Links to the row, and to the handler where a person wrote it. rules.families holds that it is there.
std::string Places(const CallRow& call) {
  const auto* message = call.request->GetDescriptor()->containing_type();
  const std::string row = message->file()->name();  // proto/dxg/device.proto
  const size_t name = row.rfind('/') + 1;
  const std::string family = row.substr(name, row.rfind('.') - name);
  const std::string handler = message->options().GetExtension(dxg::call).has_plain()
                                  ? "generated"
                                  : fmt::format("[{0}.cc](../cuse-dxg/guest/calls/{0}.cc)", family);
  return fmt::format("[{}.proto](../{}) | {}", family, row, handler);
}

std::string DiffersText(const CallRow& call) {
  std::string text;
  for (const Difference& difference : contract::Differences()) {
    if (!difference.Concerns(call.name)) continue;
    if (!text.empty()) text += "; ";
    text += difference.what;
  }
  return text;
}

std::string RowText(const CallRow& call) {
  return fmt::format("| {:#04x} | {} | `{}` | {} | {:#010x} | {} | {} | {} | {} | {} |\n", call.nr, call.name,
                     call.ioctl, Places(call), call.code, call.args_size, CallClass_Name(call.call_class),
                     call.served ? "yes" : "no", Cell(call.summary), Cell(DiffersText(call)));
}

std::string UnhandledRow(const UnhandledNumber& number) {
  if (number.legacy_code == 0) return fmt::format("| {:#04x} | | |\n", number.nr);
  return fmt::format("| {:#04x} | {} | {:#010x} |\n", number.nr, number.name, number.legacy_code);
}

std::string CallsPage() {
  const auto calls = contract::Calls();
  const auto served = std::ranges::count(calls, true, &CallRow::served);
  std::string text = fmt::format(
      "<!-- Written by `dxg-docs --docs docs/calls.md` from proto/dxg/*.proto. Do not edit. -->\n"
      "# Calls\n\n"
      "The {} ioctls of /dev/dxg, {} of them served. A code holds the size of the fixed struct and the "
      "number; only the\n"
      "whole code is a call, everything else ends with ENOTTY.\n\n"
      "Class says how long a call may take. LOCAL: it never leaves the guest. HOST: it waits for the host's "
      "answer. ASYNC: it\n"
      "is queued without an answer where the host announced asynchronous messages, else like HOST. WAIT: it "
      "may wait without\n"
      "limit and ends on a signal.\n\n"
      "A family has one name: that of its .proto file, of its handlers' file in the guest, and of its tests "
      "in\n"
      "tests/conformance/. A generated handler is in plain_calls.gen.cc, in proto/contract/ of the build.\n\n"
      "The last column names the occasions; [abi.md](abi.md#differences-from-the-driver) says what happens "
      "then, and why.\n\n"
      "| number | name | ioctl | row | handler | code | size | class | served | what it does | what differs "
      "from the driver |\n"
      "|---|---|---|---|---|---|---:|---|---|---|---|\n",
      calls.size(), served);
  for (const CallRow& call : calls) text += RowText(call);
  text +=
      "\n## Numbers without a call\n\n"
      "They have no handler in any driver: every code with such a number ends with ENOTTY. Older clients "
      "still send the\n"
      "codes below.\n\n"
      "| number | name in older interfaces | code |\n|---|---|---|\n";
  for (const UnhandledNumber& number : contract::UnhandledNumbers()) text += UnhandledRow(number);
  return text;
}

// -- The tables of docs/abi.md

// A column is there where a row of the place has something in it.
struct Column {
  const char* head;
  const char* Difference::*text;
};
constexpr Column kColumns[] = {{"what", &Difference::what},
                               {"the driver", &Difference::driver},
                               {"here", &Difference::here},
                               {"why", &Difference::why}};

std::string DifferenceTable(DifferencePlace place) {
  std::vector<Column> columns;
  for (const Column& column : kColumns) {
    const bool any = std::ranges::any_of(contract::Differences(), [&](const Difference& difference) {
      return difference.place == place && *(difference.*column.text) != '\0';
    });
    if (any) columns.push_back(column);
  }
  std::string head = "|", rule = "|", rows;
  for (const Column& column : columns) {
    head += fmt::format(" {} |", column.head);
    rule += "---|";
  }
  for (const Difference& difference : contract::Differences()) {
    if (difference.place != place) continue;
    rows += '|';
    for (const Column& column : columns) rows += fmt::format(" {} |", Cell(difference.*column.text));
    rows += '\n';
  }
  return head + '\n' + rule + '\n' + rows;
}

// The page with its tables written anew; nothing: it has not each of them once.
std::optional<std::string> WithDifferences(std::string page) {
  constexpr std::string_view kEnd = "<!-- end -->\n";
  for (int place = 0; place < DifferencePlace_ARRAYSIZE; ++place) {
    const std::string begin =
        fmt::format("<!-- {}: written by dxg-docs from proto/dxg/differences.proto -->\n",
                    DifferencePlace_Name(static_cast<DifferencePlace>(place)));
    const size_t found = page.find(begin);
    const size_t end = found == std::string::npos ? std::string::npos : page.find(kEnd, found);
    if (end == std::string::npos || page.find(begin, found + 1) != std::string::npos) {
      fmt::print(stderr, "dxg-docs: expected each table once, between these lines:\n{}{}", begin, kEnd);
      return std::nullopt;
    }
    const size_t table = found + begin.size();
    page.replace(table, end - table, DifferenceTable(static_cast<DifferencePlace>(place)));
  }
  return page;
}

std::optional<std::string> Read(const std::string& path) {
  std::ifstream file(path);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (file && !text.empty()) return text;
  fmt::print(stderr, "dxg-docs: cannot read {}: expected a page with the tables to be written anew\n", path);
  return std::nullopt;
}

// name="\x01\x47\x0c\xc0": a code as it lies in memory.
std::string Dictionary() {
  std::string text = "# Written by dxg-docs --dict. The codes of the calls, as libFuzzer reads them.\n";
  for (const CallRow& call : contract::Calls()) {
    text += call.ioctl;
    text += "=\"";
    for (int shift = 0; shift < 32; shift += 8) text += fmt::format("\\x{:02x}", call.code >> shift & 0xff);
    text += "\"\n";
  }
  return text;
}

bool Write(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  if (file.flush()) return true;
  fmt::print(stderr, "dxg-docs: cannot write {}: expected a directory that exists and can be written\n",
             path);
  return false;
}

bool Make(const std::string& what, const std::string& path) {
  if (what == "--docs") return Write(path, CallsPage());
  if (what == "--dict") return Write(path, Dictionary());
  std::optional<std::string> page = Read(path);
  if (page) page = WithDifferences(*std::move(page));
  return page && Write(path, *page);
}

int Main(const std::vector<std::string>& args) {
  // Look at all of the line before anything is written.
  bool usable = !args.empty() && args.size() % 2 == 0;
  for (size_t i = 0; usable && i < args.size(); i += 2)
    usable = args[i] == "--docs" || args[i] == "--dict" || args[i] == "--differences";
  if (!usable) {
    fmt::print(
        stderr,
        "usage: dxg-docs [--docs FILE] [--differences FILE] [--dict FILE]\n"
        "--docs writes the page of calls (docs/calls.md), --differences the tables in a page that is there\n"
        "(docs/abi.md), --dict the codes of the calls as a libFuzzer dictionary.\n");
    return 2;
  }
  for (size_t i = 0; i < args.size(); i += 2) {
    if (!Make(args[i], args[i + 1])) return 1;
  }
  return 0;
}

}  // namespace
}  // namespace dxg::gen

int main(int argc, char** argv) { return dxg::gen::Main({argv + 1, argv + argc}); }
