#include "cuse-dxg/attach/library/closer.h"

#include <memory>
#include <new>

#include "base/wake_signal.h"

namespace dxg::attach::library {

void Closer::Close(Whose whose, UniqueFd file) {
  try {
    std::vector<UniqueFd> files(1);
    files.front() = std::move(file);
    Close(whose, std::move(files));
  } catch (const std::bad_alloc&) {
    MutexLock lock(mutex_);
    if (file.valid() && kept_count_ < kept_.size()) kept_[kept_count_++] = file.release();
  }
}

void Closer::Close(Whose whose, std::vector<UniqueFd> files) {
  const bool is_stranger = whose.process == 0;
  std::shared_ptr<std::vector<UniqueFd>> handed;
  try {
    handed = std::make_shared<std::vector<UniqueFd>>();
    handed->swap(files);
    if (is_stranger) ++of_strangers_;
    // What it owns ends with the job.
    (is_stranger ? strangers_ : known_)
        .Run(is_stranger ? 0 : whose.process, is_stranger ? 0 : whose.user, [this, handed, is_stranger] {
          {
            const WokenAgainAndAgain impatient;
            handed->clear();
          }
          if (is_stranger) --of_strangers_;
          CloseKept();
        });
  } catch (const std::bad_alloc&) {
    if (handed != nullptr) {
      handed->swap(files);
      if (is_stranger) --of_strangers_;
    }
    Keep(files);
  }
}

void Closer::Keep(std::vector<UniqueFd>& files) {
  MutexLock lock(mutex_);
  for (UniqueFd& file : files) {
    if (file.valid() && kept_count_ < kept_.size()) kept_[kept_count_++] = file.release();
  }
}

void Closer::CloseKept() {
  for (;;) {
    UniqueFd next;
    MutexLock lock(mutex_);
    if (kept_count_ == 0) return;
    next = UniqueFd(kept_[--kept_count_]);
    lock.Unlock();
  }
}

}  // namespace dxg::attach::library
