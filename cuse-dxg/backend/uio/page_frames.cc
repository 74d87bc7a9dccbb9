#include "cuse-dxg/backend/uio/page_frames.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/page.h"
#include "base/unique_fd.h"

namespace dxg::vmbus {
namespace {

constexpr uint64_t kZeroPage = uint64_t{1} << 24;  // of an entry of /proc/kpageflags

class NotedFrames final : public Bus::Pinned {
 public:
  explicit NotedFrames(std::vector<uint64_t> frames) : frames_(std::move(frames)) {}
  bool Frames(uint64_t page, std::span<uint64_t> frames) override {
    if (page > frames_.size() || frames.size() > frames_.size() - page) return false;
    std::copy_n(frames_.begin() + static_cast<ptrdiff_t>(page), frames.size(), frames.begin());
    return true;
  }

 private:
  const std::vector<uint64_t> frames_;
};

Status BringIn(ClientPages& pages) {
  std::byte first;
  for (uint64_t at = 0; at < pages.size(); at += kPageBytes) {
    if (!pages.Read(at, {&first, 1}))
      return Status::Refuse(EFAULT, "page {} of the client's memory is not there", at / kPageBytes);
  }
  return Status::Ok();
}

Status RefuseZeroPages(const std::vector<uint64_t>& frames, const std::string& proc) {
  const std::string path = proc + "/kpageflags";
  const UniqueFd flags(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!flags.valid())
    return Status::Refuse(EPERM, "cannot read {}, which tells unwritten pages apart: {}; be root", path,
                          std::strerror(errno));
  for (size_t page = 0; page < frames.size(); ++page) {
    uint64_t of_page = 0;
    if (pread(flags.get(), &of_page, sizeof(of_page), static_cast<off_t>(frames[page] * sizeof(of_page))) !=
        sizeof(of_page))
      return Status::Refuse(EFAULT, "{} knows no page frame {:#x}", path, frames[page]);
    if (of_page & kZeroPage)
      return Status::Refuse(
          EFAULT,
          "page {} of the client's memory has never been written, so that it has none of its own; "
          "the client has to write to each page first",
          page);
  }
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<Bus::Pinned>> NoteFrames(std::shared_ptr<ClientPages> pages, const std::string& proc) {
  DXG_TRY(BringIn(*pages));
  std::vector<uint64_t> frames(pages->size() / kPageBytes);
  if (!pages->Frames(0, frames))
    return Status::Refuse(EFAULT, "the kernel does not say where the client's pages are");
  if (std::find(frames.begin(), frames.end(), 0) != frames.end())
    return Status::Refuse(EPERM, "the kernel hides where pages are; be root (CAP_SYS_ADMIN)");
  DXG_TRY(RefuseZeroPages(frames, proc));
  return std::unique_ptr<Bus::Pinned>(std::make_unique<NotedFrames>(std::move(frames)));
}

}  // namespace dxg::vmbus
