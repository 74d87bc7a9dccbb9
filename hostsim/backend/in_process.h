#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hostsim/machine/work_observer.h"
#include "hostsim/machine/world.h"
#include "link/backend.h"
#include "proto/dxg/control.pb.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::hostsim {

// The simulated host in this process: no thread in between, no serialization. `profiles` are names of shipped
// adapter profiles or files; none means the default adapter. `scenario`: what befalls them; empty: nothing.
// `work`: as World::work.
Result<std::unique_ptr<Backend>> CreateInProcessBackend(const std::vector<std::string>& profiles,
                                                        const std::string& scenario = "",
                                                        WorkObserver* work = nullptr);
// A driver's folder in the driver store, and whether the adapter is one that somebody sells: its PCI vendor
// is not Microsoft's, as that of a simulated GPU is.
struct DriverFolder {
  std::string folder;
  bool is_vendors;
};
// Of the adapters that CreateInProcessBackend makes, in their order; refused as there.
Result<std::vector<DriverFolder>> DriversOf(const std::vector<std::string>& profiles);

// What a guest on a VMBus shares with its host.
struct GuestMachine {
  WindowFile window;  // the window's bytes; without them every region is a file of its own
  // The guest's memory by page frame numbers (knows_frames); null: only lists of pages are taken. Outlives
  // the back-end.
  GuestMemory* memory = nullptr;
  WorkObserver* work = nullptr;  // as World::work
};
// The same for somebody who is not trusted with our files: a shipped profile's name, or a name for messages,
// the text and the files that it names. A profile that has a scenario keeps it.
Result<std::unique_ptr<Backend>> CreateInProcessBackendOf(std::vector<ControlRequest::AddAdapter> profiles,
                                                          const std::string& scenario = "",
                                                          const GuestMachine& guest = {});

// As a recording has it. Times of the host are those of recordings.
TraceRecord RecordOf(const WorkEvent& event);

}  // namespace dxg::hostsim
