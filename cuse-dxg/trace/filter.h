#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::trace {

// Which records somebody wants to see: terms with commas between them, all of which have to hold.
//
//     call=CreateDevice     a name, with * for any letters; also open, close, adapter, process, descriptor,
//     event, host, ioctl pid=1234   tid=1234 errno=EINVAL          a name or a number; 0 is a success
//     errno!=0              with != it must not be so
class Filter {
 public:
  // EINVAL: it is no such expression. An empty one lets all pass.
  static Result<Filter> Parse(const std::string& text);
  bool Passes(const TraceRecord& record) const;

 private:
  enum class Key : uint8_t { kCall, kPid, kTid, kErrno };
  struct Term {
    Key key;
    bool negated;
    std::string name;  // of kCall
    uint32_t number;   // of the others
  };
  static Result<Term> ParseTerm(std::string_view text);
  static bool Holds(const Term& term, const TraceRecord& record);

  std::vector<Term> terms_;
};

}  // namespace dxg::trace
