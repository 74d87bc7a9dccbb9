#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

// The golden record of the published ABI (tests/golden/abi.json) as the tests of the contract ask it: where
// the members of a struct lie, which of its bytes are padding, and which members share bytes because they are
// arms of a union.

namespace dxg::contract {

// A run of bytes of a struct.
struct Bytes {
  size_t offset = 0;
  size_t size = 0;

  size_t end() const { return offset + size; }
  bool Contains(const Bytes& other) const { return offset <= other.offset && other.end() <= end(); }
  bool Overlaps(const Bytes& other) const { return offset < other.end() && other.offset < end(); }
  bool operator==(const Bytes&) const = default;
};

// A member, down to the ones that have no members of their own.
struct AbiMember {
  std::string name;  // empty: anonymous
  Bytes at;
  bool is_union = false;
  std::vector<AbiMember> members;
};

// A struct of the ABI.
class AbiStruct {
 public:
  AbiStruct(const nlohmann::json& types, const std::string& name);

  const std::string& name() const { return name_; }
  size_t size() const { return root_.at.size; }

  // Where the member with that path lies ("info.type", as in offsetof); nothing where there is no such
  // member.
  std::optional<Bytes> Find(const std::string& path) const;

  // The members without members of their own, by their path. Bit-fields are where their storage is.
  std::vector<std::pair<std::string, Bytes>> Leaves() const;
  // One entry for each byte: whether any member covers it. The others are padding.
  std::vector<bool> Covered() const;

  // Whether the members with those paths are in different arms of one union, the only reason to share bytes.
  bool InDifferentArms(const std::string& a, const std::string& b) const;

 private:
  std::string name_;
  const nlohmann::json* flat_;
  AbiMember root_;
};

struct AbiIoctl {
  uint8_t nr;
  uint32_t code;
  uint32_t size;            // of the struct
  std::string name;         // "LX_DXCREATEDEVICE"
  std::string struct_name;  // "struct d3dkmt_createdevice"
};

// Read once; a record that cannot be read ends the test program.
const nlohmann::json& AbiRecord();
std::vector<AbiIoctl> AbiIoctls();
AbiStruct AbiStructNamed(const std::string& name);

}  // namespace dxg::contract
