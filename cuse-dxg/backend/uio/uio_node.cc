#include "cuse-dxg/backend/uio/uio_node.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/unique_fd.h"

namespace dxg::vmbus {
namespace {

class KernelNode final : public UioNode {
 public:
  KernelNode(UniqueFd file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}
  ~KernelNode() override {
    for (const auto& map : maps_) munmap(map.data(), map.size());
  }

  Result<std::span<std::byte>> Map(unsigned index, size_t bytes) override {
    // Of UIO an offset names the map, in pages of the kernel's; a mapping begins where the map begins.
    const off_t offset = static_cast<off_t>(index) * sysconf(_SC_PAGESIZE);
    void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), offset);
    if (at == MAP_FAILED)
      return Status::Refuse(errno, "cannot map {:#x} bytes of map {} of {}: {}", bytes, index, path_,
                            std::strerror(errno));
    maps_.emplace_back(static_cast<std::byte*>(at), bytes);
    return maps_.back();
  }
  int fd() const override { return file_.get(); }

 private:
  const UniqueFd file_;
  const std::string path_;
  std::vector<std::span<std::byte>> maps_;
};

}  // namespace

Result<std::unique_ptr<UioNode>> OpenUioNode(const std::string& path) {
  UniqueFd file(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid()) {
    const int error = errno;
    const char* const hint =
        error == EACCES || error == EPERM ? "; be root"
        : error == ENOENT                 ? "; in a container, pass the device in"
                          : "; the host may have refused to open the channel, or somebody else has it open";
    return Status::Refuse(error, "cannot open {}: {}{}", path, std::strerror(error), hint);
  }
  struct stat about;
  if (fstat(file.get(), &about) != 0 || !S_ISCHR(about.st_mode))
    return Status::Refuse(ENODEV, "{} is no character device", path);
  return std::unique_ptr<UioNode>(std::make_unique<KernelNode>(std::move(file), path));
}

}  // namespace dxg::vmbus
