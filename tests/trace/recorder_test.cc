// What is recorded is read as it was, whatever the call; and a file that takes nothing costs records alone.
#include "cuse-dxg/trace/recorder.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>

#include "cuse-dxg/trace/decode.h"
#include "cuse-dxg/trace/json.h"
#include "cuse-dxg/trace/line.h"
#include "proto/contract/calls.gen.h"
#include "tests/trace/memory_sink.h"
#include "tests/trace/random_message.h"
#include "tests/trace/read_all.h"

namespace dxg::trace {
namespace {

constexpr uint64_t kSeed = 20261130;  // any number

std::unique_ptr<Recorder> Record(MemoryFile& file) {
  auto recorder = Recorder::Create(std::make_unique<MemorySink>(file), {});
  EXPECT_TRUE(recorder.ok()) << recorder.status().why();
  return *std::move(recorder);
}

// A call whose record has about `bytes` bytes that no compression makes fewer.
struct LargeCall {
  explicit LargeCall(size_t bytes) {
    Random random(kSeed);
    std::string data(bytes, '\0');
    for (char& byte : data) byte = static_cast<char>(random());
    request.set_private_data(data);
    report.request = &request;
  }
  calls::QueryAdapterInfo::Request request;
  Status status;
  guest::CallReport report{
      contract::FindCall(LX_DXQUERYADAPTERINFO), LX_DXQUERYADAPTERINFO, 1, nullptr, nullptr, &status, 0};
};

TEST(Recorder, EveryCallIsReadAsItWasRecorded) {
  Random random(kSeed);
  MemoryFile file;
  std::vector<std::string> lines, requests, replies;
  {
    const auto recorder = Record(file);
    for (int attempt = 0; attempt < 20; ++attempt) {
      for (const contract::CallRow& row : contract::Calls()) {
        const std::unique_ptr<contract::Message> request(row.request->New()), reply(row.reply->New());
        Randomize(request.get(), random);
        Randomize(reply.get(), random);
        const Status statuses[] = {Status::Ok(), Status(0x103), Status::Refuse(EINVAL, "a \xff reason"),
                                   Status(-EFAULT), Status::Raw(-0x3fffffff, "a raw one")};
        guest::CallReport report{&row,          row.code,     7,
                                 request.get(), reply.get(),  &statuses[random() % 5],
                                 random() >> 8, random() >> 8};
        report.pid = 5;
        if (random() % 8 == 0) report.request = report.reply = nullptr;
        recorder->OnCall(report);
        lines.push_back(ToLine(report, LineOptions{.elements = 1000}));
        requests.push_back(report.request != nullptr ? request->SerializeAsString() : "none");
        replies.push_back(report.reply != nullptr ? reply->SerializeAsString() : "none");
      }
    }
  }
  const Read read = ReadAll(file.bytes());
  EXPECT_TRUE(read.status.ok()) << read.status.why();
  EXPECT_TRUE(read.complete);
  EXPECT_EQ(read.end, "");
  ASSERT_EQ(read.records.size(), lines.size());
  Decoder decoder;
  for (size_t i = 0; i < lines.size(); ++i) {
    const TraceRecord& record = read.records[i];
    ASSERT_TRUE(decoder.Decode(record).ok());
    EXPECT_EQ(LineOf(record, decoder, LineOptions{.elements = 1000}), lines[i]);
    EXPECT_EQ(record.call().has_request() ? record.call().request() : "none", requests[i]);
    EXPECT_EQ(record.call().has_reply() ? record.call().reply() : "none", replies[i]);
    EXPECT_EQ(record.pid(), 5u);
  }
}

TEST(Recorder, WhatIsNoCallIsThereAsItsBytes) {
  MemoryFile file;
  const std::byte raw[] = {std::byte{1}, std::byte{0xfe}};
  const Status refused(-ENOTTY);
  {
    guest::CallReport report{nullptr, 0x4701, 3, nullptr, nullptr, &refused, 0};
    report.raw = raw;
    report.argument = 0x7fff1000;
    report.inherited = true;
    Record(file)->OnCall(report);
    std::string json;
    AppendJson(report, &json);
    EXPECT_NE(json.find(R"("raw":"Af4=")"), std::string::npos) << json;
  }
  const Read read = ReadAll(file.bytes());
  ASSERT_EQ(read.records.size(), 1u);
  const TraceCall& call = read.records[0].call();
  EXPECT_EQ(call.code(), 0x4701u);
  EXPECT_EQ(call.raw(), "\x01\xfe");
  EXPECT_EQ(call.argument(), 0x7fff1000u);
  EXPECT_TRUE(call.inherited());
  EXPECT_EQ(read.records[0].result(), -ENOTTY);
}

TEST(Recorder, OpensClosesAndAdaptersAreReadAsTheyWere) {
  using File = guest::FileReport;
  using Adapter = guest::AdapterReport;
  const File files[] = {
      {.what = File::What::kOpen, .file = 1, .tid = 8, .pid = 7, .name = "a \xff\" name", .at_ns = 1},
      {.what = File::What::kOpen,
       .file = 0,
       .tid = 8,
       .pid = 7,
       .error = EBADF,
       .why = "no host",
       .at_ns = 2},
      {.what = File::What::kOpenShared, .file = 2, .tid = 0, .pid = 0, .at_ns = 3},
      {.what = File::What::kClose, .file = 1, .tid = 0, .pid = 7, .at_ns = 4}};
  const Adapter adapters[] = {{.what = Adapter::What::kArrived, .luid = 0x100002},
                              {.what = Adapter::What::kStopped, .luid = 0x100002},
                              {.what = Adapter::What::kRemoved, .luid = 0x100002}};
  MemoryFile file;
  std::string lines;
  {
    const auto recorder = Record(file);
    for (const File& report : files) recorder->OnFile(report), lines += ToLine(report);
    for (const Adapter& report : adapters) recorder->OnAdapter(report), lines += ToLine(report);
  }
  std::string read_lines;
  Decoder decoder;
  for (const TraceRecord& record : ReadAll(file.bytes()).records) {
    EXPECT_TRUE(decoder.Decode(record).ok());
    read_lines += LineOf(record, decoder);
  }
  EXPECT_EQ(read_lines, lines);
}

// -- No room --------------------------------------------------------------------------------------

TEST(Recorder, AFileThatStandsStillCostsRecordsAndHoldsUpNoCall) {
  MemoryFile file;
  constexpr uint64_t kCalls = 100;
  {
    const auto recorder = Record(file);
    file.set_blocked(true);
    LargeCall large(Recorder::kPendingBytesMax / 10);
    recorder->OnCall(large.report);
    file.WaitForWriter();
    for (uint64_t i = 1; i < kCalls; ++i) recorder->OnCall(large.report);  // none of them waits
    file.set_blocked(false);
  }
  const Read read = ReadAll(file.bytes());
  EXPECT_TRUE(read.status.ok()) << read.status.why();
  EXPECT_TRUE(read.complete);
  EXPECT_GE(read.records.size(), 2u);
  EXPECT_LE(read.records.size(), 20u);
  EXPECT_EQ(read.records.size() + read.lost, kCalls);
  EXPECT_EQ(read.lost_said, read.lost);
  EXPECT_NE(read.end.find("records are lost"), std::string::npos) << read.end;
}

TEST(Recorder, AFullDiskCostsRecordsUntilThereIsRoomAgain) {
  MemoryFile file;
  {
    const auto recorder = Record(file);
    file.set_bytes_max(file.bytes().size() + 1000);
    LargeCall large(5000), small(10);
    recorder->OnCall(large.report);
    file.WaitForRefusals(1);
    file.set_bytes_max(SIZE_MAX);
    recorder->OnCall(small.report);
  }
  const Read read = ReadAll(file.bytes());
  EXPECT_TRUE(read.status.ok()) << read.status.why();
  EXPECT_TRUE(read.complete);
  EXPECT_EQ(read.records.size(), 1u);
  EXPECT_EQ(read.lost, 1u);
  EXPECT_EQ(read.lost_said, 1u);
}

TEST(Recorder, AFileThatStaysFullHasTheCountInItsTotals) {
  MemoryFile file;
  {
    const auto recorder = Record(file);
    file.set_bytes_max(file.bytes().size());
    LargeCall call(10);
    for (int i = 0; i < 3; ++i) recorder->OnCall(call.report);
  }
  const Read read = ReadAll(file.bytes());
  EXPECT_TRUE(read.status.ok()) << read.status.why();
  EXPECT_EQ(read.records.size(), 0u);
  EXPECT_EQ(read.lost, 3u);
}

TEST(Recorder, ACallThatIsTooLargeIsLostAndTheNextIsNot) {
  MemoryFile file;
  {
    const auto recorder = Record(file);
    LargeCall large(Recorder::kPendingBytesMax + 1), small(10);
    recorder->OnCall(large.report);
    recorder->OnCall(small.report);
  }
  const Read read = ReadAll(file.bytes());
  EXPECT_EQ(read.records.size(), 1u);
  EXPECT_EQ(read.lost, 1u);
  EXPECT_TRUE(read.complete);
}

// -- Files ----------------------------------------------------------------------------------------

class FileSinkTest : public testing::Test {
 protected:
  FileSinkTest() : path_(testing::TempDir() + "/sink.XXXXXX") { close(mkstemp(path_.data())); }
  ~FileSinkTest() override { unlink(path_.c_str()); }

  std::string Content() {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string path_;
};

std::span<const std::byte> BytesOf(const std::string& text) { return std::as_bytes(std::span(text)); }

// A limit of its size is a disk that becomes full within a write.
TEST_F(FileSinkTest, TakesBackWhatIsHalfWritten) {
  auto sink = FileSink::Create(path_);
  ASSERT_TRUE(sink.ok()) << sink.status().why();
  ASSERT_TRUE((*sink)->Append(BytesOf("first")).ok());
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{8, before.rlim_max};
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  const Status refused = (*sink)->Append(BytesOf("too long"));
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  EXPECT_EQ(refused.value(), -EFBIG);
  EXPECT_EQ(Content(), "first");
  EXPECT_TRUE((*sink)->Append(BytesOf(" last")).ok());
  EXPECT_TRUE((*sink)->Overwrite(1, BytesOf("IR")).ok());
  EXPECT_EQ(Content(), "fIRst last");
}

TEST_F(FileSinkTest, HasALimit) {
  auto sink = FileSink::Create(path_, 8);
  ASSERT_TRUE(sink.ok()) << sink.status().why();
  EXPECT_TRUE((*sink)->Append(BytesOf("12345")).ok());
  const Status refused = (*sink)->Append(BytesOf("6789"));
  EXPECT_EQ(refused.value(), -EFBIG);
  EXPECT_NE(refused.why().find("has 5 bytes, and may have 8 (--record-max)"), std::string::npos);
  EXPECT_TRUE((*sink)->Append(BytesOf("678")).ok());
  EXPECT_TRUE((*sink)->Overwrite(0, BytesOf("first")).ok()) << "what is there may change";
  EXPECT_EQ(Content(), "first678");
}

// What somebody else may have put where a recording is to be.
TEST_F(FileSinkTest, TrustsNoFileThatIsThere) {
  const std::string other = path_ + ".other";
  ASSERT_EQ(symlink(path_.c_str(), other.c_str()), 0);
  EXPECT_EQ(FileSink::Create(other).status().value(), -ELOOP);
  unlink(other.c_str());
  std::ofstream(path_) << "content";
  ASSERT_EQ(link(path_.c_str(), other.c_str()), 0);
  EXPECT_EQ(FileSink::Create(path_).status().value(), -EPERM) << "it has two names";
  EXPECT_EQ(Content(), "content");
  unlink(other.c_str());
  if (geteuid() == 0) {
    ASSERT_EQ(chown(path_.c_str(), 65534, 65534), 0);
    EXPECT_EQ(FileSink::Create(path_).status().value(), -EPERM) << "it is another user's";
    EXPECT_EQ(Content(), "content");
    ASSERT_EQ(chown(path_.c_str(), 0, 0), 0);
  }
  ASSERT_EQ(chmod(path_.c_str(), 0644), 0);
  EXPECT_TRUE(FileSink::Create(path_).ok());
  EXPECT_EQ(Content(), "");
  struct stat found {};
  ASSERT_EQ(stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
}

TEST_F(FileSinkTest, RefusesWhatCannotBeWrittenToAgain) {
  EXPECT_EQ(FileSink::Create("/dev/null").status().value(), -EINVAL);
  EXPECT_EQ(FileSink::Create("/nowhere/at/all").status().value(), -ENOENT);
}

}  // namespace
}  // namespace dxg::trace
