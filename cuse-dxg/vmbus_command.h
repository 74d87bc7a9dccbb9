#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cuse-dxg/backend/uio/uio_options.h"

namespace dxg {

// --vmbus-window, --vmbus-window-file and --vmbus-unpinned-pages, for commands that reach a real channel.
void AddUioOptions(CLI::App* command, vmbus::UioOptions* options);

// `cuse-dxg vmbus`: gives the channels of virtual GPUs to uio_hv_generic and back, and shows what is there.
class VmbusCommand {
 public:
  explicit VmbusCommand(CLI::App& app);
  VmbusCommand(const VmbusCommand&) = delete;  // the command line points into it
  VmbusCommand& operator=(const VmbusCommand&) = delete;

  bool given() const { return vmbus_->parsed(); }
  // Returns the exit status: 0, or 1 with the reason on stderr. `status` also returns 1 if no adapter can be
  // reached.
  int Run();

 private:
  int Bind() const;
  int Unbind() const;
  int Show() const;

  CLI::App* vmbus_;
  CLI::App* bind_;
  CLI::App* unbind_;
  CLI::App* status_;
  vmbus::UioOptions options_;
  std::string root_;
  bool dry_run_ = false;
  bool for_class_ = false;
};

}  // namespace dxg
