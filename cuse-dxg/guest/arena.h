#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/address.h"
#include "base/mutex.h"
#include "cuse-dxg/client/address_map.h"
#include "link/backend.h"

namespace dxg::guest {

// Where a client sees the host's memory. Its own region, in which most of its memory is, is mapped in parts
// that grow with use: so nearly every lock finds its address here and needs no visit, and what a fork
// inherits, or mlockall() fills, is about what the process uses. Other memory has a mapping of its own:
//
// clang-format off
//     window   ....[ region, 64 GiB:  part | part | part      | (not mapped) ]......[ shared resource ]....
//     client        4 MiB at 0x7e00...; 16 MiB elsewhere; 20 MiB elsewhere           [ 0x7d0000000000  ]
// clang-format on
class Arena {
 public:
  struct Mapping {
    WindowAddress window_address;
    uint64_t size = 0;  // bytes
    ClientAddress client_address;
    bool part = false;         // of the process's own region: stays until the process ends
    uint64_t cookie = 0;       // what its first 8 bytes say; 0: nothing is known of them
    client::FileId file;       // behind it, as the client's kernel names it ...
    uint64_t file_offset = 0;  // ... from there on
    bool lost = false;         // the client no longer has it, and allocations are to be seen through it again
    // Where the client sees an address of the window, inside of the mapping.
    ClientAddress At(WindowAddress address) const { return client_address + (address - window_address); }
    uint32_t holders = 0;  // allocations that are seen through it, and calls that are about to say so; of a
                           // part nobody counts
    HostRegion region;     // whose bytes it shows
  };

  // The mapping around all of that range, held: it stays until Release.
  std::optional<Mapping> Hold(WindowAddress window_address, uint64_t size) DXG_EXCLUDES(mutex_);
  // Enters a mapping, held. Where another thread entered one of the same range meanwhile, that one counts and
  // is returned.
  Mapping Add(const Mapping& mapping) DXG_EXCLUDES(mutex_);
  // The range to be mapped so that this one of the region is seen: a part of its own, as large as all before
  // it together.
  Mapping NextPart(const HostRegion& region, WindowAddress window_address, uint64_t size)
      DXG_EXCLUDES(mutex_);
  // Takes a mapping out with its last holder, to be unmapped.
  std::optional<Mapping> Release(WindowAddress window_address) DXG_EXCLUDES(mutex_);
  // Gives back one hold of two that an allocation has, so it is never the last.
  void ReleaseSecond(WindowAddress window_address) DXG_EXCLUDES(mutex_);
  bool Has(WindowAddress window_address) DXG_EXCLUDES(mutex_);
  // Whether a mapping shows bytes of that file.
  bool HasFile(const client::FileId& file) DXG_EXCLUDES(mutex_);
  // Writes to the memory behind a mapping, whether or not the host is still there; nothing where there is
  // none.
  void Store(WindowAddress window_address, uint64_t value) DXG_EXCLUDES(mutex_);
  // A mapping as Hold gave it, which the client no longer has: that hold is given back, the others stay for
  // when it is entered again.
  void Lose(const Mapping& mapping) DXG_EXCLUDES(mutex_);

  // The client executed another program.
  void LoseAll() DXG_EXCLUDES(mutex_);

  // What the client has mapped, as it was kept last.
  std::shared_ptr<client::AddressMap> map() DXG_EXCLUDES(mutex_);
  // Not kept where processes have many: each is a descriptor.
  void KeepMap(std::shared_ptr<client::AddressMap> map) DXG_EXCLUDES(mutex_);

 private:
  std::map<WindowAddress, Mapping>::iterator Around(WindowAddress window_address, uint64_t size)
      DXG_REQUIRES(mutex_);
  const Mapping* PartAround(WindowAddress window_address, uint64_t size) const DXG_REQUIRES(mutex_);
  void Count(const Mapping& mapping) DXG_REQUIRES(mutex_);
  void CountNot(const Mapping& mapping) DXG_REQUIRES(mutex_);

  Mutex mutex_;
  std::map<WindowAddress, Mapping> mappings_ DXG_GUARDED_BY(mutex_);  // by the first address; no parts
  // In the order in which they came; they may overlap. Few: each is as large as all before it.
  std::vector<Mapping> parts_ DXG_GUARDED_BY(mutex_);
  std::map<client::FileId, uint32_t> files_ DXG_GUARDED_BY(mutex_);  // of both: how many show bytes of it
  std::shared_ptr<client::AddressMap> map_ DXG_GUARDED_BY(mutex_);
};

}  // namespace dxg::guest
