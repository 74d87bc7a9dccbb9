// Puts the device together: guest driver, back-end, access to clients, trace.
#include "cuse-dxg/device.h"

#include "cuse-dxg/backend/in_process.h"
#include "cuse-dxg/client/agents.h"
#include "cuse-dxg/client/process_vm.h"
#include "cuse-dxg/control/server.h"
#include "cuse-dxg/guest/driver.h"
#include "cuse-dxg/trace/text_trace.h"

namespace dxg {
namespace {

class Device final : public attach::Node {
 public:
  Device(std::unique_ptr<client::Delivery> delivery, std::unique_ptr<Backend> backend, std::unique_ptr<trace::TextTrace> trace)
      : delivery_(std::move(delivery)), backend_(std::move(backend)), trace_(std::move(trace)), driver_(*backend_, clients_) {
    driver_.set_observer(trace_.get());
    driver_.set_delivery(delivery_.get());
  }

  // Calls still wait for the one or the other. Each ends them, and they go on in the driver, which is the last to go.
  ~Device() override {
    control_.reset();
    delivery_.reset();
    driver_.set_delivery(nullptr);
    backend_->Stop();
  }

  Status Start(const std::string& control) {
    DXG_TRY(backend_->Start(&driver_));
    if (control.empty()) return Status::Ok();
    if (!backend_->control()) return Status::Refuse(ENOTSUP, "--control: this back-end's host takes no orders");
    DXG_ASSIGN(control_, control::Server::Start(control, *backend_->control()));
    return Status::Ok();
  }

  void Open(std::unique_ptr<attach::OpenRequest> request) override { driver_.Open(std::move(request)); }
  void Ioctl(std::unique_ptr<attach::IoctlRequest> request) override { driver_.Ioctl(std::move(request)); }
  void Release(uint64_t file) override { driver_.Release(file); }
  uint32_t Poll(uint64_t file, std::unique_ptr<attach::PollWaiter> waiter) override { return driver_.Poll(file, std::move(waiter)); }

 private:
  client::ProcessVm clients_;
  std::unique_ptr<client::Delivery> delivery_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<trace::TextTrace> trace_;
  guest::Driver driver_;
  std::unique_ptr<control::Server> control_;
};

}  // namespace

Result<std::unique_ptr<attach::Node>> MakeDevice(const DeviceOptions& options) {
  if (options.backend != "sim") {
    return Status::Refuse(EINVAL, "--backend {}: no such back-end; the simulator in this process is \"sim\"", options.backend);
  }
  std::unique_ptr<trace::TextTrace> trace;
  if (!options.trace_text.empty()) {
    DXG_ASSIGN(trace, trace::TextTrace::Create(options.trace_text));
  }
  DXG_ASSIGN(auto delivery, client::StartDelivery(attach::UniqueFd(options.agents)));
  DXG_ASSIGN(auto backend, CreateInProcessBackend(options.profiles));
  auto device = std::make_unique<Device>(std::move(delivery), std::move(backend), std::move(trace));
  DXG_TRY(device->Start(options.control));
  return std::unique_ptr<attach::Node>(std::move(device));
}

}  // namespace dxg
