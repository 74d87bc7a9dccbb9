#include "hostsim/work/streamers/packet_streamer.h"

#include <fmt/core.h>

#include <algorithm>

namespace dxg::hostsim {
namespace {

// What a packet costs beside the bytes that it moves.
constexpr uint64_t kPacketCost = 64;

constexpr uint32_t kFetchedWords = 4096;

// Longer ones do not end before any time limit; where time stands still, nothing else would end them.
constexpr uint64_t kStreamWordsMax = 1ull << 26;
constexpr uint64_t kStreamBytesMax = 1ull << 36;
constexpr uint64_t kWordsOfACall = 64;  // what a call costs of them

// What it costs to look at a program for the first time, and of how many it is remembered.
constexpr uint64_t kHashCost = 16 * 1024;
constexpr size_t kHashesMax = 1024;

}  // namespace

CommandStop PacketStreamer::Run(CommandEnvironment& environment, const std::atomic<bool>& cancelled,
                                uint64_t budget) {
  StreamMemory memory(environment, cancelled);
  memory_ = &memory;
  budget_ = budget;
  Refetch();
  CommandStop stop;
  while (stop.kind == CommandStop::kDone) {
    while (!buffers_.empty() && buffers_.back().at >= buffers_.back().words) {
      buffers_.pop_back();
      Refetch();
    }
    if (buffers_.empty()) break;
    const Buffer& buffer = buffers_.back();
    packet_address_ = buffer.address + uint64_t{buffer.at} * sizeof(uint32_t);
    stop = cancelled ? Stop(CommandStop::kCancelled) : Step();
  }
  if (registers_.TakeLost())
    environment.Note(FidelityKind::kApproximated, fmt::format("{}: too many registers for a queue", name_));
  memory_ = nullptr;
  return stop;
}

CommandStop PacketStreamer::Step() {
  if (passed_words_ >= kStreamWordsMax || moved_bytes_ >= kStreamBytesMax) return Stop(CommandStop::kHang);
  const uint32_t* first = Fetch(1);
  if (!first) return Fault();
  const uint32_t header = *first;
  const uint32_t words = Measure(header);
  const size_t depth = buffers_.size();
  Buffer& buffer = buffers_.back();
  if (words == 0) return Stop(CommandStop::kInvalid);
  if (words > buffer.words - buffer.at) return Unknown("packet that is cut off");
  if (budget_ != kUnlimited) {
    if (budget_ < kPacketCost) return Stop(CommandStop::kBudget);
    budget_ -= kPacketCost;
  }
  const uint32_t* word = Fetch(std::min(words, Packet::kWordsAtHand));
  if (!word) return Fault();
  if (*word != header) return Done();  // somebody has written over it: what it is now is measured
  const uint32_t at = buffer.at;
  buffer.at += words;
  passed_words_ += words;
  const CommandStop stop = Execute({packet_address_, words, word});
  if (stop.kind != CommandStop::kDone) {
    if (stop.kind == CommandStop::kWaiting || stop.kind == CommandStop::kBudget) passed_words_ -= words;
    if (buffers_.size() == depth) buffers_.back().at = at;
  }
  return stop;
}

// Null: a fault.
const uint32_t* PacketStreamer::Fetch(uint32_t words) {
  const Buffer& buffer = buffers_.back();
  if (buffer.at >= fetched_at_ && buffer.at - fetched_at_ + words <= fetched_words_)
    return &fetched_[buffer.at - fetched_at_];
  if (!fetched_ || fetched_room_ < std::min(buffer.words, kFetchedWords)) {
    fetched_room_ = std::min(std::max(buffer.words, Packet::kWordsAtHand), kFetchedWords);
    fetched_ = std::make_unique<uint32_t[]>(fetched_room_);
  }
  auto fetch = [&](uint32_t count) {
    fetched_at_ = buffer.at;
    fetched_words_ = memory_->Read(packet_address_, fetched_.get(), count * sizeof(uint32_t)) ? count : 0;
    return fetched_words_ != 0;
  };
  // A stream may end right before memory that is not there.
  if (fetch(std::min(buffer.words - buffer.at, fetched_room_)) || fetch(words)) return fetched_.get();
  return nullptr;
}

std::optional<uint32_t> PacketStreamer::PeekAt(uint32_t index) {
  const Buffer& buffer = buffers_.back();
  if (index >= buffer.words - buffer.at) return std::nullopt;
  const uint32_t* words = Fetch(index + 1);
  if (!words) return std::nullopt;
  return words[index];
}

CommandStop PacketStreamer::Stop(CommandStop::Kind kind) const {
  CommandStop stop;
  stop.kind = kind;
  stop.op_address = packet_address_;
  return stop;
}

CommandStop PacketStreamer::Fault() const {
  CommandStop stop = Stop(CommandStop::kPageFault);
  stop.fault = memory_->fault();
  return stop;
}

CommandStop PacketStreamer::DoneOrFault(bool done) const {
  if (!done) return Fault();
  return memory_->cancelled() ? Stop(CommandStop::kCancelled) : Done();
}

CommandStop PacketStreamer::Unknown(const std::string& what) {
  environment().Note(FidelityKind::kUnknown, fmt::format("{}: {}", name_, what));
  return Stop(CommandStop::kInvalid);
}

CommandStop PacketStreamer::Approximate(const std::string& what) {
  environment().Note(FidelityKind::kApproximated, fmt::format("{}: {}", name_, what));
  return Done();
}

CommandStop PacketStreamer::Spend(uint64_t bytes) {
  if (budget_ != kUnlimited) {
    if (budget_ < bytes) return Stop(CommandStop::kBudget);
    budget_ -= bytes;
  }
  moved_bytes_ += bytes;
  return Done();
}

CommandStop PacketStreamer::WriteWords(const Packet& packet, uint32_t first, GpuAddress to) {
  if (first >= packet.words) return Done();
  const uint64_t bytes = uint64_t{packet.words - first} * sizeof(uint32_t);
  if (packet.words <= Packet::kWordsAtHand)
    return DoneOrFault(memory_->Write(to, packet.word + first, bytes));
  if (const CommandStop stop = Spend(bytes); stop.kind != CommandStop::kDone) return stop;
  return DoneOrFault(memory_->Copy(to, packet.AddressOf(first), bytes));
}

CommandStop PacketStreamer::SetRegisters(const Packet& packet, uint32_t first, uint32_t number) {
  if (first >= packet.words) return Done();
  if (packet.words <= Packet::kWordsAtHand) {
    registers_.Write(number, packet.word + first, packet.words - first);
    return Done();
  }
  if (const CommandStop stop = Spend(uint64_t{packet.words} * sizeof(uint32_t));
      stop.kind != CommandStop::kDone)
    return stop;
  std::vector<uint32_t> values(packet.words - first);
  if (!memory_->Read(packet.AddressOf(first), values.data(), values.size() * sizeof(uint32_t)))
    return Fault();
  registers_.Write(number, values.data(), static_cast<uint32_t>(values.size()));
  return Done();
}

CommandStop PacketStreamer::LeaveOut(GpuDispatch dispatch, bool (*ends)(uint64_t), uint32_t unit) {
  if (dispatch.kernel) {
    if (const auto known = hashes_.find(dispatch.kernel); known != hashes_.end()) {
      dispatch.kernel_hash = known->second;
    } else {
      if (const CommandStop stop = Spend(kHashCost); stop.kind != CommandStop::kDone) return stop;
      dispatch.kernel_hash = HashProgram(*memory_, dispatch.kernel, ends, unit);
      if (hashes_.size() < kHashesMax) hashes_.emplace(dispatch.kernel, dispatch.kernel_hash);
    }
  }
  return environment().LeaveOut(dispatch) ? Done() : Stop(CommandStop::kDeviceFault);
}

CommandStop PacketStreamer::Call(GpuAddress address, uint32_t words) {
  if (buffers_.size() >= buffers_max_) return Unknown("buffer that is called from too deep");
  passed_words_ += kWordsOfACall;
  buffers_.push_back({address, words, 0});
  Refetch();
  return Done();
}

CommandStop PacketStreamer::GoOnIn(GpuAddress address, uint32_t words) {
  passed_words_ += kWordsOfACall;
  buffers_.back() = {address, words, 0};
  Refetch();
  return Done();
}

void PacketStreamer::Skip(uint32_t words) {
  Buffer& buffer = buffers_.back();
  buffer.at += std::min(words, buffer.words - buffer.at);
}

}  // namespace dxg::hostsim
