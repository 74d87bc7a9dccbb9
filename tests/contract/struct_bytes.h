#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "proto/contract/contract.h"
#include "tests/contract/abi_record.h"

// Determines which bytes of a struct the messages carry, from the options in the contract and the golden
// record only. It does not use the generated tables and codecs, because the tests compare these with it.

namespace dxg::contract {

using Random = std::mt19937_64;

// A member that a field of a message carries.
struct CarriedMember {
  std::string path;
  Bytes at;
};

// A field that groups members, and what the struct has to say for the group to be there.
struct CarriedGroup {
  std::string name;
  Condition when;
  std::vector<CarriedMember> members;
};

// A struct of the client with the messages that speak of it: the fixed struct of a call, or an element of a
// buffer.
class CarriedStruct {
 public:
  static CarriedStruct Of(const CallRow& call);
  static CarriedStruct Of(const Element& element);
  static std::vector<CarriedStruct> All();

  const std::string& name() const { return name_; }
  const AbiStruct& abi() const { return abi_; }
  size_t size() const { return abi_.size(); }
  // Every member that some field carries, in the order of the fields.
  const std::vector<CarriedMember>& members() const { return members_; }
  const std::vector<CarriedMember>& addresses() const { return addresses_; }
  const std::vector<CarriedMember>& unused() const { return unused_; }
  const std::vector<CarriedGroup>& groups() const { return groups_; }

  // The generated tables that must say the same.
  std::span<const Member> member_table() const { return member_table_; }
  std::span<const Member> address_table() const { return address_table_; }
  std::span<const Member> unused_table() const { return unused_table_; }

  // One for each message: Request and Reply of a call, the one message of an element.
  std::vector<std::unique_ptr<Message>> NewMessages() const;
  void Read(const std::byte* args, const std::vector<std::unique_ptr<Message>>& messages) const;
  void Write(const std::vector<std::unique_ptr<Message>>& messages, std::byte* args) const;

  // How many ways there are to choose the arms of its unions, at least 1.
  size_t choices() const { return 1 + choices_.size(); }
  // Sets the discriminator that makes the choice; choice 0 takes none of the arms.
  void Choose(size_t choice, Random* random, std::byte* args) const;
  // One entry for each byte: whether a message carries it, with the discriminators that `args` holds.
  std::vector<bool> Carried(const std::byte* args) const;
  // Random content where a message carries it, zero elsewhere.
  void FillValid(size_t choice, Random* random, std::byte* args) const;

 private:
  struct Choice {
    Condition when;
    uint64_t value;
  };

  CarriedStruct(std::string name, AbiStruct abi) : name_(std::move(name)), abi_(std::move(abi)) {}
  void Collect(const google::protobuf::Descriptor* message);
  void AddAddress(const std::string& path);
  CarriedMember At(const std::string& path) const;
  CarriedMember At(const google::protobuf::FieldDescriptor* field) const;
  void FinishChoices();

  std::string name_;
  AbiStruct abi_;
  std::vector<CarriedMember> members_, always_, addresses_, unused_;
  std::vector<CarriedGroup> groups_;
  std::vector<Choice> choices_;
  std::span<const Member> member_table_, address_table_, unused_table_;
  std::function<std::vector<std::unique_ptr<Message>>()> new_messages_;
  std::function<void(const std::byte*, const std::vector<std::unique_ptr<Message>>&)> read_;
  std::function<void(const std::vector<std::unique_ptr<Message>>&, std::byte*)> write_;
};

// Whether the struct's bytes fulfil a condition of the contract.
bool Holds(const Condition& when, const AbiStruct& abi, const std::byte* args);

// A number of up to 8 bytes.
uint64_t Number(const std::byte* args, const Bytes& at);
void SetNumber(std::byte* args, const Bytes& at, uint64_t value);
void FillRandom(Random* random, std::byte* bytes, size_t size);

}  // namespace dxg::contract
