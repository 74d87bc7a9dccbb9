#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "base/status.h"
#include "cuse-dxg/control/print.h"
#include "proto/dxg/control.pb.h"

namespace dxg::control {

// The words of a command that give a FaultRule, as `cuse-dxg ctl fault` takes them: the point, and an option
// for each field that the rule has.
std::string ToWords(const FaultRule& rule);

// `cuse-dxg ctl`: what it takes on the command line, and what it does with it.
class Command {
 public:
  explicit Command(CLI::App& app);
  Command(const Command&) = delete;  // the command line points into it
  Command& operator=(const Command&) = delete;

  bool given() const { return ctl_->parsed(); }
  // Asks the daemon and prints what it says. Returns the exit status: 0, or 1 with the reason on stderr.
  int Run();

 private:
  void AddFaultOptions();
  Result<ControlRequest> Request() const;
  Result<ControlReply> AskAll() const;
  void Choose(ControlReply* reply) const;
  Part part() const;
  Status FillRule(FaultRule* rule) const;
  void Print(const ControlReply& reply) const;
  void PrintFaults(const ControlReply& reply) const;

  CLI::App* ctl_;
  CLI::App* fault_;
  CLI::App* fault_list_;
  CLI::App* fault_clear_;
  CLI::App* adapters_;
  CLI::App* adapter_;
  CLI::App* adapter_add_;
  CLI::App* adapter_remove_;
  CLI::App* status_;
  CLI::App* metrics_;
  CLI::App* report_;

  std::string path_;
  std::string point_;                          // of fault, fault list and fault clear
  std::map<std::string, std::string> fields_;  // of the rule, by name; empty: not given
  bool armed_only_ = false;
  bool json_ = false;
  std::string luid_;
  std::string profile_;
};

}  // namespace dxg::control
