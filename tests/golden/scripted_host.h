#pragma once

#include <deque>
#include <map>
#include <string>

#include "link/backend.h"
#include "tests/golden/record.h"

namespace dxg::golden {

// A host that answers what the recorded host answered, and holds every command against the recorded packet,
// byte by byte in VMBus form: so the guest and the wire codec are checked with nothing else in play.
class ScriptedHost final : public Backend {
 public:
  // -- The script --
  void set_interface_version(uint32_t version) { version_ = version; }
  void set_vgpu_luid(uint64_t luid) { vgpu_luid_ = luid; }
  void set_takes_frames(bool takes_frames) { takes_frames_ = takes_frames; }
  void set_global_lost() { global_lost_ = true; }
  // The packets of a record, in order; only those of commands that the contract has.
  void Expect(const Json& record);
  // Until the next Expect every command is answered with zeros: for what happened between two records.
  void ExpectAnything() { anything_ = true; }
  bool expects_anything() const { return anything_; }
  // The events that the recorded host signalled, by the numbers that our guest gave them; and the last number
  // given.
  std::vector<uint64_t> TakeSignals();
  uint64_t last_event() const { return last_event_; }
  // The driver sent addresses of its client where we send zeros, since Expect.
  bool pointers_left_out() const { return pointers_left_out_; }
  // What went wrong since Expect: a packet that differs, was not expected, or never came. Empty: nothing.
  std::string Verdict();

  // -- Backend --
  Status Start(BackendEvents*) override { return Status::Ok(); }
  void Stop() override {}
  void Submit(const HostCall& call, Completion completion) override;
  std::optional<HostRegion> FindRegion(WindowAddress address) override;
  std::optional<HostRegion> HomeRegion(uint32_t) override { return std::nullopt; }
  std::optional<HostRegion> FindShared(uint32_t, uint32_t) override { return std::nullopt; }
  Result<uint32_t> AddClientPages(std::shared_ptr<ClientPages> pages) override;
  void RemoveClientPages(uint32_t) override;
  bool ClientFrames(uint32_t list, uint64_t page, std::span<uint64_t> frames) override;

 private:
  struct Packet {
    std::string name;
    Json data;  // hex, or a digest
    Bytes answer;
    std::vector<Range> ignore;
    std::vector<size_t> pointers;  // where an address of the client is in the data
    size_t event = 0;              // where the number of an event is in it; 0: nowhere
  };

  Status Play(const HostCall& call);
  void LeaveOutPointers(const Packet& packet, const Bytes& message, Bytes* expected);
  void NoteEvent(const Packet& packet, const Bytes& recorded, const Bytes& message);
  void NoteSignal(const Json& event);

  uint32_t version_ = 40;
  uint64_t vgpu_luid_ = 0;
  bool global_lost_ = false;
  bool anything_ = false;
  bool pointers_left_out_ = false;
  std::deque<Packet> expected_;
  std::map<uint64_t, uint64_t> events_;  // our numbers by the recorded ones, which other calls took too
  uint64_t last_event_ = 0;
  std::vector<uint64_t> signals_;  // recorded numbers
  bool takes_frames_ = false;
  std::map<uint32_t, std::shared_ptr<ClientPages>> frames_of_;  // then the host hears of no lists; 1, 2, ...
  uint32_t last_list_ = 0;
  std::deque<uint32_t> lists_;  // numbers of the memory lists that the record establishes
  int lists_removed_ = 0, lists_to_remove_ = 0;
  std::string trouble_;
};

}  // namespace dxg::golden
