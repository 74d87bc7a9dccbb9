#include "tests/conformance/peer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace dxg::conformance {
namespace {

// A client that hangs in a call must not hang the suite.
constexpr unsigned kChildLifetime_s = 120;

// Stands in for the printer of the child and sends its failures to the parent: file, line and text, each with
// a 0.
class FailureSender : public testing::EmptyTestEventListener {
 public:
  explicit FailureSender(int fd) : fd_(fd) {}
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::string record = result.file_name() != nullptr ? result.file_name() : "unknown";
    record += '\0' + std::to_string(result.line_number()) + '\0' + result.message() + '\0';
    if (write(fd_, record.data(), record.size()) < 0) _exit(3);
  }

 private:
  int fd_;
};

[[noreturn]] void RunChild(const Peer::Body& body, Peer& self, int report) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  alarm(kChildLifetime_s);
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new FailureSender(report));
  try {
    body(self);
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
  fflush(nullptr);
  _exit(0);
}

std::string_view NextField(std::string_view& records) {
  const size_t end = records.find('\0');
  const std::string_view field = records.substr(0, end);
  records.remove_prefix(end == std::string_view::npos ? records.size() : end + 1);
  return field;
}

}  // namespace

Peer::Peer(const Body& body) {
  int channel[2];
  int report[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0)
    throw std::runtime_error("socketpair");
  if (pipe2(report, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  fflush(nullptr);  // or the child prints it a second time
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ == 0) {
    close(channel[0]);
    close(report[0]);
    Peer self(channel[1], getppid());
    RunChild(body, self, report[1]);
  }
  close(channel[1]);
  close(report[1]);
  channel_ = channel[0];
  report_ = report[0];
}

Peer::~Peer() { Join(); }

void Peer::Send(uint64_t value) const {
  if (send(channel_, &value, sizeof(value), MSG_NOSIGNAL) != sizeof(value))
    throw std::runtime_error("the other client has ended");
}

uint64_t Peer::Receive() const {
  uint64_t value = 0;
  if (recv(channel_, &value, sizeof(value), MSG_WAITALL) != sizeof(value))
    throw std::runtime_error("the other client has ended without an answer");
  return value;
}

void Peer::Join() {
  if (report_ < 0) return;
  close(channel_);
  std::string records;
  char buffer[4096];
  for (ssize_t n; (n = read(report_, buffer, sizeof(buffer))) > 0 || (n < 0 && errno == EINTR);)
    if (n > 0) records.append(buffer, static_cast<size_t>(n));
  close(report_);
  report_ = -1;

  int status = 0;
  waitpid(pid_, &status, 0);
  for (std::string_view rest = records; !rest.empty();) {
    const std::string file(NextField(rest));
    const std::string line(NextField(rest));
    ADD_FAILURE_AT(file.c_str(), std::atoi(line.c_str())) << "in the other client: " << NextField(rest);
  }
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
    ADD_FAILURE() << "the other client did not end within " << kChildLifetime_s << " s";
  else if (WIFSIGNALED(status))
    ADD_FAILURE() << "the other client was ended by signal " << strsignal(WTERMSIG(status));
  else if (WEXITSTATUS(status) != 0)
    ADD_FAILURE() << "the other client ended with code " << WEXITSTATUS(status);
}

void Peer::Kill() {
  if (report_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  close(channel_);
  close(report_);
  report_ = -1;
}

void InFreshProcess(const std::function<void()>& body) {
  Peer peer([&](Peer&) { body(); });
  peer.Join();
}

std::thread StartThread(std::function<void()> body) {
  return std::thread([body = std::move(body)] {
    try {
      body();
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
  });
}

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace dxg::conformance
