#include "tests/contract/abi_record.h"

#include <fstream>
#include <stdexcept>

namespace dxg::contract {
namespace {

using Json = nlohmann::json;

std::vector<AbiMember> Members(const Json& types, const Json& members, size_t base);

// A member whose type is a struct of its own is written in the record by that type's name only.
AbiMember MemberOf(const Json& types, const Json& json, size_t base) {
  AbiMember member;
  member.name = json.value("name", "");
  member.at = {base + json.at("offset").get<size_t>(), json.value("bitfield", false)
                                                           ? json.at("storage_size").get<size_t>()
                                                           : json.at("size").get<size_t>()};
  const std::string type =
      json.contains("anonymous") ? json["anonymous"].get<std::string>() : json.at("type").get<std::string>();
  member.is_union = type == "union";
  if (json.contains("members")) {
    member.members = Members(types, json["members"], base);
  } else if (const auto named = types.find(type); named != types.end()) {
    const size_t count = json.value("count", size_t{1});
    const size_t step = member.at.size / count;
    AbiMember element{member.name, member.at, named->at("kind") == "union", {}};
    for (size_t i = 0; i < count; ++i) {
      const size_t at = member.at.offset + i * step;
      element.at = {at, step};
      element.members = Members(types, named->at("members"), at);
      if (count == 1) return element;
      member.members.push_back(element);
    }
  }
  return member;
}

std::vector<AbiMember> Members(const Json& types, const Json& members, size_t base) {
  std::vector<AbiMember> found;
  for (const Json& json : members) found.push_back(MemberOf(types, json, base));
  return found;
}

void CollectLeaves(const AbiMember& member, const std::string& path,
                   std::vector<std::pair<std::string, Bytes>>* leaves) {
  if (member.members.empty()) leaves->emplace_back(path, member.at);
  for (const AbiMember& inner : member.members) {
    const bool dot = !path.empty() && !inner.name.empty();
    CollectLeaves(inner, path + (dot ? "." : "") + inner.name, leaves);
  }
}

// The members on the way from `member` down to the one with that path. False: there is none.
bool WayTo(const AbiMember& member, const std::string& path, std::vector<const AbiMember*>* way) {
  way->push_back(&member);
  if (path.empty()) return true;
  for (const AbiMember& inner : member.members) {
    const bool whole = path == inner.name;
    const bool first = !inner.name.empty() && path.starts_with(inner.name + ".");
    if (!whole && !first && !inner.name.empty()) continue;
    const std::string rest = inner.name.empty() ? path : whole ? "" : path.substr(inner.name.size() + 1);
    if (WayTo(inner, rest, way)) return true;
  }
  way->pop_back();
  return false;
}

}  // namespace

AbiStruct::AbiStruct(const Json& types, const std::string& name) : name_(name) {
  const Json& type = types.at(name);
  flat_ = &type.at("flat");
  root_ = {"",
           {0, type.at("size").get<size_t>()},
           type.at("kind") == "union",
           Members(types, type.at("members"), 0)};
}

std::optional<Bytes> AbiStruct::Find(const std::string& path) const {
  const auto member = flat_->find(path);
  if (member == flat_->end() || !member->contains("size")) return std::nullopt;
  return Bytes{member->at("offset").get<size_t>(), member->at("size").get<size_t>()};
}

std::vector<std::pair<std::string, Bytes>> AbiStruct::Leaves() const {
  std::vector<std::pair<std::string, Bytes>> leaves;
  CollectLeaves(root_, "", &leaves);
  return leaves;
}

std::vector<bool> AbiStruct::Covered() const {
  std::vector<bool> covered(size(), false);
  for (const auto& [path, at] : Leaves()) {
    for (size_t i = at.offset; i < at.end(); ++i) covered.at(i) = true;
  }
  return covered;
}

bool AbiStruct::InDifferentArms(const std::string& a, const std::string& b) const {
  std::vector<const AbiMember*> way_a, way_b;
  const auto whole = [](const std::string& path) {
    return path.substr(0, path.find('['));
  };  // a part is where its array is
  if (!WayTo(root_, whole(a), &way_a) || !WayTo(root_, whole(b), &way_b)) return false;
  size_t common = 0;
  while (common < way_a.size() && common < way_b.size() && way_a[common] == way_b[common]) ++common;
  // One of them inside the other is no choice between arms.
  return common < way_a.size() && common < way_b.size() && way_a[common - 1]->is_union;
}

const Json& AbiRecord() {
  static const Json record = [] {
    std::ifstream file(DXG_GOLDEN_DIR "/abi.json");
    if (!file) throw std::runtime_error("cannot read " DXG_GOLDEN_DIR "/abi.json");
    return Json::parse(file);
  }();
  return record;
}

std::vector<AbiIoctl> AbiIoctls() {
  std::vector<AbiIoctl> ioctls;
  for (const Json& json : AbiRecord().at("ioctls")) {
    ioctls.push_back({json.at("nr"), json.at("code"), json.at("size"), json.at("name"), json.at("struct")});
  }
  return ioctls;
}

AbiStruct AbiStructNamed(const std::string& name) { return AbiStruct(AbiRecord().at("types"), name); }

}  // namespace dxg::contract
