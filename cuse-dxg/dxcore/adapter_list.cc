#include "cuse-dxg/dxcore/adapter_list.h"

#include <stdlib.h>

#include <new>

#include "cuse-dxg/dxcore/factory.h"
#include "cuse-dxg/dxcore/node.h"

namespace dxg::dxcore {
namespace {

// Calls `use` with each adapter that there is now and that the filter accepts. It keeps the reference where
// it returns true.
template <class Use>
void ForEachAdapter(const Filter& filter, const Use& use) {
  d3dkmt_adapterinfo infos[kAdaptersMax] = {};
  d3dkmt_enumadapters3 args = {};
  args.filter.include_compute_only = 1;
  args.adapter_count = kAdaptersMax;
  args.adapters = reinterpret_cast<uintptr_t>(infos);  // Safety: the interface's way to pass an address
  if (CallFirst(LX_DXENUMADAPTERS3, &args) < 0) return;
  for (uint32_t i = 0; i < args.adapter_count && i < kAdaptersMax; ++i) {
    const OpenAdapter open(infos[i].adapter_handle);
    Adapter* const adapter = Adapter::Find(infos[i].adapter_luid, open);
    if (adapter && !(filter.Accepts(adapter) && use(adapter))) adapter->Release();
  }
}

// Greater is better.
uint64_t RankOf(Preference preference, const Adapter& adapter) {
  switch (preference) {
    case Preference::kHardware:
      return adapter.is_hardware();
    case Preference::kMinimumPower:
      return adapter.is_integrated();
    case Preference::kHighPerformance:
      return adapter.is_integrated() ? 0 : 1 + adapter.dedicated_adapter_memory();
  }
  return 0;  // unknown: ignored
}

bool IsBetter(const Adapter& a, const Adapter& b, const Preference* preferences, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    const uint64_t rank_a = RankOf(preferences[i], a), rank_b = RankOf(preferences[i], b);
    if (rank_a != rank_b) return rank_a > rank_b;
  }
  return false;
}

}  // namespace

bool Filter::Accepts(Adapter* adapter) const {
  for (uint32_t i = 0; i < all_count; ++i) {
    if (!adapter->IsAttributeSupported(all[i])) return false;
  }
  for (uint32_t i = 0; i < any_count; ++i) {
    if (adapter->IsAttributeSupported(any[i])) return true;
  }
  return any_count == 0;
}

AdapterList* AdapterList::Create(const Filter& filter) {
  void* const memory = malloc(sizeof(AdapterList));
  if (!memory) return nullptr;
  AdapterList* const list = new (memory) AdapterList(filter);
  ForEachAdapter(filter, [list](Adapter* adapter) {
    list->adapters_[list->count_++] = adapter;
    return true;
  });
  return list;
}

HResult AdapterList::QueryInterface(const Guid& iid, void** out) {
  if (!out) return kNullPointer;
  *out = nullptr;
  if (!(iid == kIUnknown || iid == kIAdapterList)) return kNoInterface;
  AddRef();
  *out = this;
  return kOk;
}

uint32_t AdapterList::AddRef() { return __atomic_add_fetch(&references_, 1, __ATOMIC_RELAXED); }

uint32_t AdapterList::Release() {
  const uint32_t left = __atomic_sub_fetch(&references_, 1, __ATOMIC_ACQ_REL);
  if (left != 0) return left;
  for (uint32_t i = 0; i < count_; ++i) adapters_[i]->Release();
  free(this);
  return 0;
}

HResult AdapterList::GetAdapter(uint32_t index, const Guid& iid, void** out) {
  if (!out) return kNullPointer;
  *out = nullptr;
  if (index >= count_) return kInvalidArgument;
  if (!adapters_[index]->IsValid()) return kDeviceRemoved;
  return adapters_[index]->QueryInterface(iid, out);
}

// Other adapters than were listed, whatever their order.
bool AdapterList::IsStale() {
  uint32_t now = 0, known = 0;
  ForEachAdapter(filter_, [&](const Adapter* adapter) {
    ++now;
    for (uint32_t i = 0; i < count_; ++i) known += adapters_[i] == adapter;
    return false;
  });
  return now != count_ || known != count_;
}

HResult AdapterList::GetFactory(const Guid& iid, void** out) { return GetFactoryOfProcess(iid, out); }

HResult AdapterList::Sort(uint32_t count, const Preference* preferences) {
  if (count == 0 || !preferences) return kInvalidArgument;
  for (uint32_t i = 1; i < count_; ++i) {  // by insertion, which keeps the order of equals
    Adapter* const moved = adapters_[i];
    uint32_t at = i;
    for (; at > 0 && IsBetter(*moved, *adapters_[at - 1], preferences, count); --at)
      adapters_[at] = adapters_[at - 1];
    adapters_[at] = moved;
  }
  return kOk;
}

bool AdapterList::IsAdapterPreferenceSupported(Preference preference) {
  return preference <= Preference::kHighPerformance;
}

}  // namespace dxg::dxcore
