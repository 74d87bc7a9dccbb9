#include "cuse-dxg/profile/command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "base/printable.h"
#include "base/unique_fd.h"
#include "cuse-dxg/profile/ask_node.h"
#include "cuse-dxg/profile/maker.h"
#include "link/trace/trace_file.h"
#include "link/trace/trace_reader.h"

namespace dxg::profile {
namespace {

constexpr int kDiffers = 3;

Status Error(const std::string& path) {
  const int error = errno != 0 ? errno : EIO;
  return Status::Refuse(error, "{}: {}", path, std::strerror(error));
}

// The folder of that name, which only this user may fill: in one that others may write, somebody may have put
// a link or a folder of his own there.
Result<UniqueFd> OwnFolder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return Error(path);
  UniqueFd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat found {};
  if (!folder.valid() || fstat(folder.get(), &found) != 0) return Error(path);
  if (found.st_uid != geteuid() || (found.st_mode & 022) != 0)
    return Status::Refuse(EPERM,
                          "{}: it belongs to another user, or others may write there; expected a folder of "
                          "your own (chmod go-w), or name another profile with -o",
                          path);
  return folder;
}

// A file of that name in the folder, and nothing that is elsewhere.
Status WriteInto(int folder, const std::string& name, const std::string& bytes) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
  const UniqueFd file(openat(folder, name.c_str(), kFlags, 0600));
  struct stat found {};
  if (!file.valid() || fstat(file.get(), &found) != 0) return Error(name);
  if (!S_ISREG(found.st_mode) || found.st_uid != geteuid() || found.st_nlink != 1)
    return Status::Refuse(EPERM, "{}: expected a file of your own with no other name; remove it", name);
  if (ftruncate(file.get(), 0) != 0) return Error(name);
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t written = write(file.get(), bytes.data() + at, bytes.size() - at);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return Error(name);
    at += static_cast<size_t>(written);
  }
  return Status::Ok();
}

Status WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  file.close();
  if (file) return Status::Ok();
  const int error = errno != 0 ? errno : EIO;
  return Status::Refuse(error, "{}: {}", path, std::strerror(error));
}

// "here/my" of "here/my.textproto".
std::string Stem(const std::string& path) {
  const size_t slash = path.rfind('/');
  const size_t dot = path.rfind('.');
  return dot == std::string::npos || dot == 0 || (slash != std::string::npos && dot <= slash + 1)
             ? path + ".files"
             : path.substr(0, dot);
}

Result<std::string> ReadRecording(const std::string& path, Samples* samples) {
  using What = trace::TraceReader::What;
  DXG_ASSIGN(const auto reader, trace::TraceReader::Open(path));
  const TraceHeader& header = reader->header();
  if (header.side() == TraceHeader::HOST)
    return Status::Refuse(
        EINVAL, "{}: a recording of host commands; expected one of calls, as of `cuse-dxg run --record`",
        path);
  if (header.redacted())
    return Status::Refuse(
        EINVAL, "{}: its private data is left out (--redact), so answers are not there; record without",
        path);
  for (;;) {
    DXG_ASSIGN(const What what, reader->Next());
    if (what == What::kEnd) break;
    if (what == What::kRecord) DXG_TRY(samples->Add(reader->record()));
  }
  fmt::print(stderr, "{}", reader->EndText());
  std::string from = fmt::format("a recording by {}: {}", header.product(), header.node());
  if (!header.backend().empty()) from += fmt::format(", back-end {}", header.backend());
  if (!header.driver().empty()) from += fmt::format(", {}", header.driver());
  if (!header.machine().empty()) from += fmt::format(", {}", header.machine());
  return from;
}

}  // namespace

Command::Command(CLI::App& app) {
  profile_ =
      app.add_subcommand("profile", "Make a profile of an adapter that programs saw (docs/profiles.md)");
  profile_->require_subcommand(1);
  from_ = profile_->add_subcommand("from", "Make one of a recording, or of what a node answers");
  from_
      ->add_option("SOURCE", source_,
                   "A recording (--record), - for one on stdin; or a node, such as /dev/dxg")
      ->type_name("FILE|NODE")
      ->required();
  from_
      ->add_option("-o,--output", output_,
                   "Write it here, and long answers into the folder of that name beside it (without it: all "
                   "on stdout)")
      ->type_name("PROFILE");
  from_
      ->add_option(
          "--base", base_,
          "A built-in profile that says what is not known: how the driver reads private data, what its "
          "engines run")
      ->type_name("NAME");
  from_->footer(
      "A node is asked every published question, and makes no device. What only the vendor's library asks is "
      "in a recording of\n"
      "a program that uses it. What nobody knows is said at the head of the profile.\n"
      "Exit status: 0; 3 if adapters of the profile answer something otherwise than was seen, with a line "
      "for "
      "each on stderr;\n"
      "1 if there is no profile.");
}

int Command::Run(const MakeTrial& make_trial) const {
  auto done = From(make_trial);
  if (done.ok()) return *done;
  fmt::print(stderr, "cuse-dxg profile from: {}\n", done.status().why());
  return 1;
}

Result<std::string> Command::Read(Samples* samples) const {
  if (source_ == "-") return ReadRecording(source_, samples);
  auto node = OpenNode(source_);
  if (!node.ok() && node.status().value() == -ENOTTY) return ReadRecording(source_, samples);
  if (!node.ok()) return std::move(node).status();
  DXG_TRY(AskNode(node->get(), samples));
  return fmt::format("what the node {} answered", source_);
}

Result<int> Command::From(const MakeTrial& make_trial) const {
  Samples samples;
  MakeOptions options{.base = base_};
  DXG_ASSIGN(options.from, Read(&samples));
  if (trace::IsSameFile(output_, source_))
    return Status::Refuse(EINVAL, "-o {}: that is the file to be read; name another one", output_);
  const std::string stem = Stem(output_);
  if (!output_.empty()) options.folder = stem.substr(stem.rfind('/') + 1);
  DXG_ASSIGN(const Made made, MakeProfile(samples, options, make_trial));
  if (output_.empty()) {
    fmt::print("{}", made.text);
  } else {
    DXG_TRY(WriteFile(output_, made.text));
    UniqueFd folder;
    if (!made.files.empty()) {
      DXG_ASSIGN(folder, OwnFolder(stem));
    }
    // Their names are those in the profile, "FOLDER/NAME".
    for (const auto& [name, bytes] : made.files)
      DXG_TRY(WriteInto(folder.get(), name.substr(name.rfind('/') + 1), bytes));
  }
  for (const std::string& what : made.what) fmt::print(stderr, "differs: {}\n", Printable(what));
  return made.different == 0 ? 0 : kDiffers;
}

}  // namespace dxg::profile
