#pragma once

#include <string>
#include <vector>

#include "cuse-dxg/backend/uio/sysfs.h"
#include "cuse-dxg/backend/uio/uio_options.h"

namespace dxg::vmbus {

// Something that a driver in the kernel has and that we may lack.
struct Feature {
  const char* name;
  const char* calls;  // what clients notice it by
  bool works;
  std::string why;     // how it works, or why it does not
  std::string remedy;  // what to do about it; empty: nothing
};

// What this machine, with these options, lets us do. Looks at files and changes none.
struct Report {
  std::vector<Feature> features;

  static Report Probe(const UioOptions& options, const Found& found);
  // Without those no adapter can be had at all.
  bool usable() const;
  // A line for each, and one for its remedy.
  std::string Text() const;
};

}  // namespace dxg::vmbus
