#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "hostsim/machine/object.h"
#include "hostsim/memory/storage.h"
#include "hostsim/work/device.h"

namespace dxg::hostsim {

// What all openers of a resource have in common. It lives as long as any of them, or any handle by which it
// could be opened.
struct SharedResource {
  std::weak_ptr<Adapter> adapter;
  bool create_shared = false;
  bool nt_sharing = false;
  std::atomic<bool> sealed{false};  // shared once: it takes no more allocations and gives none up
  std::string runtime_data;
  std::string private_data;
  // By their places, which grow in the order of creation. Changed under its creator's process lock, and no
  // more once it is sealed.
  std::map<uint64_t, std::shared_ptr<Storage>> storages;
  uint64_t places_ever = 0;
};

// One process's handle on a resource: some allocations that are created, opened and destroyed together. The
// process's lock guards it.
class Resource : public Object {
 public:
  static constexpr ObjectKind kKind = ObjectKind::kResource;

  Resource(Device& device, std::shared_ptr<SharedResource> shared, std::atomic<uint64_t>& count)
      : Object(kKind), device(device), shared(std::move(shared)), counted_(count) {}

  Device& device;  // outlives its resources
  const std::shared_ptr<SharedResource> shared;
  std::map<uint64_t, uint32_t> allocations;  // their handles, by their storages' places

 private:
  Counted counted_;
};

struct CommandContext;

// As FindDevice.
Resource* FindResource(const CommandContext& call, Process& process, uint32_t handle)
    DXG_REQUIRES(process.mutex());
// Takes the names of a resource and its allocations; they end with the result.
Objects TakeResource(Process& process, Resource& resource) DXG_REQUIRES(process.mutex());

}  // namespace dxg::hostsim
