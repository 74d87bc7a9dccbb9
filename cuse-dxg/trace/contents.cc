#include "cuse-dxg/trace/contents.h"

#include <cerrno>
#include <string>
#include <utility>

#include "cuse-dxg/trace/redact.h"

namespace dxg::trace {
namespace {

// Bytes of a message of that type; nothing is left of what cannot be read as one.
void RedactMessage(const contract::Message& type, std::string* bytes) {
  const std::unique_ptr<contract::Message> message(type.New());
  if (!message->ParseFromString(*bytes)) return bytes->clear();
  Redact(message.get());
  message->SerializeToString(bytes);
}

void RedactRecord(TraceRecord* record) {
  if (record->has_call()) {
    TraceCall& call = *record->mutable_call();
    const contract::CallRow* const row = contract::FindCall(call.code());
    if (call.has_request() && row != nullptr) RedactMessage(*row->request, call.mutable_request());
    if (call.has_reply() && row != nullptr) RedactMessage(*row->reply, call.mutable_reply());
    call.set_raw(Redacted(call.raw()));
  } else if (record->has_open()) {
    record->mutable_open()->set_name(Redacted(record->open().name()));
  } else if (record->has_process()) {
    record->mutable_process()->set_program(Redacted(record->process().program()));
  }
}

// Paths, which have names of users: of the node, but for the usual one, and of the host.
void RedactPlaces(TraceHeader* header) {
  const std::string node = header->node(), host = header->backend();
  if (const size_t path = node.find('/'); path != std::string::npos && node.substr(path) != "/dev/dxg")
    header->set_node(node.substr(0, path) + Redacted(node.substr(path)));
  if (const size_t path = host.find(':'); path != std::string::npos)
    header->set_backend(host.substr(0, path + 1) + Redacted(host.substr(path + 1)));
}

}  // namespace

Contents::Contents(const TraceHeader& header, ReadClient read_client)
    : memory_(header.memory() == TraceHeader::NONE
                  ? nullptr
                  : std::make_unique<ClientMemory>(header.memory(), std::move(read_client))),
      redacted_(header.redacted()) {}

void Contents::AddMemory(const contract::Message& request, const contract::Message& reply,
                         std::span<const guest::NamedMemory> named, TraceRecord* record) {
  const Status status(record->result());
  memory_->AddTo({.row = contract::FindCall(record->call().code()),
                  .code = record->call().code(),
                  .tid = static_cast<pid_t>(record->tid()),
                  .request = &request,
                  .reply = &reply,
                  .status = &status,
                  .duration_ns = 0,
                  .pid = static_cast<pid_t>(record->pid()),
                  .memory = named},
                 record->mutable_call());
}

void Contents::Apply(const contract::Message* request, const contract::Message* reply,
                     std::span<const guest::NamedMemory> named, TraceRecord* record) {
  const auto process = static_cast<pid_t>(record->pid());
  if (memory_ != nullptr) {
    if (request != nullptr && reply != nullptr) AddMemory(*request, *reply, named, record);
    if (record->has_open() && record->result() >= 0) memory_->ProcessOpened(process);
    if (record->has_process() && (record->process().change() == TraceProcess::EXITED ||
                                  record->process().change() == TraceProcess::EXECUTED))
      memory_->ProcessEnded(process);
  }
  if (redacted_) RedactRecord(record);
}

Status SetContents(const std::string& memory, bool redacted, TraceHeader* header) {
  header->set_memory(memory == "full"   ? TraceHeader::FULL
                     : memory == "hash" ? TraceHeader::HASH
                                        : TraceHeader::NONE);
  header->set_redacted(redacted);
  if (redacted) RedactPlaces(header);
  if (!redacted || header->memory() != TraceHeader::FULL) return Status::Ok();
  return Status::Refuse(EINVAL,
                        "--redact leaves contents out, which --memory full asks for; give --memory hash");
}

}  // namespace dxg::trace
