#include "hostsim/memory/resource.h"

#include "hostsim/machine/call.h"

namespace dxg::hostsim {

Resource* FindResource(const CommandContext& call, Process& process, uint32_t handle) {
  Resource* resource = process.Find<Resource>(handle);
  return resource && resource->device.adapter == call.adapter ? resource : nullptr;
}

Objects TakeResource(Process& process, Resource& resource) {
  Objects taken;
  Device& device = resource.device;
  for (const auto& [place, allocation] : resource.allocations) {
    device.children.erase(allocation);
    taken.push_back(process.Take(allocation));
  }
  const uint32_t handle = resource.handle;
  device.children.erase(handle);
  taken.push_back(process.Take(handle));
  return taken;
}

}  // namespace dxg::hostsim
