#pragma once

#include "cuse-dxg/dxcore/adapter.h"

namespace dxg::dxcore {

// Which adapters are wanted: those with all of `all`, and one of `any` where there are such.
struct Filter {
  static constexpr uint32_t kMax = 16;
  Guid all[kMax];
  uint32_t all_count = 0;
  Guid any[kMax];
  uint32_t any_count = 0;

  bool Accepts(Adapter* adapter) const;
};

// Adapters as they were when it was made, in the driver's order until it is sorted.
class AdapterList final : public IAdapterList {
 public:
  // With a reference of the caller's. Null: no memory.
  static AdapterList* Create(const Filter& filter);

  HResult QueryInterface(const Guid& iid, void** out) override;
  uint32_t AddRef() override;
  uint32_t Release() override;
  HResult GetAdapter(uint32_t index, const Guid& iid, void** out) override;
  uint32_t GetAdapterCount() override { return count_; }
  bool IsStale() override;
  HResult GetFactory(const Guid& iid, void** out) override;
  HResult Sort(uint32_t count, const Preference* preferences) override;
  bool IsAdapterPreferenceSupported(Preference preference) override;

 private:
  explicit AdapterList(const Filter& filter) : filter_(filter) {}

  const Filter filter_;
  uint32_t references_ = 1;
  uint32_t count_ = 0;
  Adapter* adapters_[kAdaptersMax];
};

}  // namespace dxg::dxcore
