// Random bytes as a file of results and as one of expectations, which people write and other programs may
// have written: whatever is understood makes sense.
#include <cstddef>
#include <cstdint>
#include <string>

#include "tests/conformance/tool/expectations.h"
#include "tests/conformance/tool/results_file.h"
#include "tests/fuzz/fuzz_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dxg::conformance;
  const std::string text(reinterpret_cast<const char*>(data), size);  // Safety: any bytes are chars
  Results results;
  if (!ParseResults(text, "results", &results)) {
    for (const Shard& shard : results.info.shards)
      FUZZ_CHECK(shard.total >= 1 && shard.index >= 0 && shard.index < shard.total);
    int tests = 0;
    for (const auto& [outcome, count] : results.Counts()) tests += count;
    FUZZ_CHECK(static_cast<size_t>(tests) == results.tests.size());
  }
  Expectations expectations;
  if (!expectations.AddText(text, "expectations")) {
    for (const Expectation& one : expectations.all())
      FUZZ_CHECK(!one.pattern.empty() && !one.reason.empty() && !one.tracker.empty());
  }
  (void)expectations.Find("Suite.Test");
  return 0;
}
