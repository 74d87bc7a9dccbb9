#include "cuse-dxg/control/ctl.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "base/unique_fd.h"
#include "base/unix_socket.h"
#include "cuse-dxg/control/address.h"
#include "cuse-dxg/control/print.h"
#include "cuse-dxg/control/report.h"
#include "cuse-dxg/control/server.h"
#include "link/profile_file.h"

namespace dxg::control {
namespace {

using google::protobuf::FieldDescriptor;

constexpr int kFailed = 1;
constexpr std::chrono::seconds kAnswerMax{30};  // an adapter with many devices takes a while to remove

// What each field of a rule is for, in the order of the help.
struct FieldHelp {
  const char* name;
  const char* type;
  const char* help;
};
constexpr FieldHelp kFields[] = {
    {"nth", "N", "Strike first at the N-th passage (default: --every, or 1)"},
    {"every", "N", "... and then at one in N, without end"},
    {"probability", "P", "Strike each of those with this chance, without end"},
    {"seed", "N", "Of the chance: the same seed strikes the same passages"},
    {"times", "N", "Strike so often at most; 0: without end"},
    {"after_ns", "N", "Count passages only when N ns have gone by"},
    {"process", "PID", "Only calls of this process"},
    {"adapter", "LUID", "Only this adapter, as `ctl adapters` names it"},
    {"node", "N", "Only this engine of the adapter"},
    {"command", "NAME", "Only this command of the host, CREATEDEVICE for example"},
    {"type", "N", "Only this type of QueryAdapterInfo"},
    {"delay_ns", "N", "How long, where the point has a delay"},
    {"value", "N", "How much or what, where the point has a value"},
};

std::string OptionOf(std::string field) {
  std::replace(field.begin(), field.end(), '_', '-');
  return "--" + field;
}

// Decimal, or hexadecimal with 0x.
bool ParseNumber(const std::string& text, uint64_t* value) {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  const char* const begin = text.data() + (hex ? 2 : 0);
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(begin, end, *value, hex ? 16 : 10);
  return error == std::errc() && stop == end;
}

// A number, or as it is printed: two halves of eight digits.
bool ParseLuid(const std::string& text, uint64_t* luid) {
  constexpr size_t kHalf = 8;
  if (text.size() != 2 * kHalf + 1 || text[kHalf] != '-') return ParseNumber(text, luid);
  return ParseNumber("0x" + text.substr(0, kHalf) + text.substr(kHalf + 1), luid);
}

Status SetField(FaultRule* rule, const FieldDescriptor* field, const std::string& text) {
  const auto* reflection = FaultRule::GetReflection();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    reflection->SetString(rule, field, text);
    return Status::Ok();
  }
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0')
      return Status::Refuse(EINVAL, "{}: '{}' is no number", OptionOf(field->name()), text);
    reflection->SetDouble(rule, field, value);
    return Status::Ok();
  }
  uint64_t value = 0;
  const bool small = field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32;
  const bool read = field->name() == "adapter" ? ParseLuid(text, &value) : ParseNumber(text, &value);
  if (!read || (small && value > UINT32_MAX)) {
    return Status::Refuse(EINVAL, "{}: '{}' is no {}", OptionOf(field->name()), text,
                          field->name() == "adapter"
                              ? "LUID; give one such as 00000000-00010000"
                              : "number that fits; give digits, or 0x and hexadecimal ones");
  }
  small ? reflection->SetUInt32(rule, field, static_cast<uint32_t>(value))
        : reflection->SetUInt64(rule, field, value);
  return Status::Ok();
}

Result<ControlReply> Ask(const std::string& path, const ControlRequest& request) {
  DXG_TRY(UnixAddress(path, kOption).status());
  Result<UniqueFd> daemon = ConnectUnix(path, kOption, SOCK_SEQPACKET, kAnswerMax);
  if (!daemon.ok()) {
    const int error = -daemon.status().value();
    return Status::Refuse(error,
                          "cannot reach a daemon at {}: {}; it listens there if started with --control {}",
                          path, std::strerror(error), path);
  }
  const std::string bytes = request.SerializeAsString();
  if (bytes.size() > kRequestBytesMax)
    return Status::Refuse(EMSGSIZE, "the request has {} bytes; give at most {}", bytes.size(),
                          kRequestBytesMax);
  // A daemon that has let us go may have said why.
  if (Status sent = SendDatagram(daemon->get(), std::as_bytes(std::span(bytes)));
      !sent.ok() && sent.value() != -ECONNRESET)
    return Status::Refuse(-sent.value(), "cannot ask the daemon at {}: {}", path,
                          std::strerror(-sent.value()));
  std::vector<std::byte> packet(kReplyBytesMax);
  Result<Datagram> received = ReceiveDatagram(daemon->get(), packet);
  if (received.status().value() == -ECONNRESET)
    return Status::Refuse(ECONNRESET, "the daemon at {} ended before it answered", path);
  if (!received.ok())
    return Status::Refuse(-received.status().value(), "no answer from the daemon at {}: {}", path,
                          std::strerror(-received.status().value()));
  ControlReply reply;
  if (!reply.ParseFromArray(packet.data(), static_cast<int>(received->bytes)))
    return Status::Refuse(
        EPROTO, "the answer of the daemon at {} cannot be read; use the cuse-dxg that it was built with",
        path);
  return reply;
}

}  // namespace

std::string ToWords(const FaultRule& rule) {
  std::string words = rule.point();
  const auto* reflection = FaultRule::GetReflection();
  for (const FieldHelp& help : kFields) {
    const auto* field = FaultRule::GetDescriptor()->FindFieldByName(help.name);
    if (!reflection->HasField(rule, field)) continue;
    words += " " + OptionOf(help.name) + " ";
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        words += reflection->GetString(rule, field);
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        words += fmt::format("{}", reflection->GetDouble(rule, field));
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        words += fmt::format("{}", reflection->GetUInt32(rule, field));
        break;
      default:
        const uint64_t value = reflection->GetUInt64(rule, field);
        words += field->name() == "adapter" ? LuidText(value) : fmt::format("{}", value);
    }
  }
  return words;
}

Command::Command(CLI::App& app) {
  ctl_ = app.add_subcommand("ctl",
                            "Make trouble in a running daemon: faults on demand, adapters that come and go");
  ctl_->require_subcommand(1);
  path_ = kPathDefault;
  ctl_->add_option("--control", path_, "The daemon's socket; `run` sets the variable")
      ->type_name("PATH")
      ->envname(kPathVariable)
      ->configurable(false)
      ->capture_default_str();
  ctl_->footer(
      "docs/faults.md has an example of each fault point and what a client sees.\n"
      "Exit status: 0; 1 if the daemon is not there or refuses, with the reason on stderr; 2 if the command\n"
      "line is wrong.");

  fault_ = ctl_->add_subcommand("fault", "Arm a fault point, or: list, clear");
  fault_->add_option("POINT", point_, "The point, by its name in `ctl fault list`");
  AddFaultOptions();
  fault_list_ = fault_->add_subcommand(
      "list", "All points, what they do, which rules are armed, how often they struck");
  fault_list_->add_option("POINT", point_, "Only this one");
  fault_list_->add_flag("--armed", armed_only_, "Only the rules");
  fault_clear_ = fault_->add_subcommand("clear", "Disarm all rules, or those of one point");
  fault_clear_->add_option("POINT", point_, "Of this one");
  fault_->footer(
      "Usage: cuse-dxg ctl fault POINT [OPTIONS]\nWithout options it strikes once, at the next passage.");

  adapters_ = ctl_->add_subcommand("adapters", "The adapters that are there: LUID, profile, description");
  adapter_ = ctl_->add_subcommand("adapter", "Add an adapter, or remove one by surprise");
  adapter_->require_subcommand(1);
  adapter_add_ = adapter_->add_subcommand("add", "A new adapter arrives");
  adapter_add_->add_option("PROFILE", profile_, "A profile, a name or a file")->required();
  adapter_remove_ = adapter_->add_subcommand("remove", "The adapter is gone, whoever uses it");
  adapter_remove_->add_option("LUID", luid_, "As `ctl adapters` prints it")->required();
  status_ = ctl_->add_subcommand("status", "How much of everything is alive in the host");
  metrics_ = ctl_->add_subcommand("metrics", "That, the adapters and what the faults did, as OpenMetrics");
  report_ = ctl_->add_subcommand(
      "report", "What programs asked for so far, and how far it was done as by the real device");
  report_->footer("docs/fidelity.md explains the report. `cuse-dxg run --report` writes one of one program.");
  for (CLI::App* one :
       {fault_, fault_list_, fault_clear_, adapters_, adapter_add_, adapter_remove_, status_, report_})
    one->add_flag("--json", json_, "As JSON");
}

void Command::AddFaultOptions() {
  for (const FieldHelp& field : kFields) {
    fault_->add_option(OptionOf(field.name), fields_[field.name], field.help)->type_name(field.type);
  }
}

Status Command::FillRule(FaultRule* rule) const {
  if (point_.empty())
    return Status::Refuse(EINVAL, "fault: which one? `cuse-dxg ctl fault list` names the points");
  rule->set_point(point_);
  for (const auto& [name, text] : fields_) {
    if (fault_->get_option(OptionOf(name))->count() == 0) continue;
    DXG_TRY(SetField(rule, FaultRule::GetDescriptor()->FindFieldByName(name), text));
  }
  return Status::Ok();
}

Result<ControlRequest> Command::Request() const {
  ControlRequest request;
  if (*fault_list_) {
    request.mutable_list_faults();
  } else if (*fault_clear_) {
    request.mutable_clear_faults()->set_point(point_);
  } else if (*fault_) {
    DXG_TRY(FillRule(request.mutable_set_fault()));
  } else if (*adapters_) {
    request.mutable_list_adapters();
  } else if (*adapter_add_) {
    DXG_ASSIGN(*request.mutable_add_adapter(), ReadProfileFile(profile_, "adapter add"));
  } else if (*adapter_remove_) {
    uint64_t luid = 0;
    if (!ParseLuid(luid_, &luid))
      return Status::Refuse(EINVAL, "'{}' is no LUID; give one such as 00000000-00010000", luid_);
    request.mutable_remove_adapter()->set_luid(luid);
  } else if (*report_) {
    request.mutable_report();
  } else {
    request.mutable_status();
  }
  return request;
}

Result<ControlReply> Command::AskAll() const {
  std::vector<ControlRequest> requests(1);
  if (*metrics_) {
    requests.resize(3);
    requests[0].mutable_status();
    requests[1].mutable_list_adapters();
    requests[2].mutable_list_faults();
  } else {
    DXG_ASSIGN(requests[0], Request());
  }
  ControlReply all;
  for (const ControlRequest& request : requests) {
    DXG_ASSIGN(const ControlReply reply, Ask(path_, request));
    if (!reply.error().empty()) return Status::Refuse(EINVAL, "{}", reply.error());
    all.MergeFrom(reply);
  }
  return all;
}

// What an answer of this command is about.
Part Command::part() const {
  if (*fault_list_) return Part::kPoints;
  if (*fault_clear_) return Part::kCleared;
  if (*adapters_ || *adapter_add_) return Part::kAdapters;
  return *status_ ? Part::kCounts : Part::kDone;
}

// The options of `fault list` choose for programs too.
void Command::Choose(ControlReply* reply) const {
  auto* points = reply->mutable_points();
  for (int i = points->size(); i-- > 0;) {
    const ControlReply::Point& point = points->Get(i);
    if ((!point_.empty() && point_ != point.name()) || (armed_only_ && point.rules().empty()))
      points->DeleteSubrange(i, 1);
  }
}

void Command::PrintFaults(const ControlReply& reply) const {
  for (const ControlReply::Point& point : reply.points()) {
    if (!armed_only_) {
      std::string options;
      for (const std::string& option : point.options()) options += OptionOf(option) + " ";
      fmt::print("{:>2} {:<24}{}: {}\n{:27}{}   passed {}, struck {}\n", point.number(), point.name(),
                 point.passage(), point.effect(), "", options, point.passed(), point.struck());
    }
    for (const ControlReply::Rule& rule : point.rules()) {
      const std::string indent(armed_only_ ? 0 : 27, ' ');
      fmt::print("{}{}{}\n{}  passed {}, struck {}{}\n", indent,
                 armed_only_ ? "" : "armed: ", ToWords(rule.rule()), indent, rule.passed(), rule.struck(),
                 rule.spent() ? ", spent" : "");
    }
  }
}

void Command::Print(const ControlReply& reply) const {
  PrintFaults(reply);
  for (const ControlReply::Adapter& adapter : reply.adapters())
    fmt::print("{}  {:<13} {}\n", LuidText(adapter.luid()), adapter.profile(), adapter.description());
  for (const ControlReply::Count& count : reply.counts())
    fmt::print("{:<30}{:>16}\n", count.name(), count.value());
  if (*fault_clear_) fmt::print("{} cleared\n", reply.cleared());
}

int Command::Run() {
  Result<ControlReply> reply = AskAll();
  if (!reply.ok()) {
    fmt::print(stderr, "cuse-dxg ctl: {}\n", reply.status().why());
    return kFailed;
  }
  if (*metrics_) return fmt::print("{}", ToMetrics(*reply)), 0;
  if (*report_) return fmt::print("{}", json_ ? ReportJson(*reply, {}) : ReportText(*reply, {})), 0;
  Choose(&*reply);
  if (json_) return fmt::print("{}", ToJson(*reply, part())), 0;
  Print(*reply);
  return 0;
}

}  // namespace dxg::control
