#include "cuse-dxg/profile/maker.h"

#include <fmt/format.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <initializer_list>

#include "base/printable.h"
#include "cuse-dxg/profile/answers.h"
#include "cuse-dxg/profile/facts.h"
#include "link/profile_file.h"

namespace dxg::profile {
namespace {

constexpr size_t kInTextMax = 256;  // bytes of an answer that are read in the text itself

std::string NameFrom(const std::string& description) {
  constexpr size_t kNameMax = 40;
  std::string name;
  for (const unsigned char c : description) {
    if (name.size() == kNameMax) break;
    if (c < 0x80 && std::isalnum(c) != 0) {
      name += static_cast<char>(std::tolower(c));
    } else if (!name.empty() && name.back() != '-') {
      name += '-';
    }
  }
  while (!name.empty() && name.back() == '-') name.pop_back();
  return name.empty() ? "recorded" : name;
}

// Numbers that people know in hexadecimal.
class Hex final : public google::protobuf::TextFormat::FastFieldValuePrinter {
 public:
  using Generator = google::protobuf::TextFormat::BaseTextGenerator;
  void PrintUInt32(uint32_t value, Generator* generator) const override { Print(value, generator); }
  void PrintUInt64(uint64_t value, Generator* generator) const override { Print(value, generator); }

 private:
  static void Print(uint64_t value, Generator* generator) {
    generator->PrintString(value < 10 ? fmt::format("{}", value) : fmt::format("{:#x}", value));
  }
};

void PrintInHex(const google::protobuf::Descriptor* message, std::initializer_list<const char*> fields,
                google::protobuf::TextFormat::Printer* printer) {
  for (const char* const field : fields)
    printer->RegisterFieldValuePrinter(message->FindFieldByName(field), new Hex);  // which the printer owns
}

std::string Print(const AdapterProfile& profile) {
  google::protobuf::TextFormat::Printer printer;
  PrintInHex(AdapterProfile::descriptor(), {"luid"}, &printer);
  PrintInHex(AdapterProfile::Pci::descriptor(), {"vendor", "device", "subvendor", "subsystem", "revision"},
             &printer);
  PrintInHex(AdapterProfile::Memory::descriptor(),
             {"dedicated_video_bytes", "dedicated_system_bytes", "shared_system_bytes", "non_budget_bytes"},
             &printer);
  printer.SetUseUtf8StringEscaping(true);
  printer.SetUseShortRepeatedPrimitives(true);
  std::string text;
  printer.PrintToString(profile, &text);
  return text;
}

// Of parts that nothing is known of.
void ClearEmpty(AdapterProfile* profile) {
  const auto* const reflection = AdapterProfile::GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection->ListFields(*profile, &fields);
  for (const auto* const field : fields) {
    if (field->message_type() == nullptr || field->is_repeated()) continue;
    if (reflection->GetMessage(*profile, field).ByteSizeLong() == 0) reflection->ClearField(profile, field);
  }
}

// Takes what is long out of the text.
void MoveToFiles(const std::string& folder, const std::string& prefix, AdapterProfile* profile, Made* made) {
  if (folder.empty()) return;
  size_t number = 0;
  for (AdapterProfile::Answer& answer : *profile->mutable_answers()) {
    ++number;
    if (answer.data().size() <= kInTextMax) continue;
    const std::string name =
        fmt::format("{}/{}type-{}-{}-{}.bin", folder, prefix, answer.type(), answer.bytes(), number);
    made->files.emplace_back(name, std::move(*answer.mutable_data()));
    answer.clear_data();
    answer.set_data_file(name);
  }
}

ControlRequest::AddAdapter Wanted(const Made& made) {
  ControlRequest::AddAdapter wanted;
  wanted.set_name("the made profile");
  wanted.set_text(made.text);
  for (const auto& [name, bytes] : made.files) {
    ControlRequest::AddAdapter::File* const file = wanted.add_files();
    file->set_name(name);
    file->set_data(bytes);
  }
  return wanted;
}

class Maker {
 public:
  Maker(const Samples& samples, const MakeOptions& options, const MakeTrial& make_trial)
      : seen_(samples.adapters()), options_(options), make_trial_(make_trial) {
    if (samples.left_out() != 0)
      notes_.push_back(fmt::format("{} answers were left out: more of one kind than can be compared.",
                                   samples.left_out()));
  }

  Result<Made> Make() {
    if (seen_.empty())
      return Status::Refuse(
          ENOENT, "no program asked an adapter anything there; record one that does, or ask a node");
    for (const AdapterSeen& seen : seen_) {
      notes_of_.emplace_back();
      AdapterProfile profile = FactsOf(seen, !options_.base.empty(), &notes_of_.back());
      LearnDriverModel(seen, !options_.base.empty(), &profile, &notes_of_.back());
      ClearEmpty(&profile);
      profiles_.push_back(std::move(profile));
    }
    DXG_ASSIGN(Made made, Put());
    DXG_ASSIGN(auto trial, make_trial_(Wanted(made)));
    // Answers of its own take the place of all that a base has, so what those said is looked at again.
    constexpr int kRoundsMax = 3;
    for (int round = 0; round < kRoundsMax; ++round) {
      size_t added = 0;
      for (size_t i = 0; i < seen_.size(); ++i)
        added += AddAnswers(seen_[i], *trial, i, &profiles_[i], &notes_of_[i]);
      if (added == 0) break;
      DXG_ASSIGN(made, Put());
      DXG_ASSIGN(trial, make_trial_(Wanted(made)));
    }
    for (size_t i = 0; i < seen_.size(); ++i) {
      const Compared compared = Compare(seen_[i], *trial, i);
      made.same += compared.same;
      made.different += compared.different;
      for (const std::string& what : compared.what) {
        made.what.push_back(what);
        notes_of_[i].push_back(fmt::format("Otherwise than it was seen, {}.", what));
      }
    }
    if (made.different == 0) return made;
    std::vector<std::string> what = std::move(made.what);
    const size_t same = made.same, different = made.different;
    DXG_ASSIGN(made, Put());
    made.what = std::move(what), made.same = same, made.different = different;
    return made;
  }

 private:
  // The profile as it is now. Where it would be larger than a profile may be, the largest answers are left
  // out.
  Result<Made> Put() {
    for (;;) {
      Made made;
      made.text = Text(&made);
      const size_t bytes = ProfileBytes(Wanted(made));
      if (bytes <= kProfileBytesMax) return made;
      if (!LeaveOutLargest())
        return Status::Refuse(EFBIG,
                              "what was seen of {} adapters makes a profile of {} bytes, which may have {}; "
                              "record a program that asks less",
                              seen_.size(), bytes, kProfileBytesMax);
    }
  }

  bool LeaveOutLargest() {
    AdapterProfile* of = nullptr;
    size_t number = 0, largest = 0;
    int which = -1;
    for (size_t i = 0; i < profiles_.size(); ++i) {
      for (int k = 0; k < profiles_[i].answers_size(); ++k) {
        const size_t bytes = profiles_[i].answers(k).ByteSizeLong();
        if (bytes > largest) of = &profiles_[i], number = i, largest = bytes, which = k;
      }
    }
    if (of == nullptr) return false;
    notes_of_[number].push_back(
        fmt::format("Type {} with {} bytes: its answer was left out, because a profile has at "
                    "most {} bytes.",
                    of->answers(which).type(), of->answers(which).bytes(), kProfileBytesMax));
    of->mutable_answers()->DeleteSubrange(which, 1);
    return true;
  }

  std::string Text(Made* made) const {
    const bool one = profiles_.size() == 1;
    AdapterProfile whole = one ? profiles_.front() : AdapterProfile();
    const std::string first = profiles_.front().description();
    whole.set_name(!options_.name.empty() ? options_.name : NameFrom(first));
    if (!options_.base.empty()) whole.set_base(options_.base);
    if (one) {
      MoveToFiles(options_.folder, "", &whole, made);
    } else {
      whole.set_description(first);
      for (size_t i = 0; i < profiles_.size(); ++i) {
        AdapterProfile* const adapter = whole.add_adapters();
        *adapter = profiles_[i];
        MoveToFiles(options_.folder, fmt::format("adapter-{}-", i), adapter, made);
      }
    }
    return Head() + Print(whole);
  }

  std::string Head() const {
    std::string head = fmt::format("# Made by `cuse-dxg profile from`, of {}.\n", Printable(options_.from));
    head +=
        "# Fields are what was answered; `answers` has what does not follow from them. docs/profiles.md\n";
    const auto add = [&head](const Notes& notes) {
      for (const std::string& note : notes) head += fmt::format("# - {}\n", Printable(note));
    };
    add(notes_);
    for (size_t i = 0; i < seen_.size(); ++i) {
      head += fmt::format("#\n# Adapter {:08x}-{:08x}:\n", seen_[i].luid >> 32, seen_[i].luid & 0xffffffff);
      add(notes_of_[i]);
    }
    return head + "\n";
  }

  const std::vector<AdapterSeen>& seen_;
  const MakeOptions& options_;
  const MakeTrial& make_trial_;
  Notes notes_;
  std::vector<AdapterProfile> profiles_;
  std::vector<Notes> notes_of_;
};

}  // namespace

Result<Made> MakeProfile(const Samples& samples, const MakeOptions& options, const MakeTrial& make_trial) {
  return Maker(samples, options, make_trial).Make();
}

}  // namespace dxg::profile
