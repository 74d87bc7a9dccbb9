#include "cuse-dxg/control/print.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace dxg::control {
namespace {

using google::protobuf::FieldDescriptor;
using Json = nlohmann::ordered_json;

Json ToJson(const FaultRule& rule) {
  Json json;
  const auto* reflection = FaultRule::GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(rule, &fields);
  for (const FieldDescriptor* field : fields) {
    Json& value = json[field->name()];
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        value = reflection->GetString(rule, field);
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        value = reflection->GetDouble(rule, field);
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        value = reflection->GetUInt32(rule, field);
        break;
      default:
        value = reflection->GetUInt64(rule, field);
        if (field->name() == "adapter") value = LuidText(rule.adapter());
    }
  }
  return json;
}

Json ToJson(const ControlReply::Point& point) {
  Json json = {{"number", point.number()}, {"name", point.name()},       {"passage", point.passage()},
               {"effect", point.effect()}, {"options", point.options()}, {"passed", point.passed()},
               {"struck", point.struck()}, {"rules", Json::array()}};
  for (const ControlReply::Rule& rule : point.rules()) {
    json["rules"].push_back({{"rule", ToJson(rule.rule())},
                             {"passed", rule.passed()},
                             {"struck", rule.struck()},
                             {"spent", rule.spent()}});
  }
  return json;
}

// Within the quotes of a label.
std::string Label(const std::string& text) {
  std::string out;
  for (const char letter : text) {
    if (letter == '\\' || letter == '"') out += '\\';
    out += letter == '\n' ? "\\n" : std::string(1, letter);
  }
  return out;
}

std::string Family(const std::string& name, const char* type, const std::string& help) {
  std::string text = fmt::format("# TYPE {} {}\n", name, type);
  if (name.ends_with("_bytes")) text += fmt::format("# UNIT {} bytes\n", name);
  return text + fmt::format("# HELP {} {}.\n", name, help);
}

}  // namespace

std::string LuidText(uint64_t luid) { return fmt::format("{:08x}-{:08x}", luid >> 32, luid & 0xFFFFFFFF); }

std::string ToJson(const ControlReply& reply, Part part) {
  Json json;
  switch (part) {
    case Part::kPoints:
      json["points"] = Json::array();
      for (const ControlReply::Point& point : reply.points()) json["points"].push_back(ToJson(point));
      break;
    case Part::kAdapters:
      json["adapters"] = Json::array();
      for (const ControlReply::Adapter& adapter : reply.adapters())
        json["adapters"].push_back({{"luid", LuidText(adapter.luid())},
                                    {"profile", adapter.profile()},
                                    {"description", adapter.description()}});
      break;
    case Part::kCounts:
      for (const ControlReply::Count& count : reply.counts()) json["counts"][count.metric()] = count.value();
      break;
    case Part::kCleared:
      json["cleared"] = reply.cleared();
      break;
    case Part::kDone:
      json["done"] = reply.done();
  }
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string ToMetrics(const ControlReply& all) {
  std::string text;
  for (const ControlReply::Count& count : all.counts()) {
    const std::string name = "dxg_host_" + count.metric();
    const bool grows = count.only_grows();
    text += Family(name, grows ? "counter" : "gauge", count.name() + (grows ? "" : ", now"));
    text += fmt::format("{}{} {}\n", name, grows ? "_total" : "", count.value());
  }
  text += Family("dxg_adapter", "info", "An adapter that is there");
  for (const ControlReply::Adapter& adapter : all.adapters())
    text += fmt::format("dxg_adapter_info{{luid=\"{}\",profile=\"{}\",description=\"{}\"}} 1\n",
                        LuidText(adapter.luid()), Label(adapter.profile()), Label(adapter.description()));
  text += Family("dxg_fault_passages", "counter", "Passages of a fault point since a rule of it was armed");
  for (const ControlReply::Point& point : all.points())
    text += fmt::format("dxg_fault_passages_total{{point=\"{}\"}} {}\n", point.name(), point.passed());
  text += Family("dxg_fault_strikes", "counter", "How many of them were struck");
  for (const ControlReply::Point& point : all.points())
    text += fmt::format("dxg_fault_strikes_total{{point=\"{}\"}} {}\n", point.name(), point.struck());
  return text + "# EOF\n";
}

}  // namespace dxg::control
