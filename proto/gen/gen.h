#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

#include "proto/dxg/options.pb.h"

// The generator: reads the options of proto/dxg/*.proto (they are linked in, so no file is parsed) and writes
// the tables, codecs and pages that would otherwise be second lists of the calls.

namespace dxg::gen {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

// Every message with that option, over all files of the contract, in order of number.
std::vector<const Descriptor*> CallMessages();
std::vector<const Descriptor*> ElementMessages();
std::vector<const Descriptor*> CommandMessages();
std::vector<const Descriptor*> RecordMessages();
std::vector<const Descriptor*> GuestMessages();
std::vector<UnhandledNumber> Unhandled();
std::vector<Difference> Differences();
std::vector<UnheededFlag> UnheededFlags();

// The class protoc makes of a message: "dxg::CreateDevice::Request" is dxg::CreateDevice_Request.
std::string CppName(const Descriptor* message);

// Whether a field stands for an array or a block of bytes that the call points to.
inline bool IsBuffer(const FieldDescriptor* field) { return field->options().HasExtension(dxg::buffer); }

// One generated file's text.
std::string CallsHeader();
std::string CallsSource();
std::string NumbersHeader();
std::string ThunksHeader();
std::string HostCommandsHeader();
std::string HostCommandsSource();
std::string ForwardHeader();
std::string ForwardSource();
std::string PlainCallsSource();
// `abi` is the folder of the published headers.
std::string NamesSource(const std::string& abi);

}  // namespace dxg::gen
