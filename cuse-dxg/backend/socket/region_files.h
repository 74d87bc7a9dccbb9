#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "link/backend.h"
#include "proto/dxg/protocol.pb.h"

namespace dxg {

// Regions of the host's memory as they come with a file each. One descriptor is kept for a file, however
// often it comes, for as long as somebody uses a region of it.
class RegionFiles {
 public:
  // None: the file does not have what the message says, or a client could not map it.
  std::optional<HostRegion> Take(const protocol::Region& from, UniqueFd descriptor) DXG_EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  std::map<std::pair<dev_t, ino_t>, std::weak_ptr<UniqueFd>> files_ DXG_GUARDED_BY(mutex_);
};

}  // namespace dxg
