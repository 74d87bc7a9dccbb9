#include "cuse-dxg/attach/library/ring.h"

#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/shared_memory.h"

namespace dxg::attach::library {

using preload::node::RingPage;
using preload::node::Said;
using preload::node::Told;
namespace state = preload::node::ring;

Ring::Ring(std::shared_ptr<std::byte> keep, UniqueFd memory, UniqueFd bell)
    : keep_(std::move(keep)),
      page_(new (keep_.get()) RingPage()),
      memory_(std::move(memory)),
      bell_(std::move(bell)) {}

Result<std::unique_ptr<Ring>> Ring::Make() {
  DXG_ASSIGN(UniqueFd memory, MakeSharedMemory("dxg-ring", state::kBytes));
  UniqueFd bell(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!bell.valid()) return Status::Refuse(errno, "no eventfd for a ring: {}", std::strerror(errno));
  auto keep = MapSharedMemory(memory.get(), 0, state::kBytes);
  if (keep == nullptr) return Status::Refuse(ENOMEM, "the page of a ring cannot be mapped");
  return std::unique_ptr<Ring>(new Ring(std::move(keep), std::move(memory), std::move(bell)));
}

bool Ring::Take(Said* said, std::span<std::byte> room, size_t* bytes) {
  taken_ = Word(page_->called).load(std::memory_order_acquire);
  std::memcpy(said, &page_->said, sizeof(*said));
  std::atomic_signal_fence(std::memory_order_seq_cst);  // what is judged is the copy
  const size_t of_code = _IOC_SIZE(said->code);
  *bytes = (said->flags & preload::node::flag::kWithoutStruct) == 0 ? of_code : 0;
  if (of_code > state::kStructMax || *bytes > room.size()) return false;
  std::memcpy(room.data(), page_->in, *bytes);
  return true;
}

bool Ring::Answer(const Told& told, std::span<const std::byte> out) {
  const size_t bytes = std::min<size_t>(out.size(), state::kStructMax);
  std::memcpy(&page_->told, &told, sizeof(told));
  if (bytes != 0) std::memcpy(page_->out, out.data(), bytes);
  Word(page_->out_bytes).store(static_cast<uint32_t>(bytes), std::memory_order_relaxed);
  uint32_t spins = state::kSpins;
  return Word(page_->state).compare_exchange_strong(spins, state::kAnswered);
}

void Ring::Divert() {
  uint32_t spins = state::kSpins;
  Word(page_->state).compare_exchange_strong(spins, state::kSocket);
}

}  // namespace dxg::attach::library
