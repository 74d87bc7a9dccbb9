#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "link/backend.h"
#include "link/vmbus/channel.h"
#include "link/vmbus/guid.h"

// What a guest's kernel does for a driver of the VMBus: channels that the host offers, the PCI functions that
// go with them, memory for both. Behind it is the kernel of a Hyper-V guest (uio_bus.h) or a simulated host
// (simulated_bus.h).

namespace dxg::vmbus {

struct ChannelOffer {
  Guid channel_class;
  Guid instance;
  uint32_t relid = 0;           // names the channel; used again after it is gone
  uint16_t mmio_megabytes = 0;  // for the window, of the global channel; 0: not known
};

// A virtual GPU's configuration space beyond the standard header.
class PciFunction {
 public:
  virtual ~PciFunction() = default;
  virtual std::string name() const = 0;  // "0000:00:01.0"
  virtual bool compute_only() const = 0;
  virtual Result<uint32_t> Read(uint32_t offset) = 0;
  virtual Status Write(uint32_t offset, uint32_t value) = 0;
};

// The range of guest-physical addresses through which the host shows its memory ("I/O space").
struct Window {
  uint64_t start = 0;
  uint64_t length = 0;  // bytes
  int file = -1;        // holds its bytes, from file_offset on; -1: they cannot be reached, only announced
  uint64_t file_offset = 0;
  std::shared_ptr<const void> keep;  // holds the file open
};

// One at a time, in any order of channels and functions.
class BusEvents {
 public:
  virtual ~BusEvents() = default;
  virtual void Offered(const ChannelOffer& offer) = 0;
  virtual void Rescinded(uint32_t relid) = 0;
  virtual void FunctionArrived(std::shared_ptr<PciFunction> function) = 0;
  virtual void FunctionRemoved(const std::string& name) = 0;
  // There is no bus any more; nothing comes after it.
  virtual void BusLost(const std::string& why) = 0;
};

class Bus {
 public:
  virtual ~Bus() = default;
  // Tells of all channels and functions that are there before it returns, and later of others.
  virtual Status Start(BusEvents* events) = 0;
  // No event after it has returned. Not from inside of one.
  virtual void Stop() = 0;

  // Once for each offer at a time; ends with the channel object.
  virtual Result<std::unique_ptr<Channel>> Open(const ChannelOffer& offer) = 0;
  // Once, when the global channel is open.
  virtual Result<Window> ReserveWindow(const ChannelOffer& global) = 0;

  // Gives the host a list of pages through the global channel ("GPADL"), and takes it back, which waits for
  // the host's word.
  virtual Result<uint32_t> CreateGpadl(const ChannelOffer& global, std::shared_ptr<ClientPages> pages) = 0;
  virtual void TearDownGpadl(const ChannelOffer& global, uint32_t gpadl) = 0;
  // Holds pages in place and says where they are, until the object ends.
  class Pinned {
   public:
    virtual ~Pinned() = default;
    virtual bool Frames(uint64_t page,
                        std::span<uint64_t> frames) = 0;  // page frame numbers, from that page on
  };
  virtual Result<std::unique_ptr<Pinned>> Pin(std::shared_ptr<ClientPages> pages) = 0;

  // For those who want trouble; null where the host takes no orders.
  virtual HostControl* control() { return nullptr; }
};

}  // namespace dxg::vmbus
