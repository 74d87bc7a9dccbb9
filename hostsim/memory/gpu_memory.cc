#include "hostsim/memory/gpu_memory.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/mutex.h"
#include "hostsim/memory/bulk_copy.h"
#include "hostsim/memory/storage.h"

namespace dxg::hostsim {
namespace {

// How much the page tables are asked about at once. A range of repeated pages has a span for each of them.
constexpr uint64_t kTranslatedBytes = 16ull << 20;

// For memory that has no address here.
constexpr uint64_t kBounceBytes = 64 * 1024;

// Memory that can only be read and written takes turns for what is one step to GPUs: that of a client by
// itself, because it may never answer, and all fences together.
Mutex& SlowWordMutex(const GpuSpan& span) {
  static Mutex of_fences;
  return span.storage ? span.storage->slow_word() : of_fences;
}

}  // namespace

bool GpuWindow::Cover(uint64_t at, uint64_t bytes) {
  if (at >= start_ && at + bytes <= end_) return true;
  auto ask = [&](uint64_t wanted) {
    return environment_->Translate(address_ + at, wanted, write_, &spans_, &fault_);
  };
  uint64_t covered = std::max(bytes, std::min(bytes_ - at, kTranslatedBytes));
  if (!ask(covered)) {
    covered = bytes;
    if (!ask(covered)) {
      start_ = end_ = 0;
      failed_ = true;
      return false;
    }
  }
  start_ = at;
  end_ = at + covered;
  last_ = 0;
  starts_.clear();
  if (spans_.size() == 1) return true;
  for (uint64_t from = at; const GpuSpan& span : spans_) {
    starts_.push_back(from);
    from += span.bytes;
  }
  return true;
}

GpuWindow::Run GpuWindow::RunAt(uint64_t at) {
  uint64_t span_start = start_;
  if (!starts_.empty()) {
    const bool in_last = at >= starts_[last_] && at - starts_[last_] < spans_[last_].bytes;
    if (!in_last) {
      last_ = static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), at) - starts_.begin()) - 1;
    }
    span_start = starts_[last_];
  }
  const GpuSpan& span = spans_[last_];
  const uint64_t in_span = at - span_start;
  Run run{nullptr, &span, in_span, span.bytes - in_span};
  // What nobody wrote reads zero without being given its memory.
  if (!span.storage || (!write_ && span.storage->Blank())) return run;
  uint64_t together = run.bytes;
  run.memory = write_ ? span.storage->MemoryForWriting(span.offset + in_span, &together)
                      : span.storage->MemoryForReading(span.offset + in_span, &together);
  if (run.memory) run.bytes = together;
  return run;
}

void GpuWindow::Put(const Run& run, uint64_t skipped, const uint8_t* from, uint64_t bytes) {
  run.Part(skipped, bytes).Write({from, bytes}, environment_->aftermath());
}

// Visits runs of at most what is left, and at most what is asked about at once.
template <class Visit>
bool GpuWindow::ForEachRun(uint64_t at, uint64_t bytes, Visit visit) {
  for (uint64_t done = 0; done < bytes;) {
    const uint64_t covered = std::min(bytes - done, kTranslatedBytes);
    if (!Cover(at + done, covered)) return false;
    for (const uint64_t until = done + covered; done < until;) {
      Run run = RunAt(at + done);
      run.bytes = std::min(run.bytes, until - done);
      if (!visit(run, done)) return false;
      done += run.bytes;
    }
  }
  return true;
}

uint8_t* GpuWindow::At(uint64_t at, uint64_t bytes) {
  if (bytes == 0 || !Cover(at, bytes)) return nullptr;
  const Run run = RunAt(at);
  return run.bytes >= bytes ? run.memory : nullptr;
}

bool GpuWindow::Read(uint64_t at, void* to, uint64_t bytes) {
  auto* out = static_cast<uint8_t*>(to);
  return ForEachRun(at, bytes, [out](const Run& run, uint64_t done) {
    if (run.memory) {
      BulkCopy(out + done, run.memory, run.bytes);
    } else {
      run.Part(0, run.bytes).Read({out + done, run.bytes});
    }
    return true;
  });
}

bool GpuWindow::Write(uint64_t at, const void* from, uint64_t bytes) {
  const auto* in = static_cast<const uint8_t*>(from);
  return ForEachRun(at, bytes, [this, in](const Run& run, uint64_t done) {
    if (run.memory) {
      if (streams()) {
        StreamCopy(run.memory, in + done, run.bytes);
      } else {
        std::memcpy(run.memory, in + done, run.bytes);
      }
    } else {
      Put(run, 0, in + done, run.bytes);
    }
    return true;
  });
}

bool GpuWindow::Fill(uint64_t at, uint64_t bytes, uint32_t pattern) {
  return ForEachRun(at, bytes, [this, pattern](const Run& run, uint64_t) {
    // Runs begin and end at pages or where the op does, so a pattern is never cut.
    if (run.memory) {
      BulkFill(run.memory, pattern, run.bytes);
      return true;
    }
    const std::vector<uint32_t> block(std::min(run.bytes, kBounceBytes) / sizeof pattern, pattern);
    for (uint64_t done = 0; done < run.bytes;) {
      const uint64_t part = std::min(run.bytes - done, kBounceBytes);
      // Safety: bytes of numbers.
      Put(run, done, reinterpret_cast<const uint8_t*>(block.data()), part);
      done += part;
    }
    return true;
  });
}

bool GpuWindow::CopyFrom(uint64_t at, GpuWindow& source, uint64_t source_at, uint64_t bytes) {
  return ForEachRun(at, bytes, [this, source_at, &source](const Run& run, uint64_t done) {
    if (run.memory) return source.Read(source_at + done, run.memory, run.bytes);
    std::vector<uint8_t> block(std::min(run.bytes, kBounceBytes));
    for (uint64_t copied = 0; copied < run.bytes;) {
      const uint64_t part = std::min(run.bytes - copied, kBounceBytes);
      if (!source.Read(source_at + done + copied, block.data(), part)) return false;
      Put(run, copied, block.data(), part);
      copied += part;
    }
    return true;
  });
}

std::atomic<uint64_t>* GpuWindow::Word(const Run& run) {
  return run.span->storage ? run.span->storage->Word(run.span->offset + run.offset) : nullptr;
}

std::optional<uint64_t> GpuWindow::Load64(uint64_t at) {
  if (!Cover(at, sizeof(uint64_t))) return std::nullopt;
  const Run run = RunAt(at);
  if (run.span->storage && run.span->storage->Blank()) return 0;
  if (const std::atomic<uint64_t>* word = Word(run)) return word->load(std::memory_order_acquire);
  uint64_t value = 0;
  // Safety: bytes of a number.
  run.Part(0, sizeof value).Read({reinterpret_cast<uint8_t*>(&value), sizeof value});
  return value;
}

bool GpuWindow::Store64(uint64_t value, uint64_t at) {
  if (!Cover(at, sizeof value)) return false;
  const Run run = RunAt(at);
  if (std::atomic<uint64_t>* word = Word(run)) {
    word->store(value, std::memory_order_release);
  } else {
    MutexLock lock(SlowWordMutex(*run.span));
    // Safety: bytes of a number.
    Put(run, 0, reinterpret_cast<const uint8_t*>(&value), sizeof value);
  }
  return true;
}

bool GpuWindow::Store32(uint32_t value, uint64_t at) {
  if (!Cover(at, sizeof value)) return false;
  const Run run = RunAt(at);
  if (run.memory) {
    // Safety: at a multiple of 4, and memory of this kind has no type.
    std::atomic_ref(*reinterpret_cast<uint32_t*>(run.memory)).store(value, std::memory_order_release);
  } else {
    MutexLock lock(SlowWordMutex(*run.span));
    // Safety: bytes of a number.
    Put(run, 0, reinterpret_cast<const uint8_t*>(&value), sizeof value);
  }
  return true;
}

bool GpuWindow::Add64(uint64_t value) {
  return Change64(0, [value](uint64_t word) { return word + value; }).has_value();
}

std::optional<uint64_t> GpuWindow::Change64(uint64_t at, const std::function<uint64_t(uint64_t)>& change) {
  if (!Cover(at, sizeof(uint64_t))) return std::nullopt;
  const Run run = RunAt(at);
  uint64_t value = 0;
  if (std::atomic<uint64_t>* word = Word(run)) {
    value = word->load(std::memory_order_acquire);
    while (!word->compare_exchange_weak(value, change(value), std::memory_order_acq_rel)) {
    }
    return value;
  }
  MutexLock lock(SlowWordMutex(*run.span));
  // Safety: bytes of a number, both times.
  run.Part(0, sizeof value).Read({reinterpret_cast<uint8_t*>(&value), sizeof value});
  const uint64_t changed = change(value);
  Put(run, 0, reinterpret_cast<const uint8_t*>(&changed), sizeof changed);
  return value;
}

}  // namespace dxg::hostsim
