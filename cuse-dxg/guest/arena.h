#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/address.h"
#include "base/mutex.h"
#include "link/backend.h"

namespace dxg::guest {

// Where a client sees the host's memory. Regions of the host's window are mapped into the client once, whole
// (most of a process's memory is in one), so that nearly every lock finds its address here and needs no
// visit:
//
//     window   ....[ region, 64 GiB ..... slice ... ]........[ shared resource ]....
//     client       [ 0x7e1234000000 ..... slice ... ]        [ 0x7e0000000000  ]
class Arena {
 public:
  struct Mapping {
    WindowAddress window_address;
    uint64_t size = 0;  // bytes
    ClientAddress client_address;
    uint64_t cookie = 0;  // what its first 8 bytes say; 0: nothing is known of them
    // Where the client sees an address of the window, inside of the mapping.
    ClientAddress At(WindowAddress address) const { return client_address + (address - window_address); }
    uint32_t holders = 0;  // allocations that are seen through it, and calls that are about to say so
    HostRegion region;     // whose bytes it shows
  };

  // The mapping around all of that range, held: it stays until Release.
  std::optional<Mapping> Hold(WindowAddress window_address, uint64_t size) DXG_EXCLUDES(mutex_);
  // Enters a mapping, held. Where another thread entered one of the same range meanwhile, that one counts and
  // is returned.
  Mapping Add(const Mapping& mapping) DXG_EXCLUDES(mutex_);
  // Takes a mapping out with its last holder, to be unmapped; one with a cookie is the process's own region,
  // and stays.
  std::optional<Mapping> Release(WindowAddress window_address) DXG_EXCLUDES(mutex_);
  bool Has(WindowAddress window_address) DXG_EXCLUDES(mutex_);
  // Writes to the memory behind a mapping, whether or not the host is still there; nothing where there is
  // none.
  void Store(WindowAddress window_address, uint64_t value) DXG_EXCLUDES(mutex_);
  // A mapping that the client no longer has.
  void Forget(WindowAddress window_address) DXG_EXCLUDES(mutex_);
  // The client executed another program.
  void Clear() DXG_EXCLUDES(mutex_);

 private:
  std::map<WindowAddress, Mapping>::iterator Around(WindowAddress window_address, uint64_t size)
      DXG_REQUIRES(mutex_);

  Mutex mutex_;
  std::map<WindowAddress, Mapping> mappings_ DXG_GUARDED_BY(mutex_);  // by the first address
};

}  // namespace dxg::guest
