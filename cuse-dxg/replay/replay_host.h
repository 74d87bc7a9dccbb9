#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "cuse-dxg/guest/answerer.h"
#include "cuse-dxg/guest/call.h"
#include "cuse-dxg/replay/answers.h"
#include "cuse-dxg/replay/deadlines.h"
#include "cuse-dxg/replay/replay_memory.h"
#include "link/backend.h"
#include "link/fidelity.h"
#include "link/host_control.h"

namespace dxg::replay {

// A recording as the host's side of programs that live (`--backend=replay:FILE`). It answers whole calls in
// place of the guest's handlers, since that is what a recording holds; of a host it is only the processes,
// and the memory that calls show to their clients:
//
//     a fence's page has what the answered calls bring the fence to, at once
//     locked memory has what the recording says of it, and where that says nothing, zeros; the report counts
//     it
//
// What is done and was not recorded is counted in the report (docs/fidelity.md).
class ReplayHost final : public Backend, public guest::CallAnswerer, private HostControl {
 public:
  struct Options {
    std::string file;
    bool strict = false;
    bool recorded_times = false;  // an answer takes as long as it took; else it is given at once
  };
  // What --backend=replay:FILE[,strict] says behind "replay:".
  static Options Parse(const std::string& text, bool recorded_times);
  // As Recording::Open.
  static Result<std::unique_ptr<ReplayHost>> Create(const Options& options);
  static Result<std::unique_ptr<ReplayHost>> Create(std::unique_ptr<Recording> recording,
                                                    const Options& options);
  ~ReplayHost() override { Stop(); }

  guest::Task Answer(guest::Call& call) override;

  // Backend
  HostControl* control() override { return this; }
  Status Start(BackendEvents* events) override;
  void Stop() override { deadlines_.Stop(); }
  void Submit(const HostCall& call, Completion completion) override;
  std::optional<HostRegion> FindRegion(WindowAddress address) override { return memory_.FindRegion(address); }
  std::optional<HostRegion> HomeRegion(uint32_t) override { return std::nullopt; }
  std::optional<HostRegion> FindShared(uint32_t, uint32_t) override { return std::nullopt; }
  Result<uint32_t> AddClientPages(std::shared_ptr<ClientPages>) override {
    return Status::Refuse(ENOMEM, "a recording works with no memory of clients");
  }
  void RemoveClientPages(uint32_t) override {}

 private:
  ReplayHost(std::unique_ptr<Recording> recording, const Options& options);

  guest::Task Give(guest::Call& call, const RecordedCall& recorded, Message& reply);
  guest::Task WaitUntil(guest::Call& call, uint64_t at_ns);
  guest::Task GiveDescriptors(guest::Call& call, const RecordedCall& recorded, Message& reply);
  guest::Task ShowMemory(guest::Call& call, const RecordedCall& recorded, const Message& reply, bool* shown);
  guest::Task SignalEvents(guest::Call& call);
  void BringFences(guest::Call& call, const Message& reply);
  // Allocations of the client's own memory.
  void KeepOwnMemory(guest::Call& call, const std::vector<uint64_t>& addresses, const Message& reply);
  std::shared_ptr<ReplayedObject> ObjectFor(guest::Call& call, uint32_t number);
  uint64_t SizeOf(uint32_t object) const;
  void Note(const guest::Call& call, FidelityKind kind, std::string_view what, std::string_view why);

  // HostControl
  void Serve(const ControlRequest& request, ControlReply* reply) override;

  const bool recorded_times_;
  Answers answers_;
  std::map<uint32_t, uint64_t> sizes_;  // of allocations, in bytes, where calls tell
  ReplayMemory memory_;
  Fidelity fidelity_;
  Deadlines deadlines_;
};

}  // namespace dxg::replay
