#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/conformance/tool/results.h"

// Files of results: JSON of our own form, and JUnit's XML. Programs under test crash, and CI systems kill
// what takes too long. So a file is whole before the first test, when the node was not looked at yet, and
// after every test: each write ends the file properly, and the next one goes over that end. While a test
// runs, the file says that the program ended in it; between tests JUnit's XML has an error that says so.

namespace dxg::conformance {

// A file of a head of fixed length, entries, and a tail that the next entry replaces.
class WholeFile {
 public:
  WholeFile() = default;
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;
  ~WholeFile();

  // Returns what is wrong, or nothing.
  [[nodiscard]] std::optional<std::string> Open(const std::string& path);
  bool is_open() const { return fd_ >= 0; }
  // Takes the file away: there are no results. Leaves alone what is no regular file, or not at the path.
  void Discard();

  // The first head fixes its length, and so does one that begins anew, without entries; another one has at
  // most that many bytes.
  void SetHead(std::string head);
  void BeginAnew() { head_bytes_ = 0; }
  void Append(const std::string& entry, std::string tail);
  void SetTail(const std::string& tail) { Append("", tail); }
  // The last tail; takes the blanks away that covered longer ones.
  void TrimTo(const std::string& tail);
  // Whether everything could be written so far.
  bool ok() const { return ok_; }

 private:
  void WriteAt(const std::string& bytes, off_t offset);

  std::string path_;
  int fd_ = -1;
  pid_t owner_ = 0;  // tests fork; only this process writes
  bool ok_ = true;
  size_t head_bytes_ = 0;
  off_t entries_end_ = 0;
  off_t end_ = 0;
};

// Writes results while a run goes on, as JSON, as JUnit's XML, as both or as none.
class ResultsWriter {
 public:
  [[nodiscard]] std::optional<std::string> OpenJson(const std::string& path) { return json_.Open(path); }
  [[nodiscard]] std::optional<std::string> OpenJunit(const std::string& path) { return junit_.Open(path); }
  void Discard();

  // Also again, with more that is known, before the first test.
  void Begin(const RunInfo& info);
  void Starts(const std::string& test, double elapsed_ms);
  void Add(const TestResult& test, double elapsed_ms);
  // `ends`: what JUnit's XML says, as errors, of a run that is not complete.
  void End(bool complete, double elapsed_ms, std::vector<TestResult> ends = {});
  bool ok() const { return json_.ok() && junit_.ok(); }

 private:
  void SetTails(bool complete, double elapsed_ms);
  std::string JunitHead(double elapsed_ms) const;
  std::string JunitTail() const;

  WholeFile json_;
  WholeFile junit_;
  RunInfo info_;
  std::string running_;
  std::vector<TestResult> ends_;  // errors that JUnit's XML has beside the tests, were this the end
  std::map<Outcome, int> counts_;
};

// Reads a JSON file. A test in which the program ended is among the tests, as a crash. Returns what is wrong,
// or nothing.
[[nodiscard]] std::optional<std::string> ReadResults(const std::string& path, Results* results);
// The same of a file's text.
[[nodiscard]] std::optional<std::string> ParseResults(const std::string& text, const std::string& path,
                                                      Results* results);

}  // namespace dxg::conformance
