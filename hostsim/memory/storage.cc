#include "hostsim/memory/storage.h"

#include <algorithm>

#include "base/page.h"
#include "hostsim/memory/video_memory.h"

namespace dxg::hostsim {
namespace {

constexpr uint64_t kNoFrame = ~0ull;

// Calls for the part of [offset, offset + bytes) in each page.
template <class Visit>
void ForEachPage(uint64_t offset, uint64_t bytes, Visit visit) {
  for (uint64_t done = 0; done < bytes;) {
    const uint64_t in_page = (offset + done) % kPageBytes;
    const uint64_t part = std::min(bytes - done, kPageBytes - in_page);
    visit(offset + done, done, part);
    done += part;
  }
}

}  // namespace

Storage::Storage(std::shared_ptr<VideoMemory> memory, StorageTraits traits, Extent extent,
                 std::atomic<uint64_t>& count)
    : traits(std::move(traits)), memory_(std::move(memory)), extent_(std::move(extent)), counted_(count) {
  memory_->Add(*this);
}

Storage::Storage(std::shared_ptr<VideoMemory> memory, StorageTraits traits, GuestMemory* guest,
                 std::atomic<uint64_t>& lost_accesses, std::atomic<uint64_t>& count)
    : traits(std::move(traits)),
      memory_(std::move(memory)),
      guest_(guest),
      lost_accesses_(&lost_accesses),
      counted_(count) {
  memory_->Add(*this);
}

Storage::~Storage() { memory_->Remove(*this); }

void Storage::Read(uint64_t offset, Bytes bytes) const {
  if (!traits.of_guest) return extent_.Read(offset, bytes);
  ForEachPage(offset, bytes.size(), [&](uint64_t at, uint64_t from, uint64_t part) {
    const Bytes page = bytes.subspan(from, part);
    if (ReadGuest(at, page)) return;
    ++*lost_accesses_;
    std::fill(page.begin(), page.end(), uint8_t{0});
  });
}

void Storage::Write(uint64_t offset, ConstBytes bytes) {
  if (!traits.of_guest) return extent_.Write(offset, bytes);
  ForEachPage(offset, bytes.size(), [&](uint64_t at, uint64_t from, uint64_t part) {
    if (!WriteGuest(at, bytes.subspan(from, part))) ++*lost_accesses_;
  });
}

uint8_t* Storage::MemoryForReading(uint64_t offset, uint64_t* bytes) {
  return traits.of_guest ? nullptr : extent_.Memory(offset, bytes);
}

uint8_t* Storage::MemoryForWriting(uint64_t offset, uint64_t* bytes) {
  if (traits.of_guest) return nullptr;
  extent_.Touch();
  return extent_.Memory(offset, bytes);
}

std::atomic<uint64_t>* Storage::Word(uint64_t offset) {
  return traits.of_guest ? nullptr : extent_.Word(offset);
}

// A client's own pages are never taken from it.
void Storage::Discard() {
  if (!traits.of_guest) extent_.Discard();
}

std::optional<uint64_t> Storage::ShowInWindow() {
  if (!extent_.in_sight()) return std::nullopt;
  extent_.Touch();
  return extent_.window_address();
}

std::optional<RegionInfo> Storage::OwnRegion() {
  if (traits.of_guest || !extent_.whole_region()) return std::nullopt;
  extent_.Touch();
  return extent_.region().info();
}

bool Storage::BindGpadl(uint32_t gpadl) {
  if (!traits.of_guest || !guest_ || guest_->Size(gpadl) < traits.bytes) return false;
  MutexLock lock(guest_mutex_);
  gpadl_ = gpadl;
  has_gpadl_ = true;
  return true;
}

bool Storage::BindFrames(uint64_t first_page, std::vector<uint64_t> frames) {
  const uint64_t pages = traits.bytes / kPageBytes;
  if (!traits.of_guest || first_page > pages || frames.size() > pages - first_page) return false;
  MutexLock lock(guest_mutex_);
  frames_.resize(pages, kNoFrame);
  std::copy(frames.begin(), frames.end(), frames_.begin() + static_cast<ptrdiff_t>(first_page));
  return true;
}

Storage::GuestPlace Storage::FindGuest(uint64_t offset) const {
  MutexLock lock(guest_mutex_);
  if (has_gpadl_) return {gpadl_, kNoFrame};
  return {std::nullopt, frames_.empty() ? kNoFrame : frames_[offset / kPageBytes]};
}

// Under no lock: a client's memory may never answer.
bool Storage::ReadGuest(uint64_t offset, Bytes bytes) const {
  if (!guest_) return false;
  const GuestPlace place = FindGuest(offset);
  if (place.gpadl) return guest_->Read(*place.gpadl, offset, bytes);
  return place.frame != kNoFrame && guest_->ReadFrame(place.frame, offset % kPageBytes, bytes);
}

bool Storage::WriteGuest(uint64_t offset, ConstBytes bytes) {
  if (!guest_) return false;
  const GuestPlace place = FindGuest(offset);
  if (place.gpadl) return guest_->Write(*place.gpadl, offset, bytes);
  return place.frame != kNoFrame && guest_->WriteFrame(place.frame, offset % kPageBytes, bytes);
}

}  // namespace dxg::hostsim
