#pragma once

#include <memory>
#include <optional>

#include "base/status.h"
#include "cuse-dxg/backend/uio/uio_node.h"
#include "link/vmbus/signal.h"

namespace dxg::vmbus {

// Signals of a real channel. To the host: where it allotted a monitor, a bit of the monitor page, which the
// hypervisor looks at from time to time; else the kernel makes the hypercall, and sets the bit of the
// interrupt page where one is due. From the host: the count of the node's interrupts.
class UioSignal final : public Signal {
 public:
  // `monitor`: none where the host allotted none. Refuses what cannot be mapped.
  static Result<std::unique_ptr<UioSignal>> Create(std::shared_ptr<UioNode> node,
                                                   std::optional<unsigned> monitor);

  void Ring() override;
  int fd() const override { return node_->fd(); }
  bool Take() override;

 private:
  UioSignal(std::shared_ptr<UioNode> node, uint32_t* pending, uint32_t bit)
      : node_(std::move(node)), pending_(pending), bit_(bit) {}

  const std::shared_ptr<UioNode> node_;
  uint32_t* const pending_;  // of the monitor's group, in the monitor page; null: there is no monitor
  const uint32_t bit_;
};

}  // namespace dxg::vmbus
