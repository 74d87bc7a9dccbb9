#include <algorithm>
#include <iterator>

#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {
namespace {

constexpr uint32_t kHardwareScheduling = 0;

// What the page "Querying WDDM feature support and enablement" knows.
struct KnownFeature {
  uint32_t id;
  bool driver;  // exists only where the GPU's driver supports it
};
constexpr KnownFeature kKnownFeatures[] = {
    {kHardwareScheduling, true},
    {1, true},    // hardware flip queue
    {2, true},    // linked adapters in VMs
    {3, true},    // driver signals CPU events
    {4, true},    // user mode submission
    {5, true},    // shared backing store
    {32, false},  // page-based memory manager
    {33, false},  // kernel mode testing
    {34, false},  // 64K page table demotion fix
    {35, false},  // present on hardware queues in VMs
    {36, false},  // IOMMU for GPU virtual addresses
    {37, true},   // native fences
};

// DXGK_FEATURE_DESCRIPTION's and DXGK_ISFEATUREENABLED_RESULT's bits
constexpr uint32_t kDescriptorSupported = 1u << 0;
constexpr uint32_t kDescriptorDriverFeature = 1u << 5;
constexpr uint32_t kEnabled = 1u << 0;
constexpr uint32_t kKnown = 1u << 1;
constexpr uint32_t kSupportedByDriver = 1u << 2;
constexpr uint32_t kSupportedOnConfig = 1u << 3;

AdapterProfile::Feature FeatureOf(const AdapterProfile& profile, uint32_t id) {
  AdapterProfile::Feature feature;
  feature.set_id(id);
  if (id == kHardwareScheduling) {
    feature.set_supported_by_driver(profile.hardware_scheduling() != AdapterProfile::OFF);
    feature.set_enabled(profile.hardware_scheduling() == AdapterProfile::ENABLED);
    feature.set_version(feature.supported_by_driver() ? 1 : 0);
    return feature;
  }
  for (const AdapterProfile::Feature& own : profile.features()) {
    if (own.id() == id) return own;
  }
  return feature;
}

// Of IsFeatureEnabled and IsFeatureEnabledGlobal: what is known of a feature by that number. One that nobody
// knows is a success with nothing set.
template <class Reply>
int32_t Answer(const AdapterProfile& profile, uint32_t id, Reply* reply) {
  const auto known = std::find_if(std::begin(kKnownFeatures), std::end(kKnownFeatures),
                                  [&](const KnownFeature& row) { return row.id == id; });
  if (known == std::end(kKnownFeatures)) return kStatusSuccess;
  const AdapterProfile::Feature feature = FeatureOf(profile, known->id);
  const bool supported = feature.enabled() || feature.supported_by_driver();
  reply->set_min_supported_version(supported ? 1 : 0);
  reply->set_max_supported_version(feature.version());
  reply->set_descriptor_bits((supported ? kDescriptorSupported : 0) |
                             (known->driver ? kDescriptorDriverFeature : 0));
  reply->set_version(feature.version());
  reply->set_value(kKnown | (feature.enabled() ? kEnabled : 0) | (supported ? kSupportedOnConfig : 0) |
                   (known->driver && feature.supported_by_driver() ? kSupportedByDriver : 0));
  return kStatusSuccess;
}

}  // namespace

int32_t Commands::Handle(CommandContext& call, const host::IsFeatureEnabled::Request& request,
                         host::IsFeatureEnabled::Reply* reply) {
  if (!call.adapter) return kStatusInvalidParameter;
  if (call.adapter->removed()) return kStatusDeviceRemoved;
  const AdapterProfile& profile = call.adapter->profile();
  if (profile.policy().refuse_feature_queries()) return kStatusInvalidParameter;
  return Answer(profile, request.feature_id(), reply);
}

// No adapter is asked, so that nothing is there of what its driver makes possible.
int32_t Commands::Handle(CommandContext&, const host::IsFeatureEnabledGlobal::Request& request,
                         host::IsFeatureEnabledGlobal::Reply* reply) {
  return Answer(AdapterProfile(), request.feature_id(), reply);
}

}  // namespace dxg::hostsim
