// Files that were cut, damaged, or are something else; and what people ask of them.
#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "cuse-dxg/trace/filter.h"
#include "link/trace/trace_file.h"
#include "link/trace/trace_reader.h"
#include "link/trace/trace_writer.h"
#include "proto/contract/calls.gen.h"
#include "tests/trace/memory_sink.h"
#include "tests/trace/random_message.h"
#include "tests/trace/read_all.h"

namespace dxg::trace {
namespace {

constexpr uint64_t kSeed = 20261130;  // any number

TraceHeader Header() {
  TraceHeader header;
  header.set_format(kFormat);
  header.set_version(kVersion);
  return header;
}

TraceItem Numbered(uint64_t number, size_t bytes = 0) {
  Random random(number);
  std::string raw(bytes, '\0');
  for (char& byte : raw) byte = static_cast<char>(random());
  TraceItem item;
  item.mutable_record()->set_begin_ns(number);
  item.mutable_record()->mutable_call()->set_raw(raw);
  return item;
}

// So many records, in batches of so many each. `ends` gets where each frame ends, and the records before it.
std::string FileOf(uint64_t records, uint64_t each, size_t bytes, bool close = true,
                   std::vector<std::pair<size_t, uint64_t>>* ends = nullptr) {
  MemoryFile file;
  MemorySink sink(file);
  const auto writer = *TraceWriter::Begin(sink, Header());
  Batch batch;
  for (uint64_t i = 0; i < records; ++i) {
    batch.Add(Numbered(i, bytes));
    if ((i + 1) % each != 0 && i + 1 != records) continue;
    EXPECT_TRUE(writer->Write(batch).ok());
    batch.Clear();
    if (ends != nullptr) ends->emplace_back(file.bytes().size(), i + 1);
  }
  EXPECT_TRUE(!close || writer->Close().ok());
  return file.bytes();
}

void ExpectCounted(const Read& read, const std::string& place) {
  for (size_t i = 0; i < read.records.size(); ++i) ASSERT_EQ(read.records[i].begin_ns(), i) << place;
}

size_t AllocatedBytes() {
  const struct mallinfo2 now = mallinfo2();
  return now.uordblks + now.hblkhd;
}

TEST(TraceReader, ReadsMuchInConstantMemory) {
  constexpr uint64_t kRecords = 300'000;
  constexpr size_t kSlack = 4u << 20;  // buffers; the records have 20 MiB as messages
  std::string file = FileOf(kRecords, 10'000, 0);
  const auto reader = *TraceReader::Read(fmemopen(file.data(), file.size(), "r"), "test");
  const size_t before = AllocatedBytes();
  uint64_t records = 0;
  while (*reader->Next() == TraceReader::What::kRecord) {
    ASSERT_EQ(reader->record().begin_ns(), records++);
    if (records % 1000 == 0) {
      ASSERT_LT(AllocatedBytes(), before + kSlack) << "after " << records << " records";
    }
  }
  EXPECT_EQ(records, kRecords);
  EXPECT_TRUE(reader->complete());
}

TEST(TraceReader, ReadsAFileUpToWhereItWasCut) {
  std::vector<std::pair<size_t, uint64_t>> ends;
  const std::string whole = FileOf(500, 7, 300, true, &ends);
  const size_t header = FileOf(0, 1, 0, false).size();
  Random random(kSeed);
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const size_t cut = random() % whole.size();
    const std::string place = "cut at byte " + std::to_string(cut);
    const Read read = ReadAll(whole.substr(0, cut));
    if (cut < header && !read.status.ok()) continue;  // not even that it is a recording
    ASSERT_TRUE(read.status.ok()) << place << ": " << read.status.why();
    ExpectCounted(read, place);
    uint64_t expected = 0;
    for (const auto& [end, records] : ends) {
      if (end <= cut) expected = records;
    }
    ASSERT_GE(read.records.size(), expected) << place;
    if (!read.complete) {
      ASSERT_NE(read.end.find("cut at byte"), std::string::npos) << place;
    } else {
      ASSERT_EQ(read.records.size(), 500u) << place;
    }
  }
}

TEST(TraceReader, AWholeFileIsWhole) {
  const Read read = ReadAll(FileOf(500, 7, 300));
  EXPECT_TRUE(read.status.ok());
  EXPECT_TRUE(read.complete);
  EXPECT_EQ(read.records.size(), 500u);
  ExpectCounted(read, "whole");
}

TEST(TraceReader, AFileThatWasNotClosedIsWholeUpToItsEnd) {
  const Read read = ReadAll(FileOf(50, 7, 300, false));
  EXPECT_TRUE(read.status.ok());
  EXPECT_FALSE(read.complete);
  EXPECT_EQ(read.records.size(), 50u);
  EXPECT_EQ(read.end.find("within a frame"), std::string::npos) << read.end;
  EXPECT_FALSE(ReadAll(FileOf(0, 1, 0, false)).complete) << "one without a record";
}

// Each frame has a checksum: a wrong byte is an error, or is where nothing is told apart (the totals' tags),
// and never another record.
TEST(TraceReader, AWrongByteNeverMakesAnotherRecord) {
  const std::string whole = FileOf(60, 7, 40);
  size_t cuts = 0;
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x11);
    const Read read = ReadAll(damaged);
    ExpectCounted(read, "byte " + std::to_string(at));
    if (read.status.ok()) {
      if (read.records.size() != 60) {
        ++cuts;
        EXPECT_FALSE(read.complete) << "byte " << at;
      }
      continue;
    }
    EXPECT_EQ(read.status.value(), -EINVAL);
    EXPECT_NE(read.status.why().find("memory: "), std::string::npos) << read.status.why();
  }
  EXPECT_LE(cuts, 4u) << "only a wrong length of the totals' frame is like a file that was cut";
}

TEST(TraceReader, AnItemLargerThanAFrameIsRead) {
  const Read read = ReadAll(FileOf(3, 3, kFrameBytesWanted * 5));
  EXPECT_TRUE(read.status.ok()) << read.status.why();
  EXPECT_TRUE(read.complete);
  EXPECT_EQ(read.records.size(), 3u);
}

TEST(TraceReader, RefusesWhatIsNoRecording) {
  for (const std::string& bytes : {std::string("root:x:0:0"), std::string("x"), FileOf(1, 1, 1).substr(3)}) {
    const Read read = ReadAll(bytes);
    EXPECT_EQ(read.status.value(), -EINVAL);
    EXPECT_NE(read.status.why().find("no recording; expected"), std::string::npos) << read.status.why();
  }
}

TEST(TraceReader, RefusesALaterVersion) {
  MemoryFile file;
  MemorySink sink(file);
  TraceHeader header = Header();
  header.set_version(kVersion + 1);
  header.set_product("a later one");
  ASSERT_TRUE(TraceWriter::Begin(sink, header).ok());
  const Read read = ReadAll(file.bytes());
  EXPECT_EQ(read.status.value(), -EINVAL);
  EXPECT_NE(read.status.why().find("version 2, by a later one"), std::string::npos) << read.status.why();
}

TEST(TraceReader, RefusesWhatComesAfterTheIndex) {
  const std::string whole = FileOf(2, 1, 1);
  const Read read = ReadAll(whole + whole);
  EXPECT_EQ(read.records.size(), 2u);
  EXPECT_EQ(read.status.value(), -EINVAL);
  EXPECT_NE(read.status.why().find("after its index"), std::string::npos) << read.status.why();
}

// -- The index ------------------------------------------------------------------------------------

TEST(TraceReader, TheIndexNamesFramesAndStaysSmall) {
  constexpr uint64_t kFrames = kIndexFramesMax * 3;
  std::string whole = FileOf(kFrames, 1, 1);
  const auto reader = *ReaderOf(whole);
  while (*reader->Next() != TraceReader::What::kEnd) {
  }
  const TraceIndex& index = reader->index();
  ASSERT_GT(index.frames_size(), static_cast<int>(kIndexFramesMax / 2));
  ASSERT_LE(index.frames_size(), static_cast<int>(kIndexFramesMax));
  for (int i = 0; i < index.frames_size(); ++i) {
    const TraceIndex::Frame& frame = index.frames(i);
    ASSERT_EQ(frame.record(), i * uint64_t{4});
    ASSERT_EQ(frame.begin_ns(), frame.record());
    uint32_t magic = 0;
    std::memcpy(&magic, whole.data() + frame.offset(), sizeof(magic));
    ASSERT_EQ(magic, kFrameMagic);
  }
}

// -- Filters --------------------------------------------------------------------------------------

TraceRecord RecordOf(uint32_t code, uint32_t pid, int32_t result) {
  TraceRecord record;
  record.set_pid(pid);
  record.set_tid(pid + 1);
  record.set_result(result);
  record.mutable_call()->set_code(code);
  return record;
}

TEST(Filter, TermsHaveToHoldTogether) {
  const TraceRecord good = RecordOf(LX_DXCREATEDEVICE, 5, 0), bad = RecordOf(LX_DXCREATEDEVICE, 5, -EINVAL);
  const struct {
    const char* text;
    bool passes_good, passes_bad;
  } rows[] = {{"", true, true},
              {"call=CreateDevice", true, true},
              {"call=Create*", true, true},
              {"call=Create", false, false},
              {"call!=CreateDevice", false, false},
              {"pid=5", true, true},
              {"pid=6", false, false},
              {"tid=6", true, true},
              {"errno=EINVAL", false, true},
              {"errno=22", false, true},
              {"errno!=0", false, true},
              {"errno=0,pid=5", true, false},
              {"pid=5,call!=Destroy*", true, true}};
  for (const auto& row : rows) {
    auto filter = Filter::Parse(row.text);
    ASSERT_TRUE(filter.ok()) << row.text;
    EXPECT_EQ(filter->Passes(good), row.passes_good) << row.text;
    EXPECT_EQ(filter->Passes(bad), row.passes_bad) << row.text;
  }
}

TEST(Filter, RefusesWhatIsNoTerm) {
  for (const char* text : {"x", "=", "pid", "pid=", "pid=x", "pid=1x", "tid=-1", "errno=EWHAT", "size=1",
                           "call=", ",", "pid=1,,tid=2"}) {
    EXPECT_EQ(Filter::Parse(text).status().value(), -EINVAL) << text;
  }
}

// A file whose writer dies while somebody follows it.
class FollowedFile : public testing::Test {
 protected:
  static constexpr int kWaitsMax = 50;  // more, and it waits for ever

  FollowedFile() {
    int file = mkstemp(path.data());
    EXPECT_GE(file, 0);
    close(file);
    sink = *FileSink::Create(path);
    EXPECT_TRUE(sink->locked());
  }
  ~FollowedFile() override { unlink(path.c_str()); }
  void Begin(bool says_so) {
    TraceHeader header = Header();
    header.set_locked(says_so);
    writer = *TraceWriter::Begin(*sink, header);
    Write(0);
  }
  void Write(uint64_t number) {
    Batch batch;
    batch.Add(Numbered(number));
    EXPECT_TRUE(writer->Write(batch).ok());
  }
  void Die() {
    writer.reset();
    sink.reset();
  }

  std::string path = testing::TempDir() + "followed-XXXXXX";
  std::unique_ptr<Sink> sink;
  std::unique_ptr<TraceWriter> writer;
  int waits = 0;
};

TEST_F(FollowedFile, EndsWhenItsWriterIsGone) {
  Begin(true);
  const auto reader = *TraceReader::Open(path);
  // Something is written in the last moment.
  reader->Follow([this] {
    if (++waits == 3) Write(1);
    if (waits == 3) Die();
    return waits < kWaitsMax;
  });
  for (const uint64_t number : {0, 1}) {
    ASSERT_EQ(*reader->Next(), TraceReader::What::kRecord);
    EXPECT_EQ(reader->record().begin_ns(), number);
  }
  EXPECT_EQ(*reader->Next(), TraceReader::What::kEnd);
  EXPECT_LT(waits, 10);
  EXPECT_GE(waits, 3) << "it ended while somebody wrote";
  EXPECT_FALSE(reader->complete());
  EXPECT_NE(reader->EndText().find("the recording was not closed; the 2 records"), std::string::npos)
      << reader->EndText();
}

TEST_F(FollowedFile, IsWaitedForWhereItsWriterHasNoLock) {
  Begin(false);
  const auto reader = *TraceReader::Open(path);
  Die();
  reader->Follow([this] { return ++waits < 5; });
  ASSERT_EQ(*reader->Next(), TraceReader::What::kRecord);
  EXPECT_EQ(*reader->Next(), TraceReader::What::kEnd);
  EXPECT_EQ(waits, 5);
}

}  // namespace
}  // namespace dxg::trace
