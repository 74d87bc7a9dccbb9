#include "cuse-dxg/replay/live_calls.h"

#include <sys/mman.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace dxg::replay {

std::string Framed(const std::string& bytes) {
  const auto size = static_cast<uint32_t>(bytes.size());
  return std::string(reinterpret_cast<const char*>(&size), sizeof(size)) + bytes;  // Safety: bytes
}

std::optional<std::string> TakeFramed(std::string* bytes) {
  uint32_t size = 0;
  if (bytes->size() < sizeof(size)) return std::nullopt;
  std::memcpy(&size, bytes->data(), sizeof(size));
  if (bytes->size() - sizeof(size) < size) return std::nullopt;
  std::string message = bytes->substr(sizeof(size), size);
  bytes->erase(0, sizeof(size) + size);
  return message;
}

bool SendAll(int socket, const std::string& bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t sent = send(socket, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    at += static_cast<size_t>(sent);
  }
  return true;
}

// A record of the recording has room for all of it: the question is in `raw`, what the reply makes in
// `memory`, by name and object, descriptors with a hash, and that it names no descriptor of a call's in
// `inherited`.
std::string CallMessage(uint64_t number, const RecordedCall& call) {
  TraceRecord record;
  record.set_begin_ns(number);
  record.set_tid(call.thread);
  record.set_result(call.result);
  record.set_reason(call.reason);
  TraceCall& said = *record.mutable_call();
  said.set_code(call.row->code);
  said.set_request(call.request);
  said.set_reply(call.reply);
  said.set_raw(call.question);
  said.set_inherited(call.names_none);
  said.mutable_addresses()->Add(call.addresses.begin(), call.addresses.end());
  for (const auto* made : {&call.handles, &call.descriptors}) {
    for (const Made& each : *made) {
      TraceMemory& memory = *said.add_memory();
      memory.set_address(each.name);
      memory.set_bytes(each.object);
      if (made == &call.descriptors) memory.set_hash(1);
    }
  }
  return record.SerializeAsString();
}

std::string CloseMessage(uint64_t number) {
  TraceRecord record;
  record.set_begin_ns(number);
  record.mutable_close();
  return record.SerializeAsString();
}

std::optional<RecordedCall> CallOf(const std::string& message, uint64_t* number) {
  TraceRecord record;
  if (!record.ParseFromString(message)) return std::nullopt;
  *number = record.begin_ns();
  const contract::CallRow* const row = contract::FindCall(record.call().code());
  if (row == nullptr || record.call().raw().empty()) return std::nullopt;
  RecordedCall call{.record = 0,
                    .row = row,
                    .process = 0,
                    .thread = record.tid(),
                    .result = record.result(),
                    .reason = record.reason(),
                    .begin_ns = 0,
                    .end_ns = 0,
                    .request = record.call().request(),
                    .reply = record.call().reply(),
                    .question = record.call().raw(),
                    .handles = {},
                    .descriptors = {},
                    .addresses = {record.call().addresses().begin(), record.call().addresses().end()},
                    .names_none = record.call().inherited(),
                    .memory = {}};
  for (const TraceMemory& each : record.call().memory())
    (each.has_hash() ? call.descriptors : call.handles)
        .push_back({each.address(), static_cast<uint32_t>(each.bytes())});
  return call;
}

std::string OutcomeMessage(uint64_t number, const Outcome& outcome) {
  TraceRecord record;
  record.set_begin_ns(number);
  record.set_result(outcome.result);
  outcome.request->SerializeToString(record.mutable_call()->mutable_request());
  outcome.reply->SerializeToString(record.mutable_call()->mutable_reply());
  return record.SerializeAsString();
}

uint64_t NumberOf(const std::string& message) {
  TraceRecord record;
  return record.ParseFromString(message) ? record.begin_ns() : ~0ull;
}

std::optional<Outcome> OutcomeOf(const std::string& message, const contract::CallRow& row) {
  TraceRecord record;
  if (!record.ParseFromString(message)) return std::nullopt;
  Outcome outcome;
  outcome.result = record.result();
  outcome.request.reset(row.request->New());
  outcome.reply.reset(row.reply->New());
  if (!outcome.request->ParseFromString(record.call().request()) ||
      !outcome.reply->ParseFromString(record.call().reply()))
    return std::nullopt;
  return outcome;
}

// Zeros, which is what all of it begins with. Of the places only the pages that are used are there.
struct LiveOthers::Shared {
  struct Player {
    std::atomic<uint32_t> recorded;
    std::atomic<uint64_t> begun;  // the how manieth it is
    std::atomic<int32_t> pid;
  };
  std::atomic<uint32_t> players_max;  // so many were there at once
  std::atomic<uint64_t> begun;
  Player player[kPlayersMax];
  Order::Place places[kObjectsMax];
};

Result<std::unique_ptr<LiveOthers>> LiveOthers::Create() {
  void* const memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return Status::Refuse(ENOMEM, "no memory for the order of calls");
  return std::unique_ptr<LiveOthers>(new LiveOthers(static_cast<Shared*>(memory)));
}

LiveOthers::~LiveOthers() { munmap(shared_, sizeof(Shared)); }

Order::Place* LiveOthers::PlaceOf(uint32_t object) {
  return object == 0 || object >= kObjectsMax ? nullptr : &shared_->places[object];
}

std::atomic<int32_t>& LiveOthers::PlayerAt(uint32_t place) { return shared_->player[place].pid; }

int LiveOthers::PidOf(uint32_t recorded) {
  int pid = 0;
  uint64_t last = 0;
  for (uint32_t i = 0; i < shared_->players_max; ++i) {
    const Shared::Player& player = shared_->player[i];
    if (player.recorded != recorded || player.pid <= 0 || player.begun < last) continue;
    last = player.begun;
    pid = player.pid;
  }
  return pid;
}

Result<uint32_t> LiveOthers::Begin(uint32_t recorded) {
  uint32_t place = 0;
  while (place < shared_->players_max && PlayerAt(place) != kFree) ++place;
  if (place == kPlayersMax) return Status::Refuse(EFBIG, "more than {} processes at once", kPlayersMax);
  Shared::Player& player = shared_->player[place];
  player.recorded = recorded;
  player.begun = ++shared_->begun;
  player.pid = kNotYet;
  if (place == shared_->players_max) ++shared_->players_max;
  return place;
}

}  // namespace dxg::replay
