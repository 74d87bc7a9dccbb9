#pragma once

#include <cstdint>
#include <memory>

#include "cuse-dxg/client/access.h"

namespace dxg::guest {

// Memory of a client as it is mapped now. What the client maps there later is other memory, and the host has
// no business there: it is read and written as if nothing were there. Known are files, by their identity and
// offset, and whether memory has a file at all. Memory without one that was unmapped and mapped anew looks
// the same from outside.
//
// `map` is the client's; null: nothing is known, and all that is mapped there counts.
std::unique_ptr<client::AddressSpace> AsMappedNow(std::unique_ptr<client::AddressSpace> space,
                                                  std::shared_ptr<client::AddressMap> map, uint64_t address,
                                                  uint64_t size);

}  // namespace dxg::guest
