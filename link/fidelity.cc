#include "link/fidelity.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <span>
#include <utility>

namespace dxg {
namespace {

// Names come from clients too, and a report is plain text.
void Store(std::string_view text, std::span<char> to) {
  const size_t length = std::min(text.size(), to.size() - 1);
  for (size_t i = 0; i < length; ++i) to[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
  to[length] = '\0';
}

uint64_t Mix(uint64_t hash, uint64_t value) {
  constexpr uint64_t kOdd = 0x9E3779B97F4A7C15;
  hash = (hash ^ value) * kOdd;
  return hash ^ hash >> 32;
}

}  // namespace

Fidelity::Fidelity(uint64_t start_ns)
    : start_ns_(start_ns), entries_(std::make_unique_for_overwrite<Entry[]>(kEntriesMax)) {}

uint64_t Fidelity::KeyOf(const FidelityThing& thing) {
  const std::hash<std::string_view> hash;
  uint64_t key = Mix(static_cast<uint64_t>(thing.kind) << 1 | (thing.number ? 1 : 0), hash(thing.call));
  key = Mix(Mix(key, hash(thing.what)), thing.number.value_or(0));
  return key == 0 ? 1 : key;
}

Fidelity::Slot& Fidelity::Find(uint64_t key) {
  for (size_t at = key % kSlots;; at = (at + 1) % kSlots) {
    const uint64_t found = slots_[at].key.load(std::memory_order_acquire);
    if (found == key || found == 0) return slots_[at];
  }
}

bool Fidelity::Count(const FidelityThing& thing, uint64_t times) {
  const auto kind = static_cast<size_t>(thing.kind);
  const uint64_t key = KeyOf(thing);
  Slot& slot = Find(key);
  if (slot.key.load(std::memory_order_acquire) == key) {
    slot.count.fetch_add(times, std::memory_order_relaxed);
    return true;
  }
  if (used_[kind] < RoomFor(thing.kind)) return false;
  lost_[kind].fetch_add(times, std::memory_order_relaxed);
  return true;
}

void Fidelity::Enter(const FidelityThing& thing, const FidelityFirst& first, std::string_view why,
                     uint64_t times) {
  const auto kind = static_cast<size_t>(thing.kind);
  const uint64_t key = KeyOf(thing);
  MutexLock lock(mutex_);
  Slot& slot = Find(key);
  if (slot.key == 0 && used_[kind] == RoomFor(thing.kind)) {  // somebody else was quicker
    lost_[kind] += times;
    return;
  }
  slot.count += times;
  if (slot.key == key) return;
  Entry& entry = entries_[entry_count_++];
  ++used_[kind];
  entry.kind = thing.kind;
  entry.has_number = thing.number.has_value();
  entry.number = thing.number.value_or(0);
  Store(thing.call, entry.call);
  Store(thing.what, entry.what);
  Store(why, entry.why);
  entry.first = first;
  entry.first.ns = first.ns > start_ns_ ? first.ns - start_ns_ : 0;
  entry.slot = &slot;
  slot.key.store(key, std::memory_order_release);
}

std::vector<Fidelity::Noted> Fidelity::Read() const {
  std::vector<Noted> all;
  MutexLock lock(mutex_);
  for (size_t i = 0; i < entry_count_; ++i) {
    const Entry& entry = entries_[i];
    all.push_back({entry.kind, entry.call, entry.what, entry.why,
                   entry.has_number ? std::optional(entry.number) : std::nullopt, entry.slot->count,
                   entry.first});
  }
  return all;
}

void Fidelity::AddTo(ControlReply* reply) const {
  static_assert(static_cast<int>(FidelityKind::kExact) + 1 == ControlReply::Thing::EXACT &&
                static_cast<int>(FidelityKind::kApproximated) + 1 == ControlReply::Thing::APPROXIMATED &&
                static_cast<int>(FidelityKind::kUnread) + 1 == ControlReply::Thing::UNREAD &&
                static_cast<int>(FidelityKind::kNotExecuted) + 1 == ControlReply::Thing::NOT_EXECUTED &&
                static_cast<int>(FidelityKind::kUnknown) + 1 == ControlReply::Thing::NOT_RECOGNIZED &&
                static_cast<int>(FidelityKind::kRefused) + 1 == ControlReply::Thing::REFUSED &&
                kFidelityKinds == ControlReply::Thing::Kind_ARRAYSIZE - 1);
  auto kind_of = [](size_t kind) { return static_cast<ControlReply::Thing::Kind>(kind + 1); };
  for (const Noted& noted : Read()) {
    ControlReply::Thing* thing = reply->add_things();
    thing->set_kind(kind_of(static_cast<size_t>(noted.kind)));
    thing->set_call(noted.call);
    thing->set_what(noted.what);
    if (noted.number) thing->set_number(*noted.number);
    thing->set_why(noted.why);
    thing->set_count(noted.count);
    thing->set_process(noted.first.process);
    thing->set_thread(noted.first.thread);
    thing->set_first_ns(noted.first.ns);
  }
  for (size_t kind = 0; kind < kFidelityKinds; ++kind) {
    if (lost_[kind] == 0) continue;
    ControlReply::Lost* lost = reply->add_lost();
    lost->set_kind(kind_of(kind));
    lost->set_count(lost_[kind]);
  }
}

std::string FidelityText(const std::string& what, std::optional<uint64_t> number) {
  if (!number) return what;
  // The text may be of a host that means harm, so it is no format: these are all that there are.
  for (const auto& [place, text] :
       {std::pair{"{}", fmt::format("{}", *number)}, std::pair{"{:016x}", fmt::format("{:016x}", *number)},
        std::pair{"{:#010x}", fmt::format("{:#010x}", *number)}}) {
    if (const size_t at = what.find(place); at != std::string::npos)
      return what.substr(0, at) + text + what.substr(at + std::string_view(place).size());
  }
  return fmt::format("{} {}", what, *number);
}

}  // namespace dxg
