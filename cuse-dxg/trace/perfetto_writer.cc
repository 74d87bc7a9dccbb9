#include "cuse-dxg/trace/perfetto_writer.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace dxg::trace {
namespace {

constexpr uint32_t kSequence = 1;
constexpr uint32_t kStateCleared = 1;
constexpr size_t kBytesWanted = 256u << 10;

}  // namespace

PerfettoWriter::PerfettoWriter(std::FILE* file, uint64_t monotonic_ns, int64_t real_ns) : file_(file) {
  perfetto::TracePacket packet = NewPacket();
  packet.set_sequence_flags(kStateCleared);
  perfetto::ClockSnapshot& clocks = *packet.mutable_clock_snapshot();
  clocks.set_primary_trace_clock(perfetto::BUILTIN_CLOCK_MONOTONIC);
  perfetto::ClockSnapshot::Clock* clock = clocks.add_clocks();
  clock->set_clock_id(perfetto::BUILTIN_CLOCK_MONOTONIC);
  clock->set_timestamp(monotonic_ns);
  clock = clocks.add_clocks();
  clock->set_clock_id(perfetto::BUILTIN_CLOCK_REALTIME);
  clock->set_timestamp(static_cast<uint64_t>(real_ns));
  Write(packet);
}

perfetto::TracePacket PerfettoWriter::NewPacket() {
  perfetto::TracePacket packet;
  packet.set_trusted_packet_sequence_id(kSequence);
  return packet;
}

uint64_t PerfettoWriter::Process(uint32_t pid, const std::string& name) {
  perfetto::TrackDescriptor track;
  track.mutable_process()->set_pid(static_cast<int32_t>(pid));
  if (!name.empty()) track.mutable_process()->set_process_name(name);
  return Describe(fmt::format("process {}", pid), std::move(track));
}

uint64_t PerfettoWriter::Thread(uint32_t pid, uint32_t tid) {
  perfetto::TrackDescriptor track;
  track.set_parent_uuid(Process(pid, ""));
  track.mutable_thread()->set_pid(static_cast<int32_t>(pid));
  track.mutable_thread()->set_tid(static_cast<int32_t>(tid));
  return Describe(fmt::format("thread {} {}", pid, tid), std::move(track));
}

uint64_t PerfettoWriter::Track(const std::string& key, uint64_t parent, const std::string& name) {
  perfetto::TrackDescriptor track;
  if (parent != 0) track.set_parent_uuid(parent);
  track.set_name(name);
  return Describe(key, std::move(track));
}

uint64_t PerfettoWriter::Counter(const std::string& key, uint64_t parent, const std::string& name,
                                 Unit::Unit unit) {
  perfetto::TrackDescriptor track;
  if (parent != 0) track.set_parent_uuid(parent);
  track.set_name(name);
  track.mutable_counter()->set_unit(unit);
  return Describe(key, std::move(track));
}

uint64_t PerfettoWriter::Describe(const std::string& key, perfetto::TrackDescriptor track) {
  const auto [found, added] = tracks_.try_emplace(key, tracks_.size() + 1);
  if (!added) return found->second;
  track.set_uuid(found->second);
  perfetto::TracePacket packet = NewPacket();
  *packet.mutable_track_descriptor() = std::move(track);
  Write(packet);
  return found->second;
}

void PerfettoWriter::Count(uint64_t track, uint64_t at_ns, uint64_t value) {
  Event event;
  event.set_counter_value(static_cast<int64_t>(value));
  Put(track, at_ns, Event::TYPE_COUNTER, std::move(event));
}

void PerfettoWriter::Put(uint64_t track, uint64_t at_ns, Event::Type type, Event event) {
  perfetto::TracePacket packet = NewPacket();
  packet.set_timestamp(at_ns);
  packet.set_timestamp_clock_id(perfetto::BUILTIN_CLOCK_MONOTONIC);
  event.set_type(type);
  event.set_track_uuid(track);
  *packet.mutable_track_event() = std::move(event);
  Write(packet);
}

// As a field of perfetto::Trace.
void PerfettoWriter::Write(const perfetto::TracePacket& packet) {
  constexpr char kPacketTag = 1 << 3 | 2;
  bytes_ += kPacketTag;
  for (size_t left = packet.ByteSizeLong();; left >>= 7) {
    bytes_ += static_cast<char>(left < 0x80 ? left : 0x80 | (left & 0x7f));
    if (left < 0x80) break;
  }
  packet.AppendToString(&bytes_);
  if (bytes_.size() < kBytesWanted) return;
  if (std::fwrite(bytes_.data(), 1, bytes_.size(), file_) != bytes_.size() && error_ == 0) error_ = errno;
  bytes_.clear();
}

Status PerfettoWriter::Close() {
  if (std::fwrite(bytes_.data(), 1, bytes_.size(), file_) != bytes_.size() && error_ == 0) error_ = errno;
  bytes_.clear();
  if (std::fflush(file_) != 0 && error_ == 0) error_ = errno;
  if (error_ == 0) return Status::Ok();
  return Status::Refuse(error_, "the export cannot be written: {}", std::strerror(error_));
}

}  // namespace dxg::trace
