#pragma once

#include <string>
#include <vector>

#include "cuse-dxg/profile/samples.h"
#include "proto/dxg/profile.pb.h"

namespace dxg::profile {

// What is said at the head of a profile, a sentence each.
using Notes = std::vector<std::string>;

// The fields of a profile that follow from the answers. What nobody asked keeps its default, or gets a value
// that a profile cannot be without; `notes` says which. `has_base`: the profile has a base, which says what
// is not known.
AdapterProfile FactsOf(const AdapterSeen& seen, bool has_base, Notes* notes);

// How its driver reads private data, as far as that can be told from outside.
void LearnDriverModel(const AdapterSeen& seen, bool has_base, AdapterProfile* profile, Notes* notes);

}  // namespace dxg::profile
