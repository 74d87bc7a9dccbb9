#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cuse-dxg/profile/facts.h"
#include "cuse-dxg/profile/samples.h"
#include "cuse-dxg/profile/trial.h"
#include "proto/dxg/profile.pb.h"

namespace dxg::profile {

// Gives the profile answers of its own for each type and size of which the trial's adapter, that number of
// it, answers otherwise than was seen, and of which it has none yet. `notes` gets what a profile cannot tell
// apart. Returns how many it added.
size_t AddAnswers(const AdapterSeen& seen, Trial& trial, size_t number, AdapterProfile* profile,
                  Notes* notes);

// How many answers that were seen the trial's adapter gives otherwise; of turns, the first ones are compared.
struct Compared {
  size_t same = 0, different = 0;
  std::vector<std::string> what;  // a text for each type and size that differs
};
Compared Compare(const AdapterSeen& seen, Trial& trial, size_t number);

}  // namespace dxg::profile
