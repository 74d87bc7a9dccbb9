#include "cuse-dxg/trace/filter.h"

#include <fnmatch.h>

#include <cerrno>
#include <charconv>

#include "cuse-dxg/trace/decode.h"
#include "proto/contract/text.h"

namespace dxg::trace {
namespace {

bool ToNumber(std::string_view text, uint32_t* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

bool ToErrno(std::string_view text, uint32_t* number) {
  if (ToNumber(text, number)) return true;
  for (int error = 1; error <= kErrnoMax; ++error) {
    if (contract::ErrnoName(error) != text) continue;
    *number = static_cast<uint32_t>(error);
    return true;
  }
  return false;
}

// 0 of a success, and of what is no errno.
uint32_t ErrnoOf(const TraceRecord& record) {
  return record.result() < 0 && record.result() >= -kErrnoMax ? static_cast<uint32_t>(-record.result()) : 0;
}

}  // namespace

Result<Filter> Filter::Parse(const std::string& text) {
  Filter filter;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    DXG_ASSIGN(Term term, ParseTerm(std::string_view(text).substr(at, end - at)));
    filter.terms_.push_back(std::move(term));
    at = end + 1;
  }
  return filter;
}

Result<Filter::Term> Filter::ParseTerm(std::string_view text) {
  const size_t equals = text.find('=');
  const bool negated = equals != std::string_view::npos && equals != 0 && text[equals - 1] == '!';
  const std::string_view key = text.substr(0, negated ? equals - 1 : equals);
  const std::string_view value = equals == std::string_view::npos ? "" : text.substr(equals + 1);
  Term term{.key = Key::kCall, .negated = negated, .name = std::string(value), .number = 0};
  bool good = !value.empty();
  if (key == "pid" || key == "tid") {
    term.key = key == "pid" ? Key::kPid : Key::kTid;
    good = ToNumber(value, &term.number);
  } else if (key == "errno") {
    term.key = Key::kErrno;
    good = ToErrno(value, &term.number);
  } else if (key != "call") {
    good = false;
  }
  if (good) return term;
  return Status::Refuse(
      EINVAL,
      "--filter: \"{}\" is no term; expected call=NAME, pid=N, tid=N or errno=NAME, or one with !=, "
      "and commas between several",
      text);
}

bool Filter::Passes(const TraceRecord& record) const {
  for (const Term& term : terms_) {
    if (Holds(term, record) == term.negated) return false;
  }
  return true;
}

bool Filter::Holds(const Term& term, const TraceRecord& record) {
  switch (term.key) {
    case Key::kPid:
      return record.pid() == term.number;
    case Key::kTid:
      return record.tid() == term.number;
    case Key::kErrno:
      return ErrnoOf(record) == term.number;
    default:
      return fnmatch(term.name.c_str(), NameOf(record), 0) == 0;
  }
}

}  // namespace dxg::trace
