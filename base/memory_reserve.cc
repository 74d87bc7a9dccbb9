#include "base/memory_reserve.h"

#include <malloc.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <thread>

namespace dxg {
namespace {

// Enough for each worker to be amid an answer. Each is below the size that the allocator maps by itself, so
// what is given back to it is what it serves from.
constexpr size_t kBlocks = 16;
constexpr size_t kBlockBytes = 64 * 1024;

std::atomic<bool> kept{false};
std::atomic<bool> low{false};  // not all blocks are there
std::array<std::atomic<void*>, kBlocks> blocks;

thread_local unsigned uses = 0;
thread_local int patience_ms = 0;

// Where the machine has nothing to give, the rest comes another time.
void Refill() {
  low = false;
  for (std::atomic<void*>& block : blocks) {
    if (block.load() != nullptr) continue;
    void* memory = std::malloc(kBlockBytes);
    if (memory == nullptr) {
      low = true;
      return;
    }
    void* nothing = nullptr;
    if (!block.compare_exchange_strong(nothing, memory)) std::free(memory);  // another thread was faster
  }
}

// What operator new calls when it finds no memory; it tries again when this returns.
void FindMemory() {
  if (uses == 0) throw std::bad_alloc();
  for (std::atomic<void*>& block : blocks) {
    void* const memory = block.exchange(nullptr);
    if (memory == nullptr) continue;
    low = true;
    std::free(memory);
    return;
  }
  if (patience_ms == 0) throw std::bad_alloc();
  --patience_ms;
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace

void MemoryReserve::Keep() {
  Refill();
  kept = true;
  std::set_new_handler(FindMemory);
}

void PrepareMemory() {
  MemoryReserve::Keep();
  (void)mallopt(M_MXFAST, 0);
}

MemoryReserve::Use::Use() {
  if (uses++ == 0) patience_ms = kPatienceMs;
}

MemoryReserve::Use::~Use() {
  if (--uses == 0 && low.load(std::memory_order_relaxed) && kept) Refill();
}

}  // namespace dxg
