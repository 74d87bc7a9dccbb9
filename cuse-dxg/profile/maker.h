#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "cuse-dxg/profile/samples.h"
#include "cuse-dxg/profile/trial.h"

namespace dxg::profile {

struct MakeOptions {
  std::string name;    // of the profile; empty: of the first adapter
  std::string base;    // a built-in profile that says what is not known; empty: none
  std::string folder;  // for files beside the profile, relative to it; empty: all goes into the text
  std::string from;    // what was asked, for the head of the text
};

struct Made {
  std::string text;
  std::vector<std::pair<std::string, std::string>> files;  // path relative to the profile, and bytes
  size_t same = 0, different = 0;  // answers that were seen, and that the profile gives again or otherwise
  std::vector<std::string> what;   // of those that differ
};

// Makes a profile of what was seen, and asks an adapter of it all that was asked: what follows from its
// fields is in them, and only what does not is an answer of its own. ENOENT: no adapter was seen; EFBIG: it
// has more than a profile may have.
Result<Made> MakeProfile(const Samples& samples, const MakeOptions& options, const MakeTrial& make_trial);

}  // namespace dxg::profile
