// Writes forward.gen.h and forward.gen.cc (from a call's message to its command's, and back) and
// plain_calls.gen.cc (the handlers of calls without a rule of their own).
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <set>

#include "proto/dxg/host.pb.h"
#include "proto/gen/gen.h"

namespace dxg::gen {
namespace {

using Names = std::set<std::string>;

const CallOptions& Options(const Descriptor* call) { return call->options().GetExtension(dxg::call); }
const Descriptor* RequestOf(const Descriptor* message) { return message->FindNestedTypeByName("Request"); }
const Descriptor* ReplyOf(const Descriptor* message) { return message->FindNestedTypeByName("Reply"); }

// A mistake in the contract ends the build with a sentence that names the call.
[[noreturn]] void Fail(const Descriptor* call, const std::string& why) {
  fmt::print(stderr, "dxg-gen: {} ({}): {}\n", call->name(), call->file()->name(), why);
  std::exit(1);
}

const Descriptor* CommandOf(const Descriptor* call) {
  const std::string& name = Options(call).command().name();
  const Descriptor* command = host::CreateDevice::descriptor()->file()->FindMessageTypeByName(name);
  if (command == nullptr)
    Fail(call, fmt::format("command {} is not in host.proto; add it there or correct the name", name));
  return command;
}

const FieldDescriptor* FieldOf(const Descriptor* call, const Descriptor* message, const std::string& name) {
  const FieldDescriptor* field = message->FindFieldByName(name);
  if (field == nullptr) Fail(call, fmt::format("{} has no field {}", message->full_name(), name));
  return field;
}

bool SameType(const FieldDescriptor* a, const FieldDescriptor* b) {
  return a->is_repeated() == b->is_repeated() && a->cpp_type() == b->cpp_type() &&
         a->message_type() == b->message_type();
}

// "to->set_flags(from.flags());"
std::string Copy(const FieldDescriptor* to, const FieldDescriptor* from) {
  const bool whole = to->is_repeated() || to->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
  if (whole) return fmt::format("  *to->mutable_{}() = from.{}();\n", to->name(), from->name());
  return fmt::format("  to->set_{}(from.{}());\n", to->name(), from->name());
}

// The statements that fill `to`. Fields for which nothing is said are added to `missing`.
template <class Passes>
std::string CopyFields(const Descriptor* call, const Descriptor* to, const Descriptor* from,
                       const Passes& passes, const Names& skipped, std::vector<std::string>* missing) {
  std::string text;
  Names passed;
  for (const Pass& pass : passes) {
    const FieldDescriptor* field = FieldOf(call, to, pass.to());
    passed.insert(pass.to());
    if (!pass.from().empty()) {
      const FieldDescriptor* source = FieldOf(call, from, pass.from());
      if (!SameType(field, source))
        Fail(call, fmt::format("{} and {} have different types", pass.to(), pass.from()));
      text += Copy(field, source);
    } else if (!pass.host_handle() && pass.value() != 0) {
      text += fmt::format("  to->set_{}({});\n", pass.to(), pass.value());
    }
  }
  for (const std::string& name : skipped) FieldOf(call, to, name);
  for (int i = 0; i < to->field_count(); ++i) {
    const FieldDescriptor* field = to->field(i);
    if (passed.contains(field->name()) || skipped.contains(field->name())) continue;
    const FieldDescriptor* source = from->FindFieldByName(field->name());
    if (source == nullptr || !SameType(field, source)) {
      missing->push_back(field->name());
    } else {
      text += Copy(field, source);
    }
  }
  return text;
}

std::string List(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

struct Forwarding {
  std::string to_host;
  std::string from_host;
  bool has_from_host = false;  // every field of the Reply comes from the command's
};

Forwarding ForwardingOf(const Descriptor* call) {
  const CommandOfCall& rule = Options(call).command();
  const Descriptor* command = CommandOf(call);
  Names skipped(rule.zero().begin(), rule.zero().end());
  skipped.insert(rule.by_hand().begin(), rule.by_hand().end());
  std::vector<std::string> missing;
  Forwarding forwarding;
  forwarding.to_host = CopyFields(call, RequestOf(command), RequestOf(call), rule.pass(), skipped, &missing);
  if (!missing.empty()) {
    Fail(call,
         fmt::format(
             "of the Request of command {}, nothing is said of: {}. A field of the same name is copied; "
             "list the others in pass, zero or by_hand",
             command->name(), List(missing)));
  }
  forwarding.from_host = CopyFields(call, ReplyOf(call), ReplyOf(command), rule.answer(), {}, &missing);
  forwarding.has_from_host = missing.empty() && ReplyOf(call)->field_count() != 0;
  if (Options(call).has_plain() && !missing.empty()) {
    Fail(call, fmt::format("of the Reply of this plain call, nothing is said of: {}. List them in answer",
                           List(missing)));
  }
  return forwarding;
}

std::vector<const Descriptor*> ForwardedCalls() {
  std::vector<const Descriptor*> calls;
  for (const Descriptor* call : CallMessages()) {
    if (Options(call).has_command()) calls.push_back(call);
    if (Options(call).has_plain() && !Options(call).has_command())
      Fail(call, "it is plain and has no command");
  }
  return calls;
}

std::string ToHostHead(const Descriptor* call) {
  return fmt::format("void ToHost([[maybe_unused]] const {}& from, [[maybe_unused]] {}* to)",
                     CppName(RequestOf(call)), CppName(RequestOf(CommandOf(call))));
}

std::string FromHostHead(const Descriptor* call) {
  return fmt::format("void FromHost([[maybe_unused]] const {}& from, [[maybe_unused]] {}* to)",
                     CppName(ReplyOf(CommandOf(call))), CppName(ReplyOf(call)));
}

// -- Handlers --

std::string Replaced(std::string text, const std::string& what, const std::string& with) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size()))
    text.replace(at, what.size(), with);
  return text;
}

std::string CheckText(const Descriptor* call, const Check& check) {
  const Descriptor* request = RequestOf(call);
  FieldOf(call, request, check.field());
  if (!check.or_else().empty()) {
    FieldOf(call, request, check.or_else());
    return fmt::format(
        "  if ((call.request.{0}() != 0) == (call.request.{1}() != 0)) {{\n"
        "    co_return Status::Refuse(EINVAL, \"{2}\", call.request.{0}(), call.request.{1}());\n  }}\n",
        check.field(), check.or_else(), check.why());
  }
  std::optional<uint64_t> max;
  if (check.has_max()) max = check.max();
  for (int i = 0; i < request->field_count() && !max; ++i) {
    const BufferRule& buffer = request->field(i)->options().GetExtension(dxg::buffer);
    if (IsBuffer(request->field(i)) && buffer.count() == check.field()) max = buffer.max();
  }
  if (!max && check.min() == 0)
    Fail(call, fmt::format("the check of {} has neither min nor max", check.field()));
  std::string why = check.why();
  if (why.empty())
    why = check.field() +
          (check.min() != 0 ? " is {}; expected {min} to {max}" : " is {}; at most {max} are allowed");
  why = Replaced(Replaced(why, "{min}", fmt::format("{}", check.min())), "{max}",
                 fmt::format("{}", max.value_or(0)));
  std::string condition;
  if (check.min() != 0) condition = fmt::format("value < {}", check.min());
  if (max) condition += fmt::format("{}value > {}", condition.empty() ? "" : " || ", *max);
  return fmt::format(
      "  if (const auto value = call.request.{0}(); {1})\n    co_return Status::Refuse(EINVAL, \"{2}\", "
      "value);\n",
      check.field(), condition, why);
}

std::string CopyInText(const Descriptor* call) {
  std::vector<std::string> buffers(Options(call).plain().copy_in().begin(),
                                   Options(call).plain().copy_in().end());
  std::vector<std::string> all;
  for (int i = 0; i < RequestOf(call)->field_count(); ++i) {
    if (IsBuffer(RequestOf(call)->field(i))) all.push_back(RequestOf(call)->field(i)->name());
  }
  if (buffers.empty()) buffers = all;
  if (!std::is_permutation(buffers.begin(), buffers.end(), all.begin(), all.end()))
    Fail(call, "copy_in does not name each buffer of the Request once");
  if (buffers.empty()) return "";
  if (buffers.size() == 1)
    return fmt::format("  DXG_CO_TRY(call.CopyIn(calls::{}::In::{}()));\n", call->name(), buffers[0]);
  std::string list;
  for (const auto& name : buffers)
    list += fmt::format("{}&calls::{}::In::{}()", list.empty() ? "" : ", ", call->name(), name);
  return fmt::format("  DXG_CO_TRY(call.CopyIn({{{}}}));\n", list);
}

struct LookUpText {
  const char* field;
  const char* statement;  // {} is the handle
  const char* device;     // null: none
  const char* adapter;
};

LookUpText LookUpOf(LookUp look_up) {
  constexpr const char* kOwner = "found.device";
  constexpr const char* kOwnersAdapter = "found.device->adapter()";
  switch (look_up) {
    case BY_ADAPTER:
      return {"adapter", "  DXG_CO_ASSIGN(const auto found, call.process->FindAdapter({}));\n", nullptr,
              "found->adapter"};
    case BY_DEVICE:
      return {"device", "  DXG_CO_ASSIGN(const auto found, call.process->FindDevice({}));\n", "found",
              "found->adapter()"};
    case BY_CONTEXT:
      return {"context", "  DXG_CO_ASSIGN(const auto found, FindContextAndDevice(*call.process, {}));\n",
              kOwner, kOwnersAdapter};
    case BY_PAGING_QUEUE:
      return {"paging_queue",
              "  DXG_CO_ASSIGN(const auto found, FindPagingQueueAndDevice(*call.process, {}));\n", kOwner,
              kOwnersAdapter};
    case BY_HW_QUEUE:
      return {"hwqueue", "  DXG_CO_ASSIGN(const auto found, FindHwQueueAndDevice(*call.process, {}));\n",
              kOwner, kOwnersAdapter};
    default:
      return {"", "", nullptr, ""};
  }
}

std::string FindText(const Descriptor* call) {
  const PlainRule& rule = Options(call).plain();
  if (rule.look_up() == NO_OBJECT) return "";
  const LookUpText look_up = LookUpOf(rule.look_up());
  const std::string name = rule.handle().empty() ? look_up.field : rule.handle();
  const FieldDescriptor* field = FieldOf(call, RequestOf(call), name);
  std::string text = Replaced(look_up.statement, "{}",
                              fmt::format("call.request.{}({})", name, field->is_repeated() ? "0" : ""));
  if (rule.device_active()) {
    if (look_up.device == nullptr) Fail(call, "device_active without a device that is looked up");
    text += fmt::format("  DXG_CO_TRY(CheckActive(*{}));\n", look_up.device);
  }
  text += fmt::format("  const std::shared_ptr<Adapter> adapter = {};\n", look_up.adapter);
  if (!rule.adapter_may_be_stopped()) text += "  DXG_CO_TRY(CheckActive(*adapter));\n";
  return text;
}

std::string AskText(const Descriptor* call) {
  const std::string command = CommandOf(call)->name();
  std::string text = fmt::format(
      "  host::{0}::Request request;\n  host::{0}::Reply reply;\n  calls::ToHost(call.request, &request);\n",
      command);
  for (const Pass& pass : Options(call).command().pass()) {
    if (pass.host_handle()) text += fmt::format("  request.set_{}(adapter->info.host_handle);\n", pass.to());
  }
  const bool global = Options(call).plain().look_up() == NO_OBJECT;
  return text +
         fmt::format(
             "  DXG_CO_TRY(co_await call.driver.host().Ask{}call.process->host_handle, request, &reply));\n",
             global ? "Global(" : "(*adapter, ");
}

std::string AnswerText(const Descriptor* call) {
  const PlainRule& rule = Options(call).plain();
  const Descriptor* command = CommandOf(call);
  const Descriptor* reply = ReplyOf(call);
  const bool has_status = ReplyOf(command)->FindFieldByName("status") != nullptr;
  const std::string status = fmt::format("FromNtStatus(reply.status(), \"{}\")", command->name());
  if (reply->field_count() == 0)
    return fmt::format("  co_return {};\n", has_status ? status : "Status::Ok()");
  std::string text, condition;
  for (int32_t value : rule.out_when())
    condition += fmt::format("{}status.value() != {:#x}", condition.empty() ? "" : " && ", value);
  if (!condition.empty()) {
    text += fmt::format("  Status status = {};\n  if ({}) co_return status;\n", status, condition);
  } else if (has_status) {
    text += fmt::format("  DXG_CO_TRY({});\n", status);
  }
  text += "  calls::FromHost(reply, &call.reply);\n";
  for (const Pass& pass : Options(call).command().answer()) {
    if (pass.host_handle())
      text += fmt::format("  call.reply.set_{}(adapter->info.host_handle);\n", pass.to());
  }
  std::vector<std::string> all, out(rule.out().begin(), rule.out().end());
  for (int i = 0; i < reply->field_count(); ++i) all.push_back(reply->field(i)->name());
  if (out.empty()) out = all;
  if (!std::is_permutation(out.begin(), out.end(), all.begin(), all.end()))
    Fail(call, "out does not name each field of the Reply once");
  if (rule.out_whole()) {
    text += "  DXG_CO_TRY(call.OutLateAll());\n";
  } else {
    for (const auto& name : out) {
      const std::string way = IsBuffer(reply->FindFieldByName(name)) ? "CopyOut" : "OutLate";
      text += fmt::format("  DXG_CO_TRY(call.{}(calls::{}::Out::{}{}));\n", way, call->name(), name,
                          way == "CopyOut" ? "()" : "");
    }
  }
  return text + (condition.empty() ? "  co_return Status::Ok();\n" : "  co_return status;\n");
}

std::string Handler(const Descriptor* call) {
  const PlainRule& rule = Options(call).plain();
  std::string text = fmt::format("Task {0}(CallOf<calls::{0}>& call) {{\n", call->name());
  for (const Check& check : rule.first()) text += CheckText(call, check);
  if (rule.copy_in_first()) text += CopyInText(call);
  text += FindText(call);
  for (const Check& check : rule.then()) text += CheckText(call, check);
  if (!rule.copy_in_first()) text += CopyInText(call);
  return text + AskText(call) + AnswerText(call) + "}\n\n";
}

}  // namespace

std::string ForwardHeader() {
  std::string text =
      "// Written by dxg-gen from proto/dxg/*.proto. Do not edit.\n#pragma once\n\n"
      "#include \"proto/contract/calls.gen.h\"\n#include \"proto/dxg/host.pb.h\"\n\n"
      "// ToHost fills the command that a call becomes, but for the fields that the call's row leaves to its "
      "handler.\n"
      "// FromHost takes the call's Reply out of the command's.\n\nnamespace dxg::calls {\n\n";
  for (const Descriptor* call : ForwardedCalls()) {
    text += ToHostHead(call) + ";\n";
    if (ForwardingOf(call).has_from_host) text += FromHostHead(call) + ";\n";
  }
  return text + "\n}  // namespace dxg::calls\n";
}

std::string ForwardSource() {
  std::string text =
      "// Written by dxg-gen from proto/dxg/*.proto. Do not edit.\n#include "
      "\"proto/contract/forward.gen.h\"\n\n"
      "namespace dxg::calls {\n\n";
  for (const Descriptor* call : ForwardedCalls()) {
    const Forwarding forwarding = ForwardingOf(call);
    text += fmt::format("{} {{\n{}}}\n\n", ToHostHead(call), forwarding.to_host);
    if (forwarding.has_from_host)
      text += fmt::format("{} {{\n{}}}\n\n", FromHostHead(call), forwarding.from_host);
  }
  return text + "}  // namespace dxg::calls\n";
}

std::string PlainCallsSource() {
  std::string text =
      "// Written by dxg-gen from proto/dxg/*.proto: the handlers of the calls whose row is `plain`. Do not "
      "edit.\n"
      "#include \"cuse-dxg/guest/handlers.h\"\n#include \"cuse-dxg/guest/nt_status.h\"\n"
      "#include \"proto/contract/forward.gen.h\"\n\nnamespace dxg::guest::handlers {\n\n";
  for (const Descriptor* call : CallMessages()) {
    if (Options(call).has_plain()) text += Handler(call);
  }
  return text + "}  // namespace dxg::guest::handlers\n";
}

}  // namespace dxg::gen
