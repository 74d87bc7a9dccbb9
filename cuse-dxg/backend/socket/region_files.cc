#include "cuse-dxg/backend/socket/region_files.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "base/page.h"

namespace dxg {

std::optional<HostRegion> RegionFiles::Take(const protocol::Region& from, UniqueFd descriptor) {
  struct stat file;
  if (fstat(descriptor.get(), &file) != 0) return std::nullopt;
  const auto bytes = static_cast<uint64_t>(file.st_size);
  const bool whole_pages =
      (from.window_address() | from.size() | from.file_offset()) % kPageBytes == 0 && from.size() != 0;
  const bool wraps = from.window_address() + from.size() < from.window_address();
  if (!whole_pages || wraps || from.file_offset() > bytes || from.size() > bytes - from.file_offset()) {
    spdlog::warn("the host shows {} bytes at {:#x} of its window, which its file of {} bytes does not have",
                 from.size(), from.window_address(), bytes);
    return std::nullopt;
  }
  HostRegion region;
  region.window_address = WindowAddress(from.window_address());
  region.size = from.size();
  region.file_offset = from.file_offset();
  region.cookie = from.cookie();
  MutexLock lock(mutex_);
  std::erase_if(files_, [](const auto& each) { return each.second.expired(); });
  std::weak_ptr<UniqueFd>& known = files_[{file.st_dev, file.st_ino}];
  std::shared_ptr<UniqueFd> kept = known.lock();
  if (kept == nullptr) {
    kept = std::make_shared<UniqueFd>(std::move(descriptor));
    known = kept;
  }
  region.file = kept->get();
  region.keep = std::move(kept);
  return region;
}

}  // namespace dxg
