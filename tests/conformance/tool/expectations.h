#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// What is known of tests on a kind of node, as files in the manner of deqp-runner's baselines and of the
// lists of the DRM subsystem's CI: a test or a glob, a comma, a status.
//
//   # Reason: a FUSE file is no character device
//   # Tracker: docs/abi.md
//   OpenNode.IsACharacterDevice,Skip
//
// Reason and tracker hold for the lines below them, up to the next empty line.

namespace dxg::conformance {

enum class Expected {
  kPass,       // it passes: one of those that an earlier glob names does
  kFail,       // it runs, and fails
  kSkip,       // it runs, and skips itself
  kFlake,      // it runs, and sometimes fails or skips
  kNotRun,     // it is left out: it would not end
  kDangerous,  // it is left out on the real driver, unless --dangerous is given: it harms the machine
};

struct Expectation {
  std::string pattern;
  Expected expected = Expected::kFail;
  std::string reason;
  std::string tracker;
  std::string source;  // FILE:LINE
};

// A file that the program carries.
struct ShippedFile {
  const char* name;
  const char* text;
};
std::span<const ShippedFile> ShippedFiles();
const ShippedFile* FindShippedFile(std::string_view name);

class Expectations {
 public:
  // A shipped file's name, or a path. Returns what is wrong, or nothing.
  [[nodiscard]] std::optional<std::string> AddFile(const std::string& name);
  [[nodiscard]] std::optional<std::string> AddText(std::string_view text, const std::string& source);

  // The last one that fits, so that a later file can correct an earlier one.
  const Expectation* Find(const std::string& test) const;
  const std::vector<Expectation>& all() const { return all_; }

 private:
  std::vector<Expectation> all_;
};

// What must pass on every node: names and globs, and with '-' in front those that are excepted.
class MustPass {
 public:
  // A path, or "auto": the shipped list, which also excepts what some shipped file expects of a test.
  [[nodiscard]] std::optional<std::string> AddFile(const std::string& name);
  bool Requires(const std::string& test) const;
  // Those that are no globs.
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::vector<std::string> names_;
  std::vector<std::string> patterns_;
  std::vector<std::string> excepted_;
  std::vector<Expectations> excusing_;  // each by itself: a later one does not take back what one excuses
};

bool FitsGlob(const std::string& pattern, const std::string& test);

}  // namespace dxg::conformance
