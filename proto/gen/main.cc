#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iostream>

#include "proto/gen/gen.h"

namespace dxg::gen {
namespace {

// The files that the command line names, in its order. All of the contract is linked in whole, so they are
// there.
std::vector<const google::protobuf::FileDescriptor*>& Files() {
  static std::vector<const google::protobuf::FileDescriptor*> files;
  return files;
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

std::vector<Difference> Differences() {
  std::vector<Difference> differences;
  for (const auto* file : Files()) {
    for (const auto& row : file->options().GetRepeatedExtension(dxg::difference)) differences.push_back(row);
  }
  return differences;
}

std::vector<UnheededFlag> UnheededFlags() {
  std::vector<UnheededFlag> flags;
  for (const auto* file : Files()) {
    for (const auto& row : file->options().GetRepeatedExtension(dxg::unheeded)) flags.push_back(row);
  }
  return flags;
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
  if (argc < 6 || std::string_view(argv[1]) != "--out" || std::string_view(argv[3]) != "--abi") {
    fmt::print(
        stderr,
        "usage: dxg-gen --out DIRECTORY --abi DIRECTORY PROTO...\nWrites the tables and codecs of the calls "
        "and host "
        "commands in these files, such as proto/dxg/host.proto, and the names of the published headers.\n");
    return 2;
  }
  for (int i = 5; i < argc; ++i) {
    const auto* file = google::protobuf::DescriptorPool::generated_pool()->FindFileByName(argv[i]);
    if (file == nullptr) {
      fmt::print(stderr, "dxg-gen: {} is not linked in; expected a file of the contract\n", argv[i]);
      return 2;
    }
    dxg::gen::Files().push_back(file);
  }
  const std::string out = argv[2];
  const bool written = Write(out + "/calls.gen.h", dxg::gen::CallsHeader()) &&
                       Write(out + "/calls.gen.cc", dxg::gen::CallsSource()) &&
                       Write(out + "/numbers.gen.h", dxg::gen::NumbersHeader()) &&
                       Write(out + "/thunks.gen.h", dxg::gen::ThunksHeader()) &&
                       Write(out + "/host_commands.gen.h", dxg::gen::HostCommandsHeader()) &&
                       Write(out + "/host_commands.gen.cc", dxg::gen::HostCommandsSource()) &&
                       Write(out + "/forward.gen.h", dxg::gen::ForwardHeader()) &&
                       Write(out + "/forward.gen.cc", dxg::gen::ForwardSource()) &&
                       Write(out + "/plain_calls.gen.cc", dxg::gen::PlainCallsSource()) &&
                       Write(out + "/names.gen.cc", dxg::gen::NamesSource(argv[4]));
  return written ? 0 : 1;
}
