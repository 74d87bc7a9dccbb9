#include "cuse-dxg/top/json.h"

#include <nlohmann/json.hpp>

#include "cuse-dxg/control/print.h"

namespace dxg::top {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const Memory& memory) {
  return {{"size_bytes", memory.size},
          {"budget_bytes", memory.budget},
          {"used_bytes", memory.used},
          {"placed_bytes", memory.placed}};
}

Json ToJson(const Engine& engine) {
  return {{"name", engine.name},
          {"load", engine.load},
          {"running_ns", engine.running_ns},
          {"queues", engine.queues},
          {"ready", engine.ready},
          {"commands_per_second", engine.commands_per_second},
          {"submitted", engine.submitted},
          {"completed", engine.completed},
          {"faulted", engine.faulted}};
}

Json ToJson(const Adapter& adapter) {
  Json json = {{"luid", control::LuidText(adapter.luid)},
               {"profile", adapter.profile},
               {"description", adapter.description},
               {"resets", adapter.resets},
               {"local", ToJson(adapter.local)},
               {"non_local", ToJson(adapter.non_local)},
               {"engines", Json::array()}};
  for (const Engine& engine : adapter.engines) json["engines"].push_back(ToJson(engine));
  return json;
}

Json ToJson(const Process& process) {
  Json json = {{"pid", process.pid},           {"name", process.name},
               {"local_bytes", process.local}, {"non_local_bytes", process.non_local},
               {"load", process.load},         {"running_ns", process.running_ns},
               {"queued", process.queued}};
  if (!process.has_guest) return json;
  json["user"] = process.user;
  json["allocated_bytes"] = process.bytes;
  json["objects"] = process.objects;
  json["calls"] = process.calls;
  json["calls_per_second"] = process.calls_per_second;
  json["refused"] = process.refused;
  json["refused_per_second"] = process.refused_per_second;
  json["wait_points"] = process.wait_points;
  json["waiting"] = Json::object();
  for (const NamedCount& call : process.waiting) json["waiting"][call.name] = call.count;
  if (process.by_name.empty()) return json;
  json["calls_by_name"] = Json::object();
  for (const NamedCount& call : process.by_name)
    json["calls_by_name"][call.name] = {
        {"count", call.count}, {"refused", call.refused}, {"per_second", call.per_second}};
  return json;
}

Json ToJson(const Refusal& refusal) {
  return {{"seconds_ago", refusal.seconds_ago},
          {"pid", refusal.process},
          {"tid", refusal.thread},
          {"name", refusal.name},
          {"call", refusal.call},
          {"error", refusal.error},
          {"count", refusal.count},
          {"reason", refusal.why}};
}

}  // namespace

std::string ToJson(const Picture& picture) {
  Json json = {{"seconds", picture.seconds}, {"waits", picture.waits}};
  if (picture.has_guest) {
    json["calls"] = picture.calls;
    json["calls_per_second"] = picture.calls_per_second;
    json["refused"] = picture.refused;
    json["refused_per_second"] = picture.refused_per_second;
  }
  json["adapters"] = Json::array();
  for (const Adapter& adapter : picture.adapters) json["adapters"].push_back(ToJson(adapter));
  json["processes"] = Json::array();
  for (const Process& process : picture.processes) json["processes"].push_back(ToJson(process));
  json["refusals"] = Json::array();
  for (const Refusal& refusal : picture.refusals) json["refusals"].push_back(ToJson(refusal));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace dxg::top
