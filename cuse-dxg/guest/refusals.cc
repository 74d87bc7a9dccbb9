#include "cuse-dxg/guest/refusals.h"

#include <algorithm>
#include <vector>

#include "base/printable.h"

namespace dxg::guest {
namespace {

constexpr size_t kItemBytesMax = 4;  // tag and length before each refusal

}  // namespace

void Refusals::Note(const Refused& refused, uint64_t now_ns) {
  constexpr uint64_t kOdd = 0x9E3779B97F4A7C15;  // spreads numbers that differ in few bits
  uint64_t hash = static_cast<uint64_t>(refused.process) * kOdd;
  hash = (hash ^ refused.code) * kOdd;
  hash = (hash ^ static_cast<uint32_t>(refused.status.value())) * kOdd;
  Set& set = sets_[(hash >> 32) % kSets];
  MutexLock lock(set.mutex);
  Place* place = set.places.data();
  for (Place& each : set.places) {
    if (each.count != 0 && each.process == refused.process && each.code == refused.code &&
        each.value == refused.status.value()) {
      place = &each;
      break;
    }
    if (each.last_ns < place->last_ns) place = &each;
  }
  if (place->process != refused.process || place->code != refused.code ||
      place->value != refused.status.value()) {
    place->count = 0;
  }
  ++place->count;
  place->last_ns = now_ns;
  place->row = refused.row;
  place->code = refused.code;
  place->value = refused.status.value();
  place->process = refused.process;
  place->thread = refused.thread;
  place->name_bytes = static_cast<uint8_t>(refused.name.copy(place->name.data(), kNameBytesMax));
  place->why_bytes = static_cast<uint8_t>(refused.status.why().copy(place->why.data(), kWhyBytesMax));
}

void Refusals::AddTo(ControlReply::Live* live, int most) const {
  std::vector<Place> places;
  places.reserve(kPlaces);
  for (const Set& set : sets_) {
    MutexLock lock(set.mutex);
    for (const Place& place : set.places) {
      if (place.count != 0) places.push_back(place);
    }
  }
  std::sort(places.begin(), places.end(),
            [](const Place& one, const Place& other) { return one.last_ns > other.last_ns; });
  if (places.size() > static_cast<size_t>(most)) places.resize(static_cast<size_t>(most));
  size_t bytes = 0;
  for (const Place& place : places) {
    ControlReply::Live::Refusal* refusal = live->add_refusals();
    refusal->set_last_ns(place.last_ns);
    refusal->set_process(static_cast<uint64_t>(place.process));
    refusal->set_thread(static_cast<uint32_t>(place.thread));
    refusal->set_name(Printable({place.name.data(), place.name_bytes}));
    if (place.row != nullptr) refusal->set_call(place.row->name);
    refusal->set_code(place.code);
    refusal->set_error(static_cast<uint32_t>(-static_cast<int64_t>(place.value)));
    refusal->set_count(place.count);
    refusal->set_why(Printable({place.why.data(), place.why_bytes}));
    bytes += refusal->ByteSizeLong() + kItemBytesMax;
    if (bytes > kSeenBytesMax) {
      live->mutable_refusals()->RemoveLast();
      return;
    }
  }
}

}  // namespace dxg::guest
