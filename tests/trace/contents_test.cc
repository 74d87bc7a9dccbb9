// What whoever records from outside adds to its records, and leaves out.
#include "cuse-dxg/trace/contents.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>

#include "proto/contract/calls.gen.h"

namespace dxg::trace {
namespace {

TraceHeader HeaderOf(const std::string& memory, bool redacted) {
  TraceHeader header;
  EXPECT_TRUE(SetContents(memory, redacted, &header).ok());
  return header;
}

bool ReadSevens(pid_t, uint64_t, std::span<std::byte> to) {
  std::ranges::fill(to, std::byte{7});
  return true;
}

TraceRecord CallRecord(const contract::CallRow& row, const contract::Message& request,
                       const contract::Message& reply) {
  TraceRecord record;
  record.set_pid(12);
  record.set_tid(13);
  record.mutable_call()->set_code(row.code);
  request.SerializeToString(record.mutable_call()->mutable_request());
  reply.SerializeToString(record.mutable_call()->mutable_reply());
  return record;
}

TEST(Contents, TheTwoOptionsMayNotGoTogether) {
  TraceHeader header;
  EXPECT_EQ(SetContents("full", true, &header).value(), -EINVAL);
  EXPECT_TRUE(SetContents("hash", true, &header).ok());
  EXPECT_EQ(header.memory(), TraceHeader::HASH);
  EXPECT_TRUE(header.redacted());
}

TEST(Contents, NoPathIsLeftInTheHeader) {
  for (const char* node : {"client /dev/dxg", "run, preload", "cuse /dev/dxg"}) {
    TraceHeader header;
    header.set_node(node);
    header.set_backend("sim");
    EXPECT_TRUE(SetContents("none", true, &header).ok());
    EXPECT_EQ(header.node(), node);
    EXPECT_EQ(header.backend(), "sim");
  }
  TraceHeader header;
  header.set_node("fuse /srv/alice/dxg");
  header.set_backend("unix:/srv/alice/host");
  EXPECT_TRUE(SetContents("none", false, &header).ok());
  EXPECT_EQ(header.node(), "fuse /srv/alice/dxg");
  EXPECT_TRUE(SetContents("none", true, &header).ok());
  EXPECT_EQ(header.node().find("fuse <14 bytes "), 0u) << header.node();
  EXPECT_EQ(header.backend().find("unix:<15 bytes "), 0u) << header.backend();
  EXPECT_EQ(header.SerializeAsString().find("alice"), std::string::npos);
}

TEST(Contents, NothingOfBytesAndNamesIsLeft) {
  Contents contents(HeaderOf("none", true), ReadSevens);
  calls::QueryAdapterInfo::Request request;
  calls::QueryAdapterInfo::Reply reply;
  request.set_adapter(5);
  request.set_private_data("secret question");
  reply.set_private_data("secret answer");
  TraceRecord call = CallRecord(calls::QueryAdapterInfo::Row(), request, reply);
  call.mutable_call()->set_raw("secret bytes");
  contents.Apply(&request, &reply, {}, &call);
  EXPECT_EQ(call.SerializeAsString().find("secret"), std::string::npos);
  calls::QueryAdapterInfo::Request left;
  ASSERT_TRUE(left.ParseFromString(call.call().request()));
  EXPECT_EQ(left.adapter(), 5u);
  EXPECT_EQ(left.private_data().find("<15 bytes "), 0u) << left.private_data();

  // Of a call that was never answered nobody hands the messages over.
  TraceRecord killed = CallRecord(calls::QueryAdapterInfo::Row(), request, reply);
  TraceRecord open, process;
  open.mutable_open()->set_name("secret");
  process.mutable_process()->set_program("/bin/secret");
  for (TraceRecord* record : {&killed, &open, &process}) {
    contents.Apply(record);
    EXPECT_EQ(record->SerializeAsString().find("secret"), std::string::npos) << record->DebugString();
    EXPECT_NE(record->SerializeAsString().find(" bytes "), std::string::npos);
  }
}

TEST(Contents, MemoryIsThatOfProcessesThatLive) {
  Contents contents(HeaderOf("full", false), ReadSevens);
  TraceRecord open, end;
  open.set_pid(12);
  open.mutable_open()->set_file(1);
  end.set_pid(12);
  end.mutable_process()->set_change(TraceProcess::EXITED);
  calls::Lock2::Request lock;
  calls::Lock2::Reply locked;
  calls::Unlock2::Request unlock;
  calls::Unlock2::Reply unlocked;
  lock.set_allocation(0x40);
  unlock.set_allocation(0x40);
  const guest::NamedMemory named{.address = 0x1000, .bytes = 4, .allocation = 0x40};
  const auto unlock_it = [&] {
    TraceRecord record = CallRecord(calls::Unlock2::Row(), unlock, unlocked);
    contents.Apply(&unlock, &unlocked, {}, &record);
    return record;
  };
  contents.Apply(&open);
  TraceRecord first = CallRecord(calls::Lock2::Row(), lock, locked);
  contents.Apply(&lock, &locked, std::span(&named, 1), &first);
  const TraceRecord seen = unlock_it();
  ASSERT_EQ(seen.call().memory_size(), 1);
  EXPECT_EQ(seen.call().memory(0).address(), 0x1000u);
  EXPECT_EQ(seen.call().memory(0).contents(), std::string(4, '\7'));
  contents.Apply(&end);
  contents.Apply(&open);  // another one with its number
  EXPECT_EQ(unlock_it().call().memory_size(), 0);
}

}  // namespace
}  // namespace dxg::trace
