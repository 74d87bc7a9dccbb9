#include "tests/contract/struct_bytes.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace dxg::contract {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

const FieldRule& Rule(const FieldDescriptor* field) { return field->options().GetExtension(dxg::field); }
bool IsBuffer(const FieldDescriptor* field) { return field->options().HasExtension(dxg::buffer); }

std::string Path(const FieldDescriptor* field) {
  return Rule(field).member().empty() ? field->name() : Rule(field).member();
}

void Mark(const std::vector<CarriedMember>& members, std::vector<bool>* bytes) {
  for (const CarriedMember& member : members) {
    for (size_t i = member.at.offset; i < member.at.end(); ++i) bytes->at(i) = true;
  }
}

std::string StructOf(const CallRow& call) {
  for (const AbiIoctl& ioctl : AbiIoctls()) {
    if (ioctl.name == call.ioctl) return ioctl.struct_name;
  }
  throw std::runtime_error(std::string("abi.json has no ") + call.ioctl);
}

}  // namespace

uint64_t Number(const std::byte* args, const Bytes& at) {
  uint64_t value = 0;
  std::memcpy(&value, args + at.offset, at.size);
  return value;
}

void SetNumber(std::byte* args, const Bytes& at, uint64_t value) {
  std::memcpy(args + at.offset, &value, at.size);
}

void FillRandom(Random* random, std::byte* bytes, size_t size) {
  for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
    const uint64_t value = (*random)();
    std::memcpy(bytes + i, &value, std::min(sizeof(value), size - i));
  }
}

bool Holds(const Condition& when, const AbiStruct& abi, const std::byte* args) {
  if (when.member().empty()) return true;
  const uint64_t value = Number(args, abi.Find(when.member()).value());
  const uint64_t looked_at = when.mask() == 0 ? value : value & when.mask();
  for (uint64_t is : when.is()) {
    if (looked_at == is) return true;
  }
  return false;
}

CarriedStruct CarriedStruct::Of(const CallRow& call) {
  CarriedStruct carried(call.name, AbiStructNamed(StructOf(call)));
  const auto& options = call.request->GetDescriptor()->containing_type()->options().GetExtension(dxg::call);
  for (const Message* message : {call.request, call.reply}) carried.Collect(message->GetDescriptor());
  for (const std::string& path : options.addresses()) carried.AddAddress(path);
  for (const std::string& path : options.unused()) carried.unused_.push_back(carried.At(path));
  carried.member_table_ = call.members;
  carried.address_table_ = call.addresses;
  carried.unused_table_ = call.unused;
  carried.new_messages_ = [&call] {
    std::vector<std::unique_ptr<Message>> messages;
    messages.emplace_back(call.request->New());
    messages.emplace_back(call.reply->New());
    return messages;
  };
  carried.read_ = [&call](const std::byte* args, const auto& messages) {
    call.read_request(args, messages[0].get());
    call.read_reply(args, messages[1].get());
  };
  carried.write_ = [&call](const auto& messages, std::byte* args) {
    call.write_request(*messages[0], args);
    call.write_reply(*messages[1], args);
  };
  carried.FinishChoices();
  return carried;
}

CarriedStruct CarriedStruct::Of(const Element& element) {
  CarriedStruct carried(element.name, AbiStructNamed(std::string("struct ") + element.args));
  const auto& options = element.message->GetDescriptor()->options().GetExtension(dxg::element);
  carried.Collect(element.message->GetDescriptor());
  for (const std::string& path : options.addresses()) carried.AddAddress(path);
  for (const std::string& path : options.unused()) carried.unused_.push_back(carried.At(path));
  carried.member_table_ = element.members;
  carried.address_table_ = element.addresses;
  carried.unused_table_ = element.unused;
  carried.new_messages_ = [&element] {
    std::vector<std::unique_ptr<Message>> messages;
    messages.emplace_back(element.message->New());
    return messages;
  };
  carried.read_ = [&element](const std::byte* args, const auto& messages) {
    element.read(args, messages[0].get());
  };
  carried.write_ = [&element](const auto& messages, std::byte* args) { element.write(*messages[0], args); };
  carried.FinishChoices();
  return carried;
}

std::vector<CarriedStruct> CarriedStruct::All() {
  std::vector<CarriedStruct> all;
  for (const CallRow& call : Calls()) all.push_back(Of(call));
  for (const Element& element : Elements()) all.push_back(Of(element));
  return all;
}

CarriedMember CarriedStruct::At(const std::string& path) const {
  const auto at = abi_.Find(path);
  if (!at) throw std::runtime_error(name_ + ": abi.json has no member " + path);
  return {path, *at};
}

CarriedMember CarriedStruct::At(const FieldDescriptor* field) const {
  const std::string path = Path(field);
  const size_t bracket = path.find('[');
  if (bracket == std::string::npos) return At(path);
  // "name[800]", so many bytes of an array of bytes.
  CarriedMember member{path, At(path.substr(0, bracket)).at};
  member.at.offset += std::stoul(path.substr(bracket + 1));
  member.at.size = Rule(field).bytes();
  return member;
}

void CarriedStruct::AddAddress(const std::string& path) {
  for (const CarriedMember& address : addresses_) {
    if (address.path == path) return;
  }
  addresses_.push_back(At(path));
}

void CarriedStruct::Collect(const Descriptor* message) {
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* field = message->field(i);
    if (Rule(field).guest()) continue;
    if (IsBuffer(field)) {
      AddAddress(field->options().GetExtension(dxg::buffer).pointer());
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      CarriedGroup group{field->name(), Rule(field).when(), {}};
      for (int k = 0; k < field->message_type()->field_count(); ++k) {
        group.members.push_back(At(field->message_type()->field(k)));
        members_.push_back(group.members.back());
      }
      groups_.push_back(group);
    } else {
      always_.push_back(At(field));
      members_.push_back(always_.back());
    }
  }
}

// A struct has one discriminator at most, so a choice is one of the values that some group asks for.
void CarriedStruct::FinishChoices() {
  for (const CarriedGroup& group : groups_) {
    if (group.when.member() != groups_.front().when.member())
      throw std::runtime_error(name_ + ": 2 discriminators");
    for (uint64_t is : group.when.is()) choices_.push_back({group.when, is});
  }
}

void CarriedStruct::Choose(size_t choice, Random* random, std::byte* args) const {
  if (choices_.empty()) return;
  const Bytes at = abi_.Find(choices_.front().when.member()).value();
  if (choice != 0) {
    const Choice& chosen = choices_[choice - 1];
    const uint64_t mask = chosen.when.mask() == 0 ? ~uint64_t{0} : chosen.when.mask();
    SetNumber(args, at, ((*random)() & ~mask) | chosen.value);
    return;
  }
  const auto taken = [&] {
    for (const CarriedGroup& group : groups_) {
      if (Holds(group.when, abi_, args)) return true;
    }
    return false;
  };
  do {
    SetNumber(args, at, (*random)());
  } while (taken());
}

std::vector<bool> CarriedStruct::Carried(const std::byte* args) const {
  std::vector<bool> bytes(size(), false);
  Mark(always_, &bytes);
  for (const CarriedGroup& group : groups_) {
    if (Holds(group.when, abi_, args)) Mark(group.members, &bytes);
  }
  return bytes;
}

void CarriedStruct::FillValid(size_t choice, Random* random, std::byte* args) const {
  FillRandom(random, args, size());
  Choose(choice, random, args);
  const std::vector<bool> carried = Carried(args);
  for (size_t i = 0; i < size(); ++i) {
    if (!carried[i]) args[i] = std::byte{0};
  }
}

std::vector<std::unique_ptr<Message>> CarriedStruct::NewMessages() const { return new_messages_(); }

void CarriedStruct::Read(const std::byte* args, const std::vector<std::unique_ptr<Message>>& messages) const {
  read_(args, messages);
}

void CarriedStruct::Write(const std::vector<std::unique_ptr<Message>>& messages, std::byte* args) const {
  write_(messages, args);
}

}  // namespace dxg::contract
