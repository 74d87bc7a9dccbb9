#include "cuse-dxg/backend/uio/uio_window.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>

#include "base/page.h"
#include "base/unique_fd.h"
#include "cuse-dxg/backend/uio/iomem.h"

namespace dxg::vmbus {
namespace {

constexpr unsigned kMemMajor = 1, kMemMinor = 1;  // of /dev/mem

Result<uint64_t> FindHole(const Places& places, uint64_t length) {
  DXG_ASSIGN(const std::vector<AddressRange> taken, ReadIomem(places.proc + "/iomem"));
  std::ifstream cpuinfo(places.proc + "/cpuinfo");
  return ChooseHole(taken, length,
                    ParseAddressBits(std::string(std::istreambuf_iterator<char>(cpuinfo), {})));
}

// Guest memory that a window would hide, or a device's that it would show.
Status RefuseTaken(const Places& places, const Window& window) {
  Result<std::vector<AddressRange>> taken = ReadIomem(places.proc + "/iomem");
  if (!taken.ok()) return Status::Ok();  // it is the user's word then
  for (const AddressRange& range : *taken) {
    if (range.is_room() || range.last < window.start || range.first > window.start + window.length - 1)
      continue;
    return Status::Refuse(
        EBUSY, "the window {:#x}+{:#x} lies on {:#x}-{:#x}, which is '{}'; choose another, or hole+LENGTH",
        window.start, window.length, range.first, range.last, range.name);
  }
  return Status::Ok();
}

Status CanMap(const std::string& path, int file, uint64_t offset) {
  void* const mapped = mmap(nullptr, kPageBytes, PROT_READ, MAP_SHARED, file, static_cast<off_t>(offset));
  if (mapped == MAP_FAILED)
    return Status::Refuse(errno,
                          "cannot map {} at {:#x}: {}; STRICT_DEVMEM and a locked-down kernel refuse it",
                          path, offset, std::strerror(errno));
  munmap(mapped, kPageBytes);
  return Status::Ok();
}

Status OpenFile(const std::string& path, Window* window) {
  auto file = std::make_shared<UniqueFd>(open(path.c_str(), O_RDWR | O_CLOEXEC));
  struct stat about;
  if (!file->valid() || fstat(file->get(), &about) != 0)
    return Status::Refuse(errno, "cannot open the window's file {}: {}", path, std::strerror(errno));
  const bool is_memory = S_ISCHR(about.st_mode) && about.st_rdev == makedev(kMemMajor, kMemMinor);
  if (S_ISREG(about.st_mode) && static_cast<uint64_t>(about.st_size) < window->length)
    return Status::Refuse(ENOSPC, "the window's file {} has {} bytes and the window {}", path, about.st_size,
                          window->length);
  window->file_offset = is_memory ? window->start : 0;
  DXG_TRY(CanMap(path, file->get(), window->file_offset));
  DXG_TRY(CanMap(path, file->get(), window->file_offset + window->length - kPageBytes));
  window->file = file->get();
  window->keep = std::move(file);
  return Status::Ok();
}

}  // namespace

Result<Window> FindWindow(const UioOptions& options) {
  if (!options.window) {
    return Status::Refuse(
        ENOTSUP,
        "uio_hv_generic reserves no guest-physical addresses for the host's memory; name some with "
        "--vmbus-window START+LENGTH or hole+LENGTH (docs/vmbus.md says what may go wrong)");
  }
  Window window{.start = 0, .length = options.window->length};
  if (options.window->start) {
    window.start = *options.window->start;
    DXG_TRY(RefuseTaken(options.places, window));
  } else {
    DXG_ASSIGN(window.start, FindHole(options.places, window.length));
  }
  if (!options.window_file.empty()) DXG_TRY(OpenFile(options.window_file, &window));
  return window;
}

}  // namespace dxg::vmbus
