#pragma once

#include <google/protobuf/message.h>

#include <random>

namespace dxg::trace {

using Random = std::mt19937_64;

// Fills every field with anything: lists of up to four elements, bytes of up to 64, or up to 1,000 now and
// then.
void Randomize(google::protobuf::Message* message, Random& random);

}  // namespace dxg::trace
