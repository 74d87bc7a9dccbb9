#include "hostsim/work/eu/step.h"
namespace dxg::hostsim::eu {
Handler FastHandler(const Step&, Handlers) { return nullptr; }
}  // namespace dxg::hostsim::eu
