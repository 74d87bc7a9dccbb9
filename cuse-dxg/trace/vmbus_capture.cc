#include "cuse-dxg/trace/vmbus_capture.h"

#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "proto/contract/contract.h"

namespace dxg::trace {
namespace {

constexpr uint16_t kInBand = 6, kCompletion = 11, kCompletionRequested = 1;
constexpr uint32_t kDescriptorBytes = 16, kExtHeaderBytes = 16, kCommandHeaderBytes = 24;
constexpr uint32_t kPacketBytesMax = 1u << 18;
constexpr uint8_t kGlobalChannel = 1;

template <class T>
T Get(std::string_view bytes, size_t at) {
  T value{};
  if (at <= bytes.size() && sizeof(T) <= bytes.size() - at) std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

// The next word of a line, which is taken off.
std::string_view Word(std::string_view* line) {
  const size_t end = std::min(line->find(' '), line->size());
  const std::string_view word = line->substr(0, end);
  line->remove_prefix(std::min(end + 1, line->size()));
  return word;
}

template <class T>
bool Number(std::string_view text, T* value, int base = 10) {
  if (base == 16 && text.starts_with("0x")) text.remove_prefix(2);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value, base);
  return error == std::errc() && end == text.data() + text.size();
}

std::string Bytes(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    uint8_t byte = 0;
    if (text.size() >= 4 && text.starts_with("\\x") && Number(text.substr(2, 2), &byte, 16)) {
      bytes += static_cast<char>(byte);
      text.remove_prefix(4);
    } else {
      bytes += text.front();
      text.remove_prefix(1);
    }
  }
  return bytes;
}

}  // namespace

bool VmbusCapture::Parse(std::string_view line, Packet* packet) {
  packet->sent = Word(&line) == ">";
  if (!Number(Word(&line), &packet->channel, 16) || !Number(Word(&line), &packet->bytes)) return false;
  if (packet->sent &&
      !(Number(Word(&line), &packet->transaction, 16) && Word(&line) == "type" &&
        Number(Word(&line), &packet->type) && Word(&line) == "flags" && Number(Word(&line), &packet->flags)))
    return false;
  if (line.starts_with("at ")) {
    std::string_view rest = line.substr(3);
    if (uint64_t at_ns = 0; Number(Word(&rest), &at_ns)) packet->at_ns = at_ns, line = rest;
  }
  packet->shown = Bytes(line);
  if (packet->bytes > kPacketBytesMax || packet->shown.size() > packet->bytes) return false;
  if (packet->sent) return true;
  // The ring's descriptor: type u16, offset u16 and length u16 in units of 8 bytes, flags u16, transaction
  // u64.
  if (packet->shown.size() < kDescriptorBytes) return false;
  const uint32_t offset = 8u * Get<uint16_t>(packet->shown, 2);
  packet->type = Get<uint16_t>(packet->shown, 0);
  packet->flags = Get<uint16_t>(packet->shown, 6);
  packet->transaction = Get<uint64_t>(packet->shown, 8);
  if (offset < kDescriptorBytes || offset > packet->bytes) return false;
  packet->shown.erase(0, offset);
  packet->bytes -= offset;
  return true;
}

bool VmbusCapture::MakeRecord(const Packet& packet, TraceRecord* record) {
  std::string_view bytes = packet.shown;
  uint64_t luid = 0;
  // The header that names the adapter begins with its own size; without it, the command's begins with zeros.
  const bool has_ext_header = Get<uint32_t>(bytes, 0) == kExtHeaderBytes;
  if (has_ext_header) {
    luid = Get<uint64_t>(bytes, 8);
    bytes.remove_prefix(std::min<size_t>(kExtHeaderBytes, bytes.size()));
  }
  if (bytes.size() < kCommandHeaderBytes) return false;
  const bool global = Get<uint8_t>(bytes, 12) == kGlobalChannel || !packet.sent;
  TraceHostCommand& command = *record->mutable_host_command();
  command.set_process(Get<uint32_t>(bytes, 8));
  command.set_command(Get<uint32_t>(bytes, 16));
  command.set_packet(std::string(bytes));
  command.set_to_guest(!packet.sent);
  // Older hosts do not say which adapter a channel is of, so each has a number.
  if (!global)
    command.set_channel(
        has_ext_header ? luid : channels_.try_emplace(packet.channel, channels_.size() + 1).first->second);
  command.set_guest(1);
  record->set_begin_ns(packet.at_ns);
  record->set_end_ns(packet.at_ns);
  if (packet.shown.size() < packet.bytes)
    record->set_reason(
        fmt::format("the capture has {} of the packet's {} bytes", packet.shown.size(), packet.bytes));
  return true;
}

Status VmbusCapture::Drop(const Key& key) {
  const auto found = waiting_.find(key);
  if (found == waiting_.end()) return Status::Ok();
  const TraceItem item = std::move(found->second);
  waiting_.erase(found);
  return take_(item);
}

Status VmbusCapture::Answer(const Packet& packet) {
  const auto found = waiting_.find({packet.channel, packet.transaction});
  if (found == waiting_.end()) return Status::Ok();  // of a command before the capture began
  TraceRecord& record = *found->second.mutable_record();
  record.mutable_host_command()->set_answer(packet.shown);
  record.set_end_ns(packet.at_ns);
  if (packet.shown.size() < packet.bytes)
    record.set_reason(
        fmt::format("the capture has {} of the answer's {} bytes", packet.shown.size(), packet.bytes));
  return Drop(found->first);
}

Status VmbusCapture::TakePacket(const Packet& packet) {
  ++packets_;
  if (!packet.sent && packet.type == kCompletion) return Answer(packet);
  if (packet.type != kInBand) return Status::Ok();
  TraceItem item;
  if (!MakeRecord(packet, item.mutable_record())) return Status::Ok();
  if (!packet.sent || (packet.flags & kCompletionRequested) == 0) return take_(item);
  const Key key{packet.channel, packet.transaction};
  DXG_TRY(Drop(key));
  waiting_[key] = std::move(item);
  order_.push_back(key);
  while (order_.size() > kWaitingMax) {
    const Key oldest = order_.front();
    order_.pop_front();
    if (oldest != key) DXG_TRY(Drop(oldest));
  }
  return Status::Ok();
}

Status VmbusCapture::Line(std::string_view line, bool whole) {
  ++lines_;
  if (line.ends_with('\r')) line.remove_suffix(1);
  constexpr std::string_view kLost = "Lost ";
  if (line.starts_with(kLost) && line.ends_with(" events")) {
    uint64_t lost = 0;
    std::string_view rest = line.substr(kLost.size());
    if (!Number(Word(&rest), &lost) || lost == 0) return Status::Ok();
    TraceItem item;
    item.mutable_lost()->set_records(lost);
    return take_(item);
  }
  if (!line.starts_with("> ") && !line.starts_with("< ")) return Status::Ok();
  Packet packet;
  if (!whole) return Status::Ok();  // where the capture was cut
  if (Parse(line, &packet)) return TakePacket(packet);
  if (not_understood_++ == 0) first_not_understood_ = lines_;
  return Status::Ok();
}

Status VmbusCapture::End() {
  while (!order_.empty()) {
    const Key key = order_.front();
    order_.pop_front();
    DXG_TRY(Drop(key));
  }
  return Status::Ok();
}

Status VmbusCapture::Read(std::FILE* file) {
  std::string line;
  bool too_long = false;
  for (int c = std::getc(file); c != EOF; c = std::getc(file)) {
    if (c == '\n') {
      if (!too_long) DXG_TRY(Line(line));
      if (too_long && not_understood_++ == 0) first_not_understood_ = lines_ + 1;
      lines_ += too_long ? 1 : 0;
      line.clear(), too_long = false;
    } else if (line.size() == kLineBytesMax) {
      too_long = true;
    } else {
      line += static_cast<char>(c);
    }
  }
  if (std::ferror(file) != 0) return Status::Refuse(EIO, "{}", std::strerror(errno));
  if (!line.empty()) DXG_TRY(Line(line, false));
  return End();
}

}  // namespace dxg::trace
