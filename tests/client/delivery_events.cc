// Eventfds of the client's: taken by number, signalled, and found again.

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <vector>

#include "tests/client/delivery_client.h"

namespace dxg::client::delivery {
namespace {

UniqueFd Event(uint64_t value = 0, int flags = EFD_CLOEXEC) {
  UniqueFd event(eventfd(0, flags));
  EXPECT(event.valid());
  if (value) EXPECT(write(event.get(), &value, sizeof(value)) == sizeof(value));
  return event;
}

uint64_t Value(const UniqueFd& event) {
  pollfd ready = {event.get(), POLLIN, 0};
  uint64_t value = 0;
  if (poll(&ready, 1, 0) == 1) EXPECT(read(event.get(), &value, sizeof(value)) == sizeof(value));
  return value;
}

int Take(const UniqueFd& node, int descriptor) { return ioctl(node.get(), kTake, descriptor); }

void CheckEvents() {
  UniqueFd node = Open();
  UniqueFd event = Event(), other = Event(0, EFD_SEMAPHORE | EFD_NONBLOCK);
  EXPECT(Take(node, event.get()) == 1);
  EXPECT(Take(node, other.get()) == 2);
  EXPECT(Take(node, event.get()) == 1);
  EXPECT(ioctl(node.get(), kSignal, 1) == 2);
  EXPECT(Value(event) == 1);
  EXPECT(ioctl(node.get(), kSignal, 300) == 2);
  EXPECT(Value(event) == 300);
  EXPECT(Value(other) == 1);  // of 301
  EXPECT(ioctl(node.get(), kDrop, 0) == 2);
  EXPECT(ioctl(node.get(), kSignal, 1) == 0);
  EXPECT(Value(event) == 0);
}

void CheckEventRefusals() {
  UniqueFd node = Open();
  UniqueFd pipe_ends[2], event = Event();
  int ends[2];
  EXPECT(pipe(ends) == 0);
  pipe_ends[0].reset(ends[0]);
  pipe_ends[1].reset(ends[1]);
  const int number = event.get();
  for (int wrong : {ends[0], ends[1], node.get(), 777, -1, 1 << 30}) EXPECT(Take(node, wrong) == 0);
  event.reset();
  EXPECT(Take(node, number) == 0);
  EXPECT(ioctl(node.get(), kDrop, 0) == 0);
}

// One file for all its numbers; and a number that was closed and used again is another file.
void CheckEventNumbers() {
  UniqueFd node = Open();
  UniqueFd event = Event();
  std::vector<UniqueFd> copies;
  for (int i = 0; i < 8; ++i) copies.emplace_back(dup(event.get()));
  ExpectUndamaged(node);  // a worker is there already
  const int files = ioctl(node.get(), kServerFiles);
  EXPECT(Take(node, event.get()) == 1);
  for (const UniqueFd& copy : copies) EXPECT(Take(node, copy.get()) == 1);
  int same = 0;
  while (same < 1000 && Take(node, event.get()) == 1) ++same;
  EXPECT(same == 1000);
  EXPECT(ioctl(node.get(), kServerFiles) == files + 1);

  UniqueFd another = Event();
  EXPECT(dup3(another.get(), event.get(), O_CLOEXEC) == event.get());
  EXPECT(Take(node, event.get()) == 2);
  EXPECT(dup3(copies[0].get(), event.get(), O_CLOEXEC) == event.get());
  EXPECT(Take(node, event.get()) == 1);
  UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT(dup3(null.get(), event.get(), O_CLOEXEC) == event.get());
  EXPECT(Take(node, event.get()) == 0);
  EXPECT(ioctl(node.get(), kSignal, 1) == 2);
  EXPECT(Value(copies[7]) == 1);
  EXPECT(Value(another) == 1);
  EXPECT(ioctl(node.get(), kDrop, 0) == 2);
  EXPECT(ioctl(node.get(), kServerFiles) == files);
}

// The number is the caller's: what another process has under it is not meant. What both have is one file.
void CheckEventsOfProcesses() {
  UniqueFd node = Open();
  UniqueFd shared = Event();
  EXPECT(Take(node, shared.get()) == 1);
  int number[2];
  EXPECT(pipe(number) == 0);
  const pid_t child = fork();
  if (child == 0) {
    UniqueFd own_node = Open(), event = Event();
    const int moved = fcntl(event.get(), F_DUPFD_CLOEXEC, 500);
    if (Take(own_node, shared.get()) != 1 || Take(own_node, moved) != 2) _exit(1);
    (void)!write(number[1], &moved, sizeof(moved));
    pause();
  }
  close(number[1]);
  int moved = -1;
  EXPECT(read(number[0], &moved, sizeof(moved)) == sizeof(moved));
  EXPECT(Take(node, moved) == 0);
  EXPECT(ioctl(node.get(), kSignal, 1) == 2);
  EXPECT(Value(shared) == 1);
  kill(child, SIGKILL);
  EXPECT(waitpid(child, nullptr, 0) == child);
  EXPECT(ioctl(node.get(), kSignal, 1) == 2);  // its eventfd is ours alone now
  EXPECT(Value(shared) == 1);
  EXPECT(ioctl(node.get(), kDrop, 0) == 2);
  close(number[0]);
}

// A write would wait for ever. The counter stops at its end, as when a driver signals.
void CheckFullCounter() {
  UniqueFd node = Open();
  UniqueFd event = Event(~uint64_t{0} - 1);
  EXPECT(Take(node, event.get()) == 1);
  EXPECT(ioctl(node.get(), kSignal, 5000) == 1);
  EXPECT(Value(event) == ~uint64_t{0});
  EXPECT(ioctl(node.get(), kSignal, 1) == 1);
  EXPECT(Value(event) == 1);
  EXPECT(ioctl(node.get(), kDrop, 0) == 1);
}

void CheckClosedAfterTaking() {
  UniqueFd node = Open();
  UniqueFd event = Event();
  EXPECT(Take(node, event.get()) == 1);
  event.reset();
  EXPECT(ioctl(node.get(), kSignal, 10) == 1);
  EXPECT(ioctl(node.get(), kDrop, 0) == 1);
}

// A thread whose descriptors are its own: its numbers are not its process's. A kernel before 6.9 cannot copy
// them, and then nothing is taken.
void CheckEventOfOwnTable() {
  UniqueFd node = Open();
  constexpr int kNumber = 700;
  const UniqueFd of_process(dup2(Event().get(), kNumber));
  EXPECT(of_process.get() == kNumber);
  std::thread([] {
    EXPECT(unshare(CLONE_FILES) == 0);
    UniqueFd own_node = Open();
    const UniqueFd own = Event();
    EXPECT(dup2(own.get(), kNumber) == kNumber);
    const int taken = Take(own_node, kNumber);
    EXPECT(taken == 0 || taken == 1);
    EXPECT(ioctl(own_node.get(), kSignal, 1) == taken);
    EXPECT(Value(own) == static_cast<uint64_t>(taken));
  }).join();
  EXPECT(Value(of_process) == 0);
  EXPECT(ioctl(node.get(), kDrop, 0) <= 1);
}

// Many threads that take and close, so that numbers are used again and again under the eyes of the one who
// copies.
void CheckEventStorm() {
  UniqueFd node = Open();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&node] {
      for (int round = 0; round < 200; ++round) {
        UniqueFd event = Event();
        EXPECT(Take(node, event.get()) > 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT(ioctl(node.get(), kSignal, 1) == 800);
  EXPECT(ioctl(node.get(), kDrop, 0) == 800);
}

// At the limit the next is refused, and one that is let go makes room. The device keeps half of the files
// that it may open for events, gives one user half of these, and may open as many as we: both were started by
// one.
void CheckTooManyEvents() {
  UniqueFd node = Open();
  rlimit files = {};
  EXPECT(getrlimit(RLIMIT_NOFILE, &files) == 0);
  const int limit = static_cast<int>(std::min<rlim_t>(4096, (files.rlim_max / 2 + 1) / 2));
  int taken = 0;
  while (taken < limit && Take(node, Event().get()) == taken + 1) ++taken;
  EXPECT(taken == limit);
  UniqueFd event = Event();
  EXPECT(Take(node, event.get()) == 0);
  EXPECT(ioctl(node.get(), kDrop, 0) == limit);
  EXPECT(Take(node, event.get()) == 1);
  EXPECT(ioctl(node.get(), kDrop, 0) == 1);
}

}  // namespace

const std::vector<Check> kEvents = {
    {"events", CheckEvents},
    {"event-refusals", CheckEventRefusals},
    {"event-numbers", CheckEventNumbers},
    {"events-of-processes", CheckEventsOfProcesses},
    {"event-of-own-table", CheckEventOfOwnTable},
    {"event-full", CheckFullCounter},
    {"event-closed", CheckClosedAfterTaking},
    {"event-storm", CheckEventStorm},
    {"event-limit", CheckTooManyEvents},
};

}  // namespace dxg::client::delivery
