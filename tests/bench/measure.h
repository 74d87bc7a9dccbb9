#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

// What a benchmark measures, and how sure that is: figures are taken in rounds until their intervals are
// narrow, or until the time is over.

namespace dxg::bench {

uint64_t NowNs();
double MedianUs(std::vector<uint64_t> samples_ns);

// The median time of `work` over that many runs.
template <typename Work>
double MedianOfUs(int times, Work work) {
  std::vector<uint64_t> samples;
  for (int i = 0; i < times; ++i) {
    const uint64_t start = NowNs();
    work();
    samples.push_back(NowNs() - start);
  }
  return MedianUs(std::move(samples));
}

// A median of rounds, and the interval that holds the true one 19 times of 20. It assumes nothing of how the
// rounds are distributed: its ends are order statistics (Conover, Practical Nonparametric Statistics, 3.2).
struct Interval {
  double median = 0, low = 0, high = 0;
  size_t rounds = 0;

  // Of all widths the one that counts: with few rounds there is no such interval, and it is infinite.
  double width_percent() const;
};
Interval MedianWithInterval(std::vector<double> rounds);

enum class Limit { kNone, kAtMost, kAtLeast };

// One figure, what it is, and what is asked of it. Without a unit it is a ratio.
struct Figure {
  std::string name;
  Limit limit = Limit::kNone;
  double target = 0;
  std::string unit;
};

struct Result {
  Figure figure;
  Interval value;
  bool is_too_noisy = false;  // the time was over before its interval was narrow

  // met, MISSED, or undecided where the target lies within the interval; empty: nothing is asked.
  const char* verdict() const;
};

struct Limits {
  double precision_percent = 3;
  double seconds_max = 30;  // for figures that are measured together
  bool smoke = false;       // shows that everything works, and measures little
};

// The figures of one run. Each is told to `on_result` once it is known.
class Run {
 public:
  Run(Limits limits, std::function<void(const Result& result)> on_result)
      : limits_(limits), on_result_(std::move(on_result)) {}

  bool smoke() const { return limits_.smoke; }
  const std::vector<Result>& results() const { return results_; }

  // Repeats `round`, which returns a value for each figure, until the intervals are narrow or the time is
  // over.
  std::vector<Interval> Settle(const std::vector<Figure>& figures,
                               const std::function<std::vector<double>()>& round);
  // What can be had only once; it has no interval.
  void Once(const Figure& figure, double value);
  // Of two that were measured one after the other.
  void Quotient(const Figure& figure, const Interval& above, const Interval& below);

 private:
  void Add(Result result);

  const Limits limits_;
  const std::function<void(const Result& result)> on_result_;
  std::vector<Result> results_;
};

// Works whose times are compared. A round runs a slice of each, in another order every time, so that other
// load of the machine meets all alike.
class Works {
 public:
  explicit Works(const Run& run) : slice_(run.smoke() ? 30 : 300) {}

  // `work` returns 0 if it succeeds; else the program ends.
  void Add(const std::string& name, std::function<int()> work);
  void Round();
  double us(const std::string& name) const { return p50s_us_.at(name); }  // the median of this round

 private:
  struct Work {
    std::string name;
    std::function<int()> run;
  };
  const int slice_;
  std::vector<Work> works_;
  std::map<std::string, double> p50s_us_;
  std::minstd_rand order_{1};
};

}  // namespace dxg::bench
