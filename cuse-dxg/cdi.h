#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "base/status.h"

namespace dxg {

// What a specification of the Container Device Interface says of a node.
struct CdiOptions {
  std::string kind = "cuse-dxg.dev/gpu";  // VENDOR/CLASS
  std::string name = "all";
  std::string node = "/dev/dxg";
  std::string spec_version = "0.6.0";  // 0.5.0 has all that is needed too
  std::vector<std::string> libraries;  // folders; empty: WSL's own, where they exist
};

// The specification as JSON text (Container Device Interface, SPEC.md 0.6.0). A character device is a device
// node of the container, with "rwm"; a FUSE file is a mount. Refused if there is no node, or a folder is not
// there.
Result<std::string> CdiSpecification(const CdiOptions& options);

// `cuse-dxg cdi generate`: writes it.
class CdiCommand {
 public:
  explicit CdiCommand(CLI::App& app);
  CdiCommand(const CdiCommand&) = delete;  // the command line points into it
  CdiCommand& operator=(const CdiCommand&) = delete;

  bool given() const { return cdi_->parsed(); }
  // Returns the exit status: 0, or 1 with the reason on stderr.
  int Run() const;

 private:
  CLI::App* cdi_;
  CdiOptions options_;
  std::string output_;
};

}  // namespace dxg
