#include "hostsim/memory/io_space.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "base/page.h"
#include "hostsim/machine/rollback.h"

namespace dxg::hostsim {
namespace {

// The host maps a region in parts of this size, because a process has less address space than many regions
// need together.
constexpr uint64_t kChunkBytes = 1ull << 30;

constexpr uint64_t kHugePageBytes = 2ull << 20;

constexpr unsigned kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// A client that holds the descriptor can neither make the file shorter under the host's mapping nor longer.
std::shared_ptr<const FileDescriptor> CreateFile(const IoSpace& space, uint64_t bytes) {
  const int number = memfd_create("dxg-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (number < 0) return nullptr;
  auto file = std::make_shared<const FileDescriptor>(number, space.freeing);
  if (ftruncate(number, static_cast<off_t>(bytes)) != 0 || fcntl(number, F_ADD_SEALS, kSeals) != 0) {
    return nullptr;
  }
  return file;
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  struct stat status {};
  const auto freeing = freeing_.lock();
  if (!freeing || fstat(number_, &status) != 0) {
    close(number_);
    return;
  }
  freeing->Run(static_cast<uint64_t>(status.st_blocks) * 512, [number = number_] { close(number); });
}

std::shared_ptr<Region> Region::Create(std::shared_ptr<IoSpace> space, uint64_t bytes, uint64_t cookie) {
  auto file = CreateFile(*space, bytes);
  if (!file) return nullptr;
  const std::optional<uint64_t> start = space->Register(bytes);
  if (!start) return nullptr;
  IoSpace& published = *space;
  Rollback unregister([&] { published.Unregister(*start); });
  std::unique_ptr<Region> created(new Region(std::move(space), {std::move(file), *start, bytes, cookie}));
  unregister.Keep();  // the region does it from now on
  std::shared_ptr<Region> region = std::move(created);
  if (cookie != 0) {
    MutexLock lock(region->mutex_);
    region->taken_.Insert(0, kPageBytes, {});
    if (pwrite(region->info_.file->number(), &cookie, sizeof cookie, 0) != sizeof cookie) return nullptr;
  }
  published.Publish(*start, region.get());
  return region;
}

std::shared_ptr<Region> Region::OfWindow(std::shared_ptr<IoSpace> space, WindowFile window, uint64_t start) {
  IoSpace& published = *space;
  std::shared_ptr<Region> region(
      new Region(std::move(space), {std::move(window.file), start, window.bytes, 0}));
  return published.BeWindow(start, region) ? region : nullptr;
}

Region::Region(std::shared_ptr<IoSpace> space, RegionInfo info)
    : space_(std::move(space)),
      info_(std::move(info)),
      chunks_((info_.bytes + kChunkBytes - 1) / kChunkBytes),
      taken_(kHugePageBytes) {}

Region::~Region() {
  space_->Unregister(info_.window_start);
  for (size_t i = 0; i < chunks_.size(); ++i) {
    if (chunks_[i] != nullptr) munmap(chunks_[i], std::min(kChunkBytes, info_.bytes - i * kChunkBytes));
  }
}

uint64_t Region::machine_bytes() const {
  struct stat status {};
  if (fstat(info_.file->number(), &status) != 0) return 0;
  return static_cast<uint64_t>(status.st_blocks) * 512;
}

uint8_t* Region::Chunk(uint64_t offset) const {
  const size_t index = offset / kChunkBytes;
  if (uint8_t* mapped = chunks_[index].load(std::memory_order_acquire)) return mapped;
  MutexLock lock(map_mutex_);
  if (uint8_t* mapped = chunks_[index].load(std::memory_order_acquire)) return mapped;
  const uint64_t start = index * kChunkBytes;
  void* mapped = mmap(nullptr, std::min(kChunkBytes, info_.bytes - start), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_NORESERVE, info_.file->number(), static_cast<off_t>(start));
  if (mapped == MAP_FAILED) return nullptr;
  chunks_[index].store(static_cast<uint8_t*>(mapped), std::memory_order_release);
  return chunks_[index];
}

// Through the file, because reading a mapping would give every page that was never written its memory.
void Region::Read(uint64_t offset, Bytes bytes) const {
  while (!bytes.empty()) {
    const ssize_t got = pread(info_.file->number(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ReadMapped(offset, bytes);
    if (got == 0) return std::fill(bytes.begin(), bytes.end(), uint8_t{0});  // behind its end
    bytes = bytes.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
}

// Of a window that is a device without a call to read it.
void Region::ReadMapped(uint64_t offset, Bytes bytes) const {
  while (!bytes.empty()) {
    const uint64_t in_chunk = offset % kChunkBytes;
    const size_t part = std::min<uint64_t>(bytes.size(), kChunkBytes - in_chunk);
    const uint8_t* const mapped = Chunk(offset);
    if (mapped == nullptr) return std::fill(bytes.begin(), bytes.end(), uint8_t{0});  // no address space
    std::memcpy(bytes.data(), mapped + in_chunk, part);
    bytes = bytes.subspan(part);
    offset += part;
  }
}

// Through the mapping, because a client that polls a number must never see half of it; through the file where
// there is no address space left for that.
void Region::Write(uint64_t offset, ConstBytes bytes) {
  while (!bytes.empty()) {
    const uint64_t in_chunk = offset % kChunkBytes;
    const size_t part = std::min<uint64_t>(bytes.size(), kChunkBytes - in_chunk);
    if (uint8_t* mapped = Chunk(offset)) {
      if (part == sizeof(uint64_t) && offset % sizeof(uint64_t) == 0) {
        uint64_t word;
        std::memcpy(&word, bytes.data(), sizeof word);
        Word(offset)->store(word, std::memory_order_release);
      } else {
        std::memcpy(mapped + in_chunk, bytes.data(), part);
      }
    } else if (pwrite(info_.file->number(), bytes.data(), part, static_cast<off_t>(offset)) < 0 &&
               errno != EINTR) {
      return;  // the machine is out of memory; what was not written reads as it was
    }
    bytes = bytes.subspan(part);
    offset += part;
  }
}

void Region::Discard(uint64_t offset, uint64_t bytes) {
  const int punched = fallocate(info_.file->number(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                static_cast<off_t>(offset), static_cast<off_t>(bytes));
  if (punched == 0) return;
  // The file of a window can be of a kind that has no holes.
  while (bytes != 0) {
    uint64_t part = bytes;
    uint8_t* const memory = Memory(offset, &part);
    if (!memory) return;
    std::memset(memory, 0, part);
    offset += part;
    bytes -= part;
  }
}

std::atomic<uint64_t>* Region::Word(uint64_t offset) {
  uint8_t* mapped = Chunk(offset);
  // Safety: eight aligned bytes of shared memory, which an atomic of the machine's word is.
  static_assert(std::atomic<uint64_t>::is_always_lock_free && sizeof(std::atomic<uint64_t>) == 8);
  return mapped ? reinterpret_cast<std::atomic<uint64_t>*>(mapped + offset % kChunkBytes) : nullptr;
}

uint8_t* Region::Memory(uint64_t offset, uint64_t* bytes) {
  uint8_t* const mapped = Chunk(offset);
  if (!mapped) return nullptr;
  *bytes = std::min(*bytes, kChunkBytes - offset % kChunkBytes);
  return mapped + offset % kChunkBytes;
}

// Large ranges begin where a large page can, so that the guest's CPU may map them with few entries.
std::optional<uint64_t> Region::Take(uint64_t bytes) {
  MutexLock lock(mutex_);
  const std::optional<uint64_t> offset = taken_.FindGap(bytes, bytes >= kHugePageBytes, 0, info_.bytes);
  if (offset) taken_.Insert(*offset, *offset + bytes, {});
  return offset;
}

void Region::Return(uint64_t offset) {
  MutexLock lock(mutex_);
  taken_.Erase(offset);
}

std::optional<uint64_t> IoSpace::Register(uint64_t bytes) {
  MutexLock lock(mutex_);
  const std::optional<uint64_t> start = parts_.FindGap(bytes, true, kStart, kEnd);
  if (start) parts_.Insert(*start, *start + bytes, nullptr);
  return start;
}

bool IoSpace::Shows(uint64_t window_address) {
  if (!is_one_file) return true;
  MutexLock lock(mutex_);
  const std::shared_ptr<Region> window = window_.lock();
  return window && window_address >= window->info().window_start &&
         window_address - window->info().window_start < window->info().bytes;
}

bool IoSpace::BeWindow(uint64_t start, const std::shared_ptr<Region>& region) {
  MutexLock lock(mutex_);
  if (!window_.expired()) return false;
  parts_.Insert(start, start + region->info().bytes, region.get());
  window_ = region;
  return true;
}

std::shared_ptr<Region> IoSpace::window() {
  MutexLock lock(mutex_);
  return window_.lock();
}

void IoSpace::Publish(uint64_t start, const Region* region) {
  MutexLock lock(mutex_);
  parts_.Find(start)->value = region;
}

void IoSpace::Unregister(uint64_t start) {
  MutexLock lock(mutex_);
  parts_.Erase(start);
}

std::optional<RegionInfo> IoSpace::Find(uint64_t window_address) {
  MutexLock lock(mutex_);
  const auto* part = parts_.Find(window_address);
  if (!part || !part->value) return std::nullopt;
  return part->value->info();
}

uint64_t IoSpace::regions() const {
  MutexLock lock(mutex_);
  return parts_.size();
}

uint64_t IoSpace::machine_bytes() const {
  MutexLock lock(mutex_);
  uint64_t bytes = 0;
  parts_.ForEach([&bytes](auto& part) { bytes += part.value ? part.value->machine_bytes() : 0; });
  return bytes;
}

// Nothing that memory would hold by accident, and never 0.
uint64_t IoSpace::NewCookie() {
  MutexLock lock(mutex_);
  cookies_ += 0x9E3779B97F4A7C15u;
  uint64_t z = cookies_;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return (z ^ (z >> 31)) | 1;
}

Extent::Extent(std::shared_ptr<IoSpace> space, std::shared_ptr<Region> region, uint64_t offset,
               uint64_t bytes, bool whole_region)
    : space_(std::move(space)),
      region_(std::move(region)),
      offset_(offset),
      bytes_(bytes),
      whole_region_(whole_region) {
  space_->extent_bytes += bytes_;
}

Extent::Extent(Extent&& other) noexcept { *this = std::move(other); }

Extent& Extent::operator=(Extent&& other) noexcept {
  std::swap(space_, other.space_);
  std::swap(region_, other.region_);
  std::swap(offset_, other.offset_);
  std::swap(bytes_, other.bytes_);
  std::swap(whole_region_, other.whole_region_);
  touched_ = other.touched_.exchange(touched_);
  return *this;
}

// Its range is another's when it reads zero again, and not before.
void Extent::GiveBack(const std::shared_ptr<IoSpace>& space, const std::shared_ptr<Region>& region,
                      uint64_t offset, uint64_t bytes, bool touched) {
  // In parts: whoever touches memory of the same file waits for one part.
  constexpr uint64_t kPartBytes = 8ull << 20;
  for (uint64_t done = 0; touched && !space->ending && done < bytes; done += kPartBytes) {
    region->Discard(offset + done, std::min(kPartBytes, bytes - done));
  }
  region->Return(offset);
  space->extent_bytes -= bytes;
}

Extent::~Extent() {
  if (!region_) return;
  if (whole_region_) {
    space_->extent_bytes -= bytes_;
    return;  // the file gives its memory back when nobody has it any more
  }
  if (!touched() || !space_->freeing) {
    GiveBack(space_, region_, offset_, bytes_, touched());
    return;
  }
  // Without memory for a job it is done here: a destructor has nobody to tell.
  try {
    space_->freeing->Run(bytes_, [space = space_, region = region_, offset = offset_, bytes = bytes_] {
      GiveBack(space, region, offset, bytes, true);
    });
  } catch (const std::bad_alloc&) {
    GiveBack(space_, region_, offset_, bytes_, true);
  }
}

void Extent::Read(uint64_t offset, Bytes bytes) const {
  if (touched_.load(std::memory_order_relaxed)) return region_->Read(offset_ + offset, bytes);
  std::fill(bytes.begin(), bytes.end(), uint8_t{0});
}

void Extent::Write(uint64_t offset, ConstBytes bytes) {
  Touch();
  region_->Write(offset_ + offset, bytes);
}

void Extent::Discard() {
  if (touched_.load(std::memory_order_relaxed)) region_->Discard(offset_, bytes_);
}

std::atomic<uint64_t>* Extent::Word(uint64_t offset) {
  Touch();
  return region_->Word(offset_ + offset);
}

Extent RegionSet::AllocateInSight(uint64_t bytes) {
  if (!space_->is_one_file) return Allocate(bytes);
  bytes = RoundToPages(bytes);
  const std::shared_ptr<Region> window = space_->window();
  const auto offset = window ? window->Take(bytes) : std::nullopt;
  return offset ? Extent(space_, window, *offset, bytes, false) : Extent();
}

Extent RegionSet::Allocate(uint64_t bytes) {
  bytes = RoundToPages(bytes);
  if (space_->is_one_file) {
    if (Extent shown = AllocateInSight(bytes)) return shown;
  }
  MutexLock lock(mutex_);
  for (const auto& region : regions_) {
    if (const auto offset = region->Take(bytes)) return Extent(space_, region, *offset, bytes, false);
  }
  // Room for the first page, and for a large range to begin at a large page.
  const uint64_t least = bytes + kHugePageBytes;
  const uint64_t region_bytes = (least + kRegionBytes - 1) / kRegionBytes * kRegionBytes;
  auto region = Region::Create(space_, region_bytes, space_->NewCookie());
  if (!region) return {};
  regions_.push_back(region);
  const auto offset = region->Take(bytes);
  return offset ? Extent(space_, region, *offset, bytes, false) : Extent();
}

std::optional<RegionInfo> RegionSet::Home() {
  if (space_->is_one_file) return std::nullopt;
  MutexLock lock(mutex_);
  if (regions_.empty()) {
    auto region = Region::Create(space_, kRegionBytes, space_->NewCookie());
    if (!region) return std::nullopt;
    regions_.push_back(std::move(region));
  }
  return regions_.front()->info();
}

Extent RegionSet::AllocateAlone(uint64_t bytes) {
  bytes = RoundToPages(bytes);
  if (space_->is_one_file) return Allocate(bytes);
  auto region = Region::Create(space_, bytes, 0);
  return region ? Extent(space_, std::move(region), 0, bytes, true) : Extent();
}

}  // namespace dxg::hostsim
