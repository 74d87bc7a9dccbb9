#include "tests/bench/measure.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <limits>
#include <utility>

#include "tests/bench/bench.h"

namespace dxg::bench {
namespace {

constexpr size_t kRoundsMin = 10;
constexpr size_t kRoundsOfSmoke = 2;
constexpr size_t kRoundsMax = 20'000;  // more say no more

// Beyond the first and the last of five rounds a median lies once in sixteen times.
constexpr size_t kRoundsOfInterval = 6;

double Infinite() { return std::numeric_limits<double>::infinity(); }

}  // namespace

uint64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

double MedianUs(std::vector<uint64_t> samples_ns) {
  const auto middle = samples_ns.begin() + static_cast<ptrdiff_t>(samples_ns.size() / 2);
  std::nth_element(samples_ns.begin(), middle, samples_ns.end());
  return static_cast<double>(*middle) / 1000.0;
}

double Interval::width_percent() const {
  return rounds < kRoundsOfInterval || median == 0 ? Infinite() : 100 * (high - low) / std::abs(median);
}

Interval MedianWithInterval(std::vector<double> rounds) {
  if (rounds.empty()) return {};
  std::sort(rounds.begin(), rounds.end());
  const auto count = static_cast<double>(rounds.size());
  const double half = 0.98 * std::sqrt(count);  // 1.96 standard deviations of a binomial of 1/2
  const auto low = static_cast<size_t>(std::max(0.0, std::floor(count / 2 - half)));
  const size_t high = rounds.size() - 1 - low;
  const size_t middle = rounds.size() / 2;
  const double median = rounds.size() % 2 == 1 ? rounds[middle] : (rounds[middle - 1] + rounds[middle]) / 2;
  return {median, rounds[low], rounds[high], rounds.size()};
}

const char* Result::verdict() const {
  if (figure.limit == Limit::kNone) return "";
  const bool at_most = figure.limit == Limit::kAtMost;
  if (at_most ? value.high <= figure.target : value.low >= figure.target) return "met";
  if (at_most ? value.low > figure.target : value.high < figure.target) return "MISSED";
  return "undecided";
}

void Run::Add(Result result) {
  on_result_(result);
  results_.push_back(std::move(result));
}

std::vector<Interval> Run::Settle(const std::vector<Figure>& figures,
                                  const std::function<std::vector<double>()>& round) {
  const uint64_t end_ns = NowNs() + static_cast<uint64_t>(limits_.seconds_max * 1e9);
  std::vector<std::vector<double>> rounds(figures.size());
  std::vector<Interval> intervals(figures.size());
  const auto is_narrow = [&](const Interval& interval) {
    return interval.width_percent() < limits_.precision_percent;
  };
  for (bool is_over = false; !is_over;) {
    const std::vector<double> values = round();
    for (size_t i = 0; i < figures.size(); ++i) {
      rounds[i].push_back(values.at(i));
      intervals[i] = MedianWithInterval(rounds[i]);
    }
    const size_t count = rounds.empty() ? kRoundsMax : rounds[0].size();
    const bool narrow = count >= kRoundsMin && std::all_of(intervals.begin(), intervals.end(), is_narrow);
    is_over = narrow || count >= kRoundsMax || NowNs() >= end_ns || (smoke() && count >= kRoundsOfSmoke);
  }
  for (size_t i = 0; i < figures.size(); ++i)
    Add({figures[i], intervals[i], !smoke() && !is_narrow(intervals[i])});
  return intervals;
}

void Run::Once(const Figure& figure, double value) { Add({figure, {value, value, value, 1}, false}); }

void Run::Quotient(const Figure& figure, const Interval& above, const Interval& below) {
  const Interval value{above.median / below.median, above.low / below.high, above.high / below.low,
                       std::min(above.rounds, below.rounds)};
  // Its interval is as wide as both together.
  Add({figure, value, !smoke() && value.width_percent() >= 2 * limits_.precision_percent});
}

void Works::Add(const std::string& name, std::function<int()> work) {
  works_.push_back({name, std::move(work)});
}

void Works::Round() {
  std::shuffle(works_.begin(), works_.end(), order_);
  for (const Work& work : works_) {
    p50s_us_[work.name] = MedianOfUs(slice_, [&] {
      const int result = work.run();
      if (result != 0) Fail(fmt::format("{}: returned {} (errno {})", work.name, result, errno));
    });
  }
}

}  // namespace dxg::bench
