#pragma once

namespace dxg {

// Whether this process is in a container of podman, Docker or Kubernetes: then what is missing is asked for
// on its command line, or in its manifest.
bool InContainer();

}  // namespace dxg
