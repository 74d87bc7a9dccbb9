#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iostream>

#include "proto/dxg/adapter.pb.h"
#include "proto/dxg/allocation.pb.h"
#include "proto/dxg/device.pb.h"
#include "proto/dxg/host.pb.h"
#include "proto/dxg/memory.pb.h"
#include "proto/dxg/share.pb.h"
#include "proto/dxg/submit.pb.h"
#include "proto/dxg/sync.pb.h"
#include "proto/gen/gen.h"

namespace dxg::gen {
namespace {

// Naming each file keeps the linker from dropping it.
std::vector<const google::protobuf::FileDescriptor*> Files() {
  return {dxg::QueryAdapterInfo::descriptor()->file(),
          dxg::CreateAllocation::descriptor()->file(),
          dxg::CreateDevice::descriptor()->file(),
          dxg::MakeResident::descriptor()->file(),
          dxg::ShareObjects::descriptor()->file(),
          dxg::SubmitCommand::descriptor()->file(),
          dxg::CreateSynchronizationObject::descriptor()->file(),
          dxg::host::CreateDevice::descriptor()->file()};
}

template <typename Extension>
std::vector<const Descriptor*> MessagesWith(const Extension& extension) {
  std::vector<const Descriptor*> found;
  for (const auto* file : Files()) {
    for (int i = 0; i < file->message_type_count(); ++i) {
      if (file->message_type(i)->options().HasExtension(extension)) found.push_back(file->message_type(i));
    }
  }
  return found;
}

}  // namespace

std::vector<const Descriptor*> CallMessages() {
  auto calls = MessagesWith(dxg::call);
  std::sort(calls.begin(), calls.end(), [](const Descriptor* a, const Descriptor* b) {
    return a->options().GetExtension(dxg::call).nr() < b->options().GetExtension(dxg::call).nr();
  });
  return calls;
}

std::vector<const Descriptor*> ElementMessages() { return MessagesWith(dxg::element); }
std::vector<const Descriptor*> RecordMessages() { return MessagesWith(dxg::record); }
std::vector<const Descriptor*> GuestMessages() { return MessagesWith(dxg::guest_message); }

std::vector<const Descriptor*> CommandMessages() {
  auto commands = MessagesWith(dxg::command);
  std::sort(commands.begin(), commands.end(), [](const Descriptor* a, const Descriptor* b) {
    return a->options().GetExtension(dxg::command).id() < b->options().GetExtension(dxg::command).id();
  });
  return commands;
}

std::vector<UnhandledNumber> Unhandled() {
  std::vector<UnhandledNumber> numbers;
  for (const auto* file : Files()) {
    for (const auto& row : file->options().GetRepeatedExtension(dxg::unhandled)) numbers.push_back(row);
  }
  return numbers;
}

std::string CppName(const Descriptor* message) {
  if (message->containing_type() != nullptr)
    return CppName(message->containing_type()) + "_" + message->name();
  std::string name = "::";
  for (char c : message->full_name()) {
    if (c == '.') {
      name += "::";
    } else {
      name += c;
    }
  }
  return name;
}

}  // namespace dxg::gen

namespace {

bool Write(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  if (file.flush()) return true;
  fmt::print(stderr, "dxg-gen: cannot write {}: expected a directory that exists and can be written\n", path);
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || std::string_view(argv[1]) != "--out") {
    fmt::print(stderr,
               "usage: dxg-gen --out DIRECTORY\nWrites the tables and codecs of the contract's calls and "
               "host commands.\n");
    return 2;
  }
  const std::string out = argv[2];
  const bool written = Write(out + "/calls.gen.h", dxg::gen::CallsHeader()) &&
                       Write(out + "/calls.gen.cc", dxg::gen::CallsSource()) &&
                       Write(out + "/numbers.gen.h", dxg::gen::NumbersHeader()) &&
                       Write(out + "/host_commands.gen.h", dxg::gen::HostCommandsHeader()) &&
                       Write(out + "/host_commands.gen.cc", dxg::gen::HostCommandsSource()) &&
                       Write(out + "/forward.gen.h", dxg::gen::ForwardHeader()) &&
                       Write(out + "/forward.gen.cc", dxg::gen::ForwardSource()) &&
                       Write(out + "/plain_calls.gen.cc", dxg::gen::PlainCallsSource());
  return written ? 0 : 1;
}
