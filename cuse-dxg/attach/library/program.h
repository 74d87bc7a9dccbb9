#pragma once

#include <string>

#include "base/status.h"

namespace dxg::attach::library {

// What is known of a program before it is run.
struct Program {
  // Libraries that want to be loaded before all others, as LD_PRELOAD names them: the runtime of a sanitizer.
  std::string first;
};

// Looks at the file that execvp(3) would run for that word, or at its interpreter. Refused where no library
// can be loaded into it: it is linked statically, is for another architecture, or has another user's rights.
// A program that is not found is for execvp to refuse.
Result<Program> LookAtProgram(const std::string& word);

}  // namespace dxg::attach::library
