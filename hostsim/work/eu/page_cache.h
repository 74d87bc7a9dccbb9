#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/page.h"
#include "hostsim/memory/gpu_memory.h"
#include "hostsim/work/command_streamer.h"

namespace dxg::hostsim::eu {

// GPU memory as messages of the execution units use it: few bytes at a time, anywhere. What the page tables
// said about a page is kept, as a GPU's own translation buffer keeps it, for as long as this object lives:
// one slice of a dispatch. Of addresses 48 bits count.
//
// Functions return false on a fault, which fault() describes; bytes before it may have been written.
class PageCache {
 public:
  explicit PageCache(CommandEnvironment& environment) : environment_(environment) {}

  bool Read(uint64_t address, void* to, uint64_t bytes);
  bool Write(uint64_t address, const void* from, uint64_t bytes);
  // Changes a number at a multiple of its size in one step, as CPUs and other engines see it. What it was
  // before is in `old`.
  template <class Word, class Change>
  bool Update(uint64_t address, Change change, Word* old);

  const GpuFault& fault() const { return fault_; }
  // How often it has asked for a translation, which costs much more than all else here.
  uint64_t translations() const { return translations_; }

 private:
  struct Page {
    uint64_t number = ~0ull;
    uint8_t* memory = nullptr;  // all of the page
    std::shared_ptr<Storage> storage;
  };
  static constexpr size_t kPages = 256;  // of each kind; a power of 2

  static constexpr uint64_t Canonical(uint64_t address) { return address & ((1ull << 48) - 1); }
  // Null: it has to be read or written in another way, if at all.
  uint8_t* Memory(std::array<Page, kPages>& pages, uint64_t address, bool write) {
    Page& page = pages[address / kPageBytes % kPages];
    if (page.number == address / kPageBytes) return page.memory;
    return Enter(page, address / kPageBytes, write);
  }
  uint8_t* Enter(Page& page, uint64_t number, bool write);
  std::optional<uint64_t> ChangeSlowly(uint64_t address, const std::function<uint64_t(uint64_t)>& change);
  bool ReadInPage(uint64_t address, uint8_t* to, uint64_t bytes);
  bool WriteInPage(uint64_t address, const uint8_t* from, uint64_t bytes);

  CommandEnvironment& environment_;
  std::array<Page, kPages> readable_, writable_;
  uint64_t translations_ = 0;
  GpuFault fault_;
};

template <class Word, class Change>
bool PageCache::Update(uint64_t address, Change change, Word* old) {
  address = Canonical(address);
  if (uint8_t* const memory = Memory(writable_, address, true)) {
    // Safety: at a multiple of its size, and memory of this kind has no type.
    std::atomic_ref word(*reinterpret_cast<Word*>(memory + address % kPageBytes));
    *old = word.load(std::memory_order_acquire);
    while (!word.compare_exchange_weak(*old, change(*old), std::memory_order_acq_rel)) {
    }
    return true;
  }
  const uint64_t in_word = address % sizeof(uint64_t) * 8;
  const uint64_t mask = static_cast<Word>(~Word{0});
  const auto before = ChangeSlowly(address & ~7ull, [=](uint64_t word) {
    const uint64_t changed = change(static_cast<Word>(word >> in_word));
    return (word & ~(mask << in_word)) | changed << in_word;
  });
  if (!before) return false;
  *old = static_cast<Word>(*before >> in_word);
  return true;
}

}  // namespace dxg::hostsim::eu
