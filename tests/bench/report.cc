#include "tests/bench/report.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <fstream>
#include <sstream>

namespace dxg::bench {
namespace {

using Json = nlohmann::ordered_json;

std::string ProcessorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

int AllowedCores() {
  cpu_set_t allowed;
  return sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 0;
}

Json Machine() {
  utsname names{};
  uname(&names);
  return {
      {"processor", ProcessorName()},
      {"architecture", names.machine},
      {"cores", sysconf(_SC_NPROCESSORS_ONLN)},
      {"memory_mib",
       static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) >> 20},
      {"kernel", names.release}};
}

std::string UtcNow() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

const char* LimitName(Limit limit) { return limit == Limit::kAtMost ? "at most" : "at least"; }

Json ResultAsJson(const Result& result, bool smoke) {
  const Interval& value = result.value;
  Json json = {
      {"name", result.figure.name}, {"unit", result.figure.unit.empty() ? "ratio" : result.figure.unit},
      {"value", value.median},      {"low", value.low},
      {"high", value.high},         {"rounds", value.rounds}};
  if (result.figure.limit != Limit::kNone) {
    json["limit"] = LimitName(result.figure.limit);
    json["target"] = result.figure.target;
    if (!smoke) json["verdict"] = result.verdict();
  }
  json["too_noisy"] = result.is_too_noisy;
  return json;
}

}  // namespace

Load::Sample Load::Now() {
  Sample sample;
  std::ifstream("/proc/loadavg") >> sample.average;
  std::ifstream file("/proc/stat");
  std::string line, word;
  std::getline(file, line);
  std::istringstream words(line);
  words >> word;  // user nice system idle iowait irq softirq steal: proc(5); a guest's time is in the user's
  uint64_t ticks = 0;
  for (int i = 0; i < 8 && words >> ticks; ++i) {
    sample.all += ticks;
    if (i == 7) sample.stolen = ticks;
    if (i != 3 && i != 4) sample.busy += ticks;
  }
  return sample;
}

Json Load::Json() const {
  const Sample now = Now();
  const double all = std::max<double>(1, static_cast<double>(now.all - before_.all));
  return {{"average_before", before_.average},
          {"average_after", now.average},
          {"busy_percent", 100 * static_cast<double>(now.busy - before_.busy) / all},
          {"stolen_percent", 100 * static_cast<double>(now.stolen - before_.stolen) / all}};
}

std::string Load::Text() const {
  const nlohmann::ordered_json load = Json();
  return fmt::format("load {:.2f} before and {:.2f} after, cores {:.0f} % busy, {:.1f} % stolen",
                     load["average_before"].get<double>(), load["average_after"].get<double>(),
                     load["busy_percent"].get<double>(), load["stolen_percent"].get<double>());
}

std::string Line(const Result& result, bool smoke) {
  const Figure& figure = result.figure;
  const Interval& value = result.value;
  const int digits = value.median >= 1000 ? 0 : 2;
  std::string line = fmt::format("{:<62}{:>9.{}f}{}", figure.name, value.median, digits,
                                 figure.unit.empty() ? "" : " " + figure.unit);
  if (smoke) return line;
  if (value.rounds > 1)
    line +=
        fmt::format("  ({:.{}f} to {:.{}f}, {} rounds)", value.low, digits, value.high, digits, value.rounds);
  if (figure.limit != Limit::kNone)
    line += fmt::format("  target {} {:.2f}: {}", LimitName(figure.limit), figure.target, result.verdict());
  if (result.is_too_noisy) line += "  THE MACHINE IS TOO NOISY";
  return line;
}

Json RunAsJson(const std::string& command, const Run& run, const Limits& limits, const Load& load) {
  Json machine = Machine();
  machine["cores_of_this_run"] = AllowedCores();
  Json json = {
      {"program", "dxg-bench"}, {"version", DXG_VERSION}, {"command", command},
      {"ended", UtcNow()},      {"smoke", limits.smoke},  {"precision_percent", limits.precision_percent},
      {"machine", machine},     {"load", load.Json()},    {"results", Json::array()}};
  for (const Result& result : run.results()) json["results"].push_back(ResultAsJson(result, limits.smoke));
  return json;
}

}  // namespace dxg::bench
