#include "hostsim/serve/guest_gpadls.h"

namespace dxg::hostsim::serve {

using vmbus::link::GpadlBody;
using vmbus::link::GpadlFrames;

GuestGpadls::Outcome GuestGpadls::Begin(std::span<const std::byte> payload) {
  const auto begin = vmbus::link::ReadGpadlBegin(payload);
  if (!begin) return {};
  MutexLock lock(mutex_);
  if (gpadls_.contains(begin->gpadl) || gpadls_.size() >= kListsMax || pages_ + begin->pages > kPagesMax)
    return {Outcome::kRefused, begin->relid, begin->gpadl};
  pages_ += begin->pages;
  Gpadl& gpadl = gpadls_.emplace(begin->gpadl, Gpadl{begin->relid, GpadlFrames(begin->pages)}).first->second;
  return Add(gpadl, begin->gpadl, begin->frames);
}

GuestGpadls::Outcome GuestGpadls::GoOn(std::span<const std::byte> payload) {
  std::span<const std::byte> frames;
  const auto body = vmbus::link::Read<GpadlBody>(payload, &frames);
  if (!body) return {};
  MutexLock lock(mutex_);
  const auto found = gpadls_.find(body->gpadl);
  if (found == gpadls_.end()) return {Outcome::kMoreToCome};  // of one that was refused
  if (found->second.frames.complete()) return {};
  return Add(found->second, body->gpadl, frames);
}

GuestGpadls::Outcome GuestGpadls::Add(Gpadl& gpadl, uint32_t number, std::span<const std::byte> frames) {
  if (!gpadl.frames.Add(frames)) return {};
  return {gpadl.frames.complete() ? Outcome::kComplete : Outcome::kMoreToCome, gpadl.relid, number};
}

bool GuestGpadls::GiveTo(Backend& backend, uint32_t gpadl) {
  MutexLock lock(mutex_);
  const auto found = gpadls_.find(gpadl);
  if (found == gpadls_.end()) return false;
  auto list = backend.AddClientPages(std::make_shared<GpadlPages>(ram_, found->second.frames.frames()));
  if (list.ok()) {
    found->second.list = *list;
  } else {
    pages_ -= found->second.frames.pages();
    gpadls_.erase(found);
  }
  return list.ok();
}

uint32_t GuestGpadls::End(uint32_t gpadl) {
  MutexLock lock(mutex_);
  const auto found = gpadls_.find(gpadl);
  if (found == gpadls_.end()) return 0;
  const uint32_t list = found->second.list;
  pages_ -= found->second.frames.pages();
  gpadls_.erase(found);
  return list;
}

uint32_t GuestGpadls::ListOf(uint32_t gpadl) {
  MutexLock lock(mutex_);
  const auto found = gpadls_.find(gpadl);
  return found == gpadls_.end() ? 0 : found->second.list;
}

std::optional<std::vector<uint64_t>> GuestGpadls::FramesOf(uint32_t gpadl) {
  MutexLock lock(mutex_);
  const auto found = gpadls_.find(gpadl);
  if (found == gpadls_.end() || !found->second.frames.complete()) return std::nullopt;
  return found->second.frames.frames();
}

}  // namespace dxg::hostsim::serve
