// delivery-client PATH [CHECK]...
// What an unmodified client meets when memory and descriptors are brought into it: every check by name, or
// all that can run on any node. Prints what was wrong; the exit status is 0 when nothing was.

#include "tests/client/delivery_client.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace dxg::client::delivery {

UniqueFd Open() {
  UniqueFd node(open(path.c_str(), O_RDWR | O_CLOEXEC));
  EXPECT(node.valid());
  return node;
}

WantedStep Map(uint64_t offset, uint64_t size, uint64_t address, bool writable) {
  return {.kind = static_cast<uint32_t>(Step::Kind::kMap),
          .writable = writable,
          .offset = offset,
          .size = size,
          .address = address};
}
WantedStep Unmap(uint64_t address, uint64_t size) {
  return {.kind = static_cast<uint32_t>(Step::Kind::kUnmap), .size = size, .address = address};
}
WantedStep GiveFile() { return {.kind = static_cast<uint32_t>(Step::Kind::kGiveFile)}; }
WantedStep GiveNode(uint64_t token) {
  return {.kind = static_cast<uint32_t>(Step::Kind::kGiveNode), .address = token};
}
WantedStep CloseFile(uint64_t number) {
  return {.kind = static_cast<uint32_t>(Step::Kind::kCloseFile), .address = number};
}

Visit Wanted(std::vector<WantedStep> steps, int32_t result) {
  Visit visit = {};
  std::copy(steps.begin(), steps.end(), visit.steps);
  visit.steps_count = static_cast<uint32_t>(steps.size());
  visit.result = result;
  return visit;
}

Visit HeldVisit(Hold hold, std::vector<WantedStep> steps, int32_t result) {
  Visit visit = Wanted(std::move(steps), result);
  visit.hold = hold;
  return visit;
}

int Ask(const UniqueFd& node, Visit* visit) { return ioctl(node.get(), kVisit, visit); }
bool Fails(int result, int error) { return result == -1 && errno == error; }

unsigned char* Bytes(uint64_t address) {
  return reinterpret_cast<unsigned char*>(address);
}  // Safety: just mapped here

size_t FilesOpen() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

// Adjacent anonymous mappings may become one, so only ours, by name.
size_t MappingsCount() {
  size_t count = 0;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) count += line.find("delivery") != std::string::npos;
  return count;
}

void Until(const std::function<bool()>& condition) {
  while (!condition()) sched_yield();
}

void UntilHeld(const UniqueFd& node, int count) {
  Until([&] { return ioctl(node.get(), kHeld) == count; });
}

std::string StatusOf(pid_t tid, const std::string& key) {
  std::ifstream status("/proc/" + std::to_string(tid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.compare(0, key.size() + 2, key + ":\t") == 0) return line.substr(key.size() + 2);
  }
  return "";
}

bool KillIsPending(pid_t tid) {
  constexpr unsigned long long kKill = 1ull << (SIGKILL - 1);
  return std::strtoull(StatusOf(tid, "SigPnd").c_str(), nullptr, 16) & kKill;
}

pid_t InjectorPid(const UniqueFd& node) {
  const std::string server = std::to_string(ioctl(node.get(), kServerPid));
  for (const auto& process : std::filesystem::directory_iterator("/proc")) {
    const pid_t pid = std::atoi(process.path().filename().c_str());
    if (pid == 0 || StatusOf(pid, "PPid") != server) continue;
    if (StatusOf(pid, "Name") == "cuse-dxg-inject") return pid;
  }
  return 0;
}

int Ended(pid_t child) {
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void ExpectUndamaged(const UniqueFd& node) {
  Visit visit = Wanted({Map(0, kPageBytes)});
  EXPECT(Ask(node, &visit) == 0);
  Bytes(visit.steps[0].result)[9] = 0x77;
  EXPECT(ioctl(node.get(), kPeek, 9) == 0x77);
  visit = Wanted({Unmap(visit.steps[0].result, kPageBytes)});
  EXPECT(Ask(node, &visit) == 0);
}

namespace {

int Main(int argc, char** argv) {
  std::vector<Check> checks = kBasics;
  checks.insert(checks.end(), kEvents.begin(), kEvents.end());
  checks.insert(checks.end(), kStates.begin(), kStates.end());
  checks.insert(checks.end(), kFilters.begin(), kFilters.end());
  checks.insert(checks.end(), kDeaths.begin(), kDeaths.end());
  checks.insert(checks.end(), kStress.begin(), kStress.end());
  checks.insert(checks.end(), kBench.begin(), kBench.end());
  return attach::RunChecks("delivery-client", checks, argc, argv);
}

}  // namespace
}  // namespace dxg::client::delivery

int main(int argc, char** argv) { return dxg::client::delivery::Main(argc, argv); }
