// What a visit costs, as times of a plain call on the same node in the same run. For numbers that can be
// compared, all on one core: taskset -c 0 delivery-server run -- delivery-client /dev/dxg bench

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "tests/client/delivery_client.h"

namespace dxg::client::delivery {
namespace {

double MedianUs(int rounds, const std::function<void()>& once) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const auto before = std::chrono::steady_clock::now();
    once();
    times.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - before).count());
  }
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return times[static_cast<size_t>(rounds) / 2];
}

void Report(const char* what, double us, double plain_us) {
  std::printf("%-38s %8.1f us %6.1f x\n", what, us, us / plain_us);
}

void Bench(int rounds) {
  UniqueFd node = Open();
  const auto plain = [&] { return MedianUs(rounds, [&] { ioctl(node.get(), kNothing); }); };
  plain();
  const double plain_us = plain();
  Report("plain call", plain_us, plain_us);
  Report("enter and leave",
         MedianUs(rounds,
                  [&] {
                    Visit visit = Wanted({});
                    EXPECT(Ask(node, &visit) == 0);
                  }),
         plain_us);
  const auto with = [&](std::vector<WantedStep> steps, const std::function<void(const Visit&)>& undo) {
    std::vector<double> times;
    for (int i = 0; i < rounds; ++i) {
      Visit visit = Wanted(steps);
      times.push_back(MedianUs(1, [&] { EXPECT(Ask(node, &visit) == 0); }));
      undo(visit);
    }
    std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
    return times[static_cast<size_t>(rounds) / 2];
  };
  const auto unmap = [](const Visit& visit) {
    for (uint32_t i = 0; i < visit.steps_count; ++i) munmap(Bytes(visit.steps[i].result), kPageBytes);
  };
  const auto close_all = [](const Visit& visit) {
    for (uint32_t i = 0; i < visit.steps_count; ++i) close(static_cast<int>(visit.steps[i].result));
  };
  Report("map", with({Map(0, kPageBytes)}, unmap), plain_us);
  Report("map four",
         with({Map(0, kPageBytes), Map(0, kPageBytes), Map(0, kPageBytes), Map(0, kPageBytes)}, unmap),
         plain_us);
  Report("give a file", with({GiveFile()}, close_all), plain_us);
  Report("give a node", with({GiveNode(1)}, close_all), plain_us);
  UniqueFd event(eventfd(0, EFD_CLOEXEC));
  Report("take an eventfd, first",
         MedianUs(rounds,
                  [&] {
                    ioctl(node.get(), kTake, event.get());
                    ioctl(node.get(), kDrop);
                  }) -
             plain_us,
         plain_us);
  ioctl(node.get(), kTake, event.get());
  Report("take an eventfd, again", MedianUs(rounds, [&] { ioctl(node.get(), kTake, event.get()); }),
         plain_us);
  ioctl(node.get(), kDrop);
  Report("identify", MedianUs(rounds, [&] { ioctl(node.get(), kIdentify, node.get()); }), plain_us);
}

}  // namespace

const std::vector<Check> kBench = {
    {"bench", [] { Bench(2000); }, true},
    {"bench-short", [] { Bench(20); }, true},
};

}  // namespace dxg::client::delivery
