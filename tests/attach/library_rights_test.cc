// A client of --attach=preload that executes a program with more rights than it has, while another process of
// its owner's keeps its connection and says its calls. What is done for it is done in that program.

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/page.h"
#include "tests/attach/library_fixture.h"

namespace dxg::attach::library {
namespace {

constexpr uid_t kNobody = 65534;

// A folder that everybody may look into, with a program of root's that waits for its input.
class Folder {
 public:
  Folder() {
    EXPECT_NE(mkdtemp(path_.data()), nullptr);
    EXPECT_EQ(chmod(path_.c_str(), 0755), 0);
    std::filesystem::copy_file("/bin/cat", program());
    EXPECT_EQ(chmod(program().c_str(), S_ISUID | 0755), 0);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string program() const { return path_ + "/cat"; }
  std::string File(const char* name, mode_t mode) const {
    const std::string path = path_ + "/" + name;
    std::ofstream(path) << "text";
    EXPECT_EQ(chmod(path.c_str(), mode), 0);
    return path;
  }

 private:
  std::string path_ = testing::TempDir() + "/dxg.XXXXXX";
};

struct Pipe {
  Pipe() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    read = UniqueFd(ends[0]);
    write = UniqueFd(ends[1]);
  }
  UniqueFd read, write;
};

// A process of nobody's that has connected, sent its connection to us, and executed a program then, or not.
class Client {
 public:
  Client(LibrarySession& session, const char* executes) {
    Pipe input, began;
    auto ends = *MakeSocketPair();
    process_ = fork();
    if (process_ == 0) {
      if (setgroups(0, nullptr) != 0 || setresgid(kNobody, kNobody, kNobody) != 0 ||
          setresuid(kNobody, kNobody, kNobody) != 0)
        _exit(1);
      Connection connection(session.place());
      const Heard opened = connection.Greet().Open();
      const int files[] = {connection.socket(), opened.files.empty() ? -1 : opened.files[0].get()};
      (void)SendDatagram(ends.second.get(), std::as_bytes(std::span(&opened.told.file, 1)), files);
      input.write.reset();
      dup2(input.read.get(), STDIN_FILENO);
      if (executes != nullptr) execl(executes, "cat", nullptr);
      began.write.reset();
      char nothing;
      (void)!read(STDIN_FILENO, &nothing, 1);
      _exit(0);
    }
    began.write.reset();
    ends.second.reset();
    Result<Datagram> got = ReceiveDatagram(ends.first.get(), std::as_writable_bytes(std::span(&file_, 1)));
    EXPECT_TRUE(got.ok() && got->files.size() == 2);
    connection_ = std::make_unique<Connection>(std::move(got->files[0]));
    shown_ = std::move(got->files[1]);
    char nothing;
    EXPECT_EQ(read(began.read.get(), &nothing, 1), 0);  // the other end is gone: it has executed the program
    input_ = std::move(input.write);
  }
  ~Client() {
    input_.reset();
    int status = 0;
    EXPECT_EQ(waitpid(process_, &status, 0), process_);
    EXPECT_EQ(status, 0);
  }
  pid_t process() const { return process_; }
  // Its newest page. At its end are the names of its program and its environment.
  uint64_t Page() const {
    std::ifstream maps(fmt::format("/proc/{}/maps", process_));
    for (std::string line; std::getline(maps, line);) {
      unsigned long long begin = 0, end = 0;
      if (line.ends_with("[stack]") && sscanf(line.c_str(), "%llx-%llx", &begin, &end) == 2)
        return end - kPageBytes;
    }
    return 0;
  }
  // Of what it has there, as root sees it.
  std::string Bytes(uint64_t address) const {
    std::string bytes(64, '\0');
    const UniqueFd memory(open(fmt::format("/proc/{}/mem", process_).c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(pread(memory.get(), bytes.data(), bytes.size(), static_cast<off_t>(address)), 64);
    return bytes;
  }
  // Says a call; what its memory is needed for, is answered as a library that has none.
  void Call() {
    connection_->Say(file_);
    for (;;) {
      Heard heard = connection_->Hear();
      ASSERT_FALSE(heard.ended);
      if (heard.told.kind == tell::kAnswer) return;
      const int shown = shown_.get();
      if (heard.told.kind == tell::kShowFile) {
        connection_->Done(heard.told, 0, 0, std::span(&shown, 1));
        continue;
      }
      if (heard.told.kind == tell::kStore) (void)connection_->Hear();
      connection_->Done(heard.told, 0, EFAULT);
    }
  }

 private:
  pid_t process_ = -1;
  uint64_t file_ = 0;
  std::unique_ptr<Connection> connection_;
  UniqueFd shown_, input_;
};

class Rights : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, whose programs others can execute";
    node_.ioctl = [this](auto request) {
      InCall& in_call = *in_call_.load();
      in_call.what(request->caller().tid);
      request->Answer(0, {});
      in_call.done.Set();
    };
    ASSERT_TRUE(session_->Start(node_, 2).ok());
  }
  ~Rights() override { session_->Stop(); }
  // Does that in the course of a call of the client's.
  void InACall(Client& client, const std::function<void(pid_t tid)>& what) {
    InCall in_call = {.what = what, .done = {}};
    in_call_ = &in_call;
    client.Call();
    in_call.done.Wait();
  }
  bool Opens(pid_t tid, const std::string& path) { return access_->OpenFor(tid, path).ok(); }

  const Folder folder_;
  ScriptedNode node_;
  struct InCall {
    const std::function<void(pid_t tid)>& what;
    Event done;
  };
  std::atomic<InCall*> in_call_ = nullptr;
  const std::unique_ptr<LibrarySession> session_ = *LibrarySession::Create();
  const std::unique_ptr<client::Access> access_ = session_->MakeAccess();
};

TEST_F(Rights, OfAProgramThatAClientExecutesAreNotUsed) {
  const std::string of_root = folder_.File("root", 0600), of_all = folder_.File("all", 0666);
  Client client(*session_, folder_.program().c_str());
  struct stat process;
  ASSERT_EQ(stat(fmt::format("/proc/{}", client.process()).c_str(), &process), 0);
  if (process.st_uid != 0) GTEST_SKIP() << "needs set-user-ID programs in " << testing::TempDir();
  const uint64_t page = client.Page(), names = page + kPageBytes - 64;
  const std::string before = client.Bytes(names);
  InACall(client, [&](pid_t tid) {
    std::byte bytes[16] = {};
    EXPECT_FALSE(access_->Read(tid, names, bytes));
    const client::ReadPiece from = {.address = names, .to = bytes};
    EXPECT_FALSE(access_->ReadPieces(tid, std::span(&from, 1)));
    EXPECT_FALSE(access_->Write(tid, names, bytes));
    const client::WritePiece to = {.address = names, .from = bytes};
    EXPECT_FALSE(access_->WritePieces(tid, std::span(&to, 1)));
    EXPECT_EQ(access_->Pin(tid, page, kPageBytes, true), nullptr);
    EXPECT_EQ(access_->MapOf(tid), nullptr);
    EXPECT_FALSE(Opens(tid, of_root));
    EXPECT_TRUE(Opens(tid, of_all));
  });
  EXPECT_EQ(client.Bytes(names), before);
}

TEST_F(Rights, OfItsOwnAreUsed) {
  const std::string of_root = folder_.File("root", 0600), of_all = folder_.File("all", 0666);
  Client client(*session_, nullptr);
  const uint64_t page = client.Page();
  InACall(client, [&](pid_t tid) {
    EXPECT_NE(access_->Pin(tid, page, kPageBytes, true), nullptr);
    EXPECT_NE(access_->MapOf(tid), nullptr);
    EXPECT_FALSE(Opens(tid, of_root));
    EXPECT_TRUE(Opens(tid, of_all));
  });
}

}  // namespace
}  // namespace dxg::attach::library
