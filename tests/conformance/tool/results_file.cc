#include "tests/conformance/tool/results_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "tests/conformance/tool/read_file.h"

namespace dxg::conformance {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "dxg-conformance results 1";
constexpr int kShardsMost = 100000;    // as --shards takes
constexpr size_t kRoomForCounts = 64;  // in the head of JUnit's XML, whose counts grow

std::string Dump(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);  // a message may be no UTF-8
}

Json ToJson(const RunInfo& info) {
  Json shards = Json::array();
  for (const Shard& shard : info.shards) shards.push_back({{"index", shard.index}, {"total", shard.total}});
  return {{"version", info.version},
          {"node", info.node},
          {"node_kind", info.node_kind},
          {"product", info.product},
          {"adapter", info.adapter},
          {"driver_version", info.driver_version},
          {"machine",
           {{"host_name", info.host_name},
            {"system", info.system},
            {"architecture", info.architecture},
            {"processors", info.processors}}},
          {"seed", info.seed},
          {"filter", info.filter},
          {"expectations", info.expectations},
          {"shards", shards},
          {"started", info.started}};
}

// A whole number. Json itself takes true, 1.5 and what does not fit an int for one.
int IntFrom(const Json& json, const char* name) {
  const Json& value = json.at(name);
  constexpr int kMost = std::numeric_limits<int>::max(), kLeast = std::numeric_limits<int>::min();
  const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= static_cast<uint64_t>(kMost)
                                               : value.is_number_integer() && value.get<int64_t>() >= kLeast;
  if (!fits)
    throw std::runtime_error(fmt::format("\"{}\" is {}. Expected a whole number", name, Dump(value)));
  return value.get<int>();
}

const Json& ListFrom(const Json& json, const char* name) {
  const Json& value = json.at(name);
  if (!value.is_array())
    throw std::runtime_error(fmt::format("\"{}\" is {}. Expected a list", name, Dump(value)));
  return value;
}

Shard ShardFrom(const Json& json) {
  const Shard shard = {IntFrom(json, "index"), IntFrom(json, "total")};
  if (shard.total < 1 || shard.total > kShardsMost)
    throw std::runtime_error(fmt::format("there are {} shards. Expected 1 to {}", shard.total, kShardsMost));
  if (shard.index < 0 || shard.index >= shard.total)
    throw std::runtime_error(fmt::format("the shard is number {} of {}. Expected 0 to {}", shard.index,
                                         shard.total, shard.total - 1));
  return shard;
}

RunInfo InfoFrom(const Json& json) {
  RunInfo info;
  info.version = json.at("version");
  info.node = json.at("node");
  info.node_kind = json.at("node_kind");
  info.product = json.at("product");
  info.adapter = json.at("adapter");
  info.driver_version = json.at("driver_version");
  const Json& machine = json.at("machine");
  info.host_name = machine.at("host_name");
  info.system = machine.at("system");
  info.architecture = machine.at("architecture");
  info.processors = IntFrom(machine, "processors");
  info.seed = IntFrom(json, "seed");
  info.filter = json.at("filter");
  info.expectations = json.at("expectations").get<std::vector<std::string>>();
  for (const Json& shard : ListFrom(json, "shards")) info.shards.push_back(ShardFrom(shard));
  info.started = json.at("started");
  return info;
}

Json ToJson(const TestResult& test) {
  Json json = {{"name", test.name}, {"outcome", ToString(test.outcome)}, {"ms", test.ms}};
  if (!test.message.empty()) json["message"] = test.message;
  if (!test.reason.empty()) json["reason"] = test.reason;
  if (!test.tracker.empty()) json["tracker"] = test.tracker;
  return json;
}

TestResult TestFrom(const Json& json) {
  TestResult test;
  test.name = json.at("name");
  const auto outcome = OutcomeNamed(json.at("outcome").get<std::string>());
  if (!outcome) throw std::runtime_error(fmt::format("{} is no outcome", Dump(json.at("outcome"))));
  test.outcome = *outcome;
  test.ms = json.at("ms");
  test.message = json.value("message", "");
  test.reason = json.value("reason", "");
  test.tracker = json.value("tracker", "");
  return test;
}

// What XML 1.0 can hold: no control characters, and UTF-8 only.
std::string Xml(const std::string& text) {
  // Through JSON, which repairs UTF-8.
  const std::string utf8 = Json::parse(Dump(Json(text))).get<std::string>();
  std::string out;
  for (const char c : utf8) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (c == '\n')
      out += "&#10;";
    else if (static_cast<unsigned char>(c) >= ' ' || c == '\t')
      out += c;
    else
      out += '?';
  }
  return out;
}

std::string Property(const char* name, const std::string& value) {
  return fmt::format("<property name=\"{}\" value=\"{}\"/>\n", name, Xml(value));
}

std::string JunitCase(const TestResult& test) {
  const size_t dot = test.name.rfind('.');
  std::string text =
      fmt::format("<testcase classname=\"{}\" name=\"{}\" time=\"{:.3f}\"", Xml(test.name.substr(0, dot)),
                  Xml(test.name.substr(dot + 1)), test.ms / 1000);
  std::string why = test.message;
  if (!test.reason.empty())
    why += fmt::format("{}expected: {} ({})", why.empty() ? "" : "\n", test.reason, test.tracker);
  const char* element = nullptr;
  if (test.outcome == Outcome::kCrash)
    element = "error";
  else if (IsFailure(test.outcome))
    element = "failure";
  else if (test.outcome != Outcome::kPass)
    element = "skipped";
  if (element == nullptr) return text + "/>\n";
  return text +
         fmt::format("><{} message=\"{}: {}\"/></testcase>\n", element, ToString(test.outcome), Xml(why));
}

TestResult CrashIn(const std::string& test) {
  TestResult crash;
  crash.name = test;
  crash.outcome = Outcome::kCrash;
  crash.message = "the program ended in this test";
  return crash;
}

// Readers of JUnit's XML know no "complete": a run that ended early has to have an error.
TestResult EndBetweenTests() {
  TestResult end;
  end.name = "Run.EndedEarly";
  end.outcome = Outcome::kCrash;
  end.message = "the program ended before it had run all tests, and not in one of them";
  return end;
}

}  // namespace

WholeFile::~WholeFile() {
  if (fd_ >= 0) close(fd_);
}

std::optional<std::string> WholeFile::Open(const std::string& path) {
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) return fmt::format("cannot write {}: {}", path, strerror(errno));
  path_ = path;
  owner_ = getpid();
  return std::nullopt;
}

void WholeFile::Discard() {
  if (fd_ < 0) return;
  // The path may name a device or a link, and something else than when it was opened. Only our file goes.
  struct stat ours = {}, named = {};
  const bool is_ours = fstat(fd_, &ours) == 0 && S_ISREG(ours.st_mode) && lstat(path_.c_str(), &named) == 0 &&
                       ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
  if (is_ours) unlink(path_.c_str());
  close(fd_);
  fd_ = -1;
}

void WholeFile::WriteAt(const std::string& bytes, off_t offset) {
  if (fd_ < 0 || getpid() != owner_) return;
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n =
        pwrite(fd_, bytes.data() + done, bytes.size() - done, offset + static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      if (ok_) fmt::print(stderr, "dxg-conformance: cannot write {}: {}\n", path_, strerror(errno));
      ok_ = false;
      return;
    }
    done += static_cast<size_t>(n);
  }
}

void WholeFile::SetHead(std::string head) {
  if (head_bytes_ == 0) {
    head_bytes_ = head.size();
    entries_end_ = static_cast<off_t>(head_bytes_);
  }
  head.resize(head_bytes_, ' ');
  WriteAt(head, 0);
}

// One write: a program that is killed leaves the file before it or the one after it. Blanks at the end, which
// both forms allow, cover the rest of a longer tail.
void WholeFile::Append(const std::string& entry, std::string tail) {
  const off_t end = entries_end_ + static_cast<off_t>(entry.size() + tail.size());
  if (end < end_) tail.append(static_cast<size_t>(end_ - end), '\n');
  WriteAt(entry + tail, entries_end_);
  entries_end_ += static_cast<off_t>(entry.size());
  end_ = entries_end_ + static_cast<off_t>(tail.size());
}

void WholeFile::TrimTo(const std::string& tail) {
  SetTail(tail);
  if (fd_ < 0 || getpid() != owner_) return;
  end_ = entries_end_ + static_cast<off_t>(tail.size());
  if (ftruncate(fd_, end_) != 0) ok_ = false;
}

void ResultsWriter::Discard() {
  json_.Discard();
  junit_.Discard();
}

std::string ResultsWriter::JunitHead(double elapsed_ms) const {
  int tests = static_cast<int>(ends_.size()), failures = 0, errors = tests, skipped = 0;
  for (const auto& [outcome, count] : counts_) {
    tests += count;
    if (outcome == Outcome::kCrash)
      errors += count;
    else if (IsFailure(outcome))
      failures += count;
    else if (outcome != Outcome::kPass)
      skipped += count;
  }
  const std::string counts =
      fmt::format("tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3f}\"", tests,
                  failures, errors, skipped, elapsed_ms / 1000);
  std::string head =
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites><testsuite name=\"dxg-conformance\" ";
  head +=
      fmt::format("hostname=\"{}\" timestamp=\"{}\" {:<{}}>\n<properties>\n", Xml(info_.host_name),
                  Xml(info_.started), counts, sizeof("tests failures errors skipped time") + kRoomForCounts);
  std::string expectations, shards;
  for (const std::string& name : info_.expectations)
    expectations += fmt::format("{}{}", expectations.empty() ? "" : " ", name);
  for (const Shard& shard : info_.shards)
    shards += fmt::format("{}{}/{}", shards.empty() ? "" : " ", shard.index, shard.total);
  head += Property("version", info_.version) + Property("node", info_.node) +
          Property("node_kind", info_.node_kind) + Property("product", info_.product) +
          Property("adapter", info_.adapter) + Property("driver_version", info_.driver_version) +
          Property("system", info_.system) + Property("architecture", info_.architecture) +
          Property("processors", std::to_string(info_.processors)) +
          Property("seed", std::to_string(info_.seed)) + Property("filter", info_.filter) +
          Property("expectations", expectations) + Property("shards", shards);
  return head + "</properties>\n";
}

void ResultsWriter::Begin(const RunInfo& info) {
  info_ = info;
  json_.BeginAnew();
  junit_.BeginAnew();
  json_.SetHead(
      fmt::format("{{\n\"format\": \"{}\",\n\"run\": {},\n\"tests\": [", kFormat, Dump(ToJson(info), 2)));
  ends_ = {EndBetweenTests()};
  junit_.SetHead(JunitHead(0));
  SetTails(false, 0);
}

std::string ResultsWriter::JunitTail() const {
  std::string tail;
  for (const TestResult& end : ends_) tail += JunitCase(end);
  return tail + "</testsuite></testsuites>\n";
}

void ResultsWriter::SetTails(bool complete, double elapsed_ms) {
  Json counts = Json::object();
  for (const auto& [outcome, count] : counts_) counts[std::string(ToString(outcome))] = count;
  const std::string json =
      fmt::format("\n],\n\"complete\": {},\n\"running\": {},\n\"elapsed_ms\": {:.3f},\n\"counts\": {}\n}}\n",
                  complete, Dump(Json(running_)), elapsed_ms, Dump(counts));
  const std::string junit = JunitTail();
  junit_.SetHead(JunitHead(elapsed_ms));
  if (complete) {
    json_.TrimTo(json);
    junit_.TrimTo(junit);
  } else {
    json_.SetTail(json);
    junit_.SetTail(junit);
  }
}

void ResultsWriter::Starts(const std::string& test, double elapsed_ms) {
  running_ = test;
  ends_ = {CrashIn(test)};
  SetTails(false, elapsed_ms);
}

void ResultsWriter::Add(const TestResult& test, double elapsed_ms) {
  const bool first = counts_.empty();
  ++counts_[test.outcome];
  running_.clear();
  ends_ = {EndBetweenTests()};
  // The tail of this moment is the whole one, so that a kill between two writes leaves a whole file.
  json_.Append(fmt::format("{}\n{}", first ? "" : ",", Dump(ToJson(test))),
               "\n],\n\"complete\": false, \"running\": \"\", \"elapsed_ms\": 0, \"counts\": {}\n}\n");
  junit_.Append(JunitCase(test), JunitTail());
  SetTails(false, elapsed_ms);
}

void ResultsWriter::End(bool complete, double elapsed_ms, std::vector<TestResult> ends) {
  running_.clear();
  ends_ = std::move(ends);
  if (!complete && ends_.empty() && counts_.count(Outcome::kCrash) == 0) ends_ = {EndBetweenTests()};
  SetTails(complete, elapsed_ms);
}

std::optional<std::string> ReadResults(const std::string& path, Results* results) {
  std::string text;
  if (const int error = ReadFile(path, &text))
    return fmt::format("cannot read {}: {}", path, strerror(error));
  return ParseResults(text, path, results);
}

std::optional<std::string> ParseResults(const std::string& text, const std::string& path, Results* results) {
  try {
    const Json json = Json::parse(text);
    if (json.value("format", "") != kFormat)
      return fmt::format("{} is no file of results: expected the format \"{}\", which --json writes", path,
                         kFormat);
    results->info = InfoFrom(json.at("run"));
    for (const Json& test : ListFrom(json, "tests")) results->tests.push_back(TestFrom(test));
    const std::string running = json.at("running");
    if (!running.empty()) results->tests.push_back(CrashIn(running));
    results->complete = json.at("complete");
    results->elapsed_ms = json.at("elapsed_ms");
  } catch (const std::exception& error) {
    return fmt::format("{} is no file of results: {}", path, error.what());
  }
  return std::nullopt;
}

}  // namespace dxg::conformance
