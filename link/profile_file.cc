#include "link/profile_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/unique_fd.h"

namespace dxg {
namespace {

// The host reads the text again, and complains.
class NoErrors : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int, int, const std::string&) override {}
};

std::string ErrorText() { return std::strerror(errno); }

// Reads a file in the profile's folder or below it. No link is followed, so that it stays there; nothing but
// a regular file is opened to the end, so that it ends.
void ReadBeside(const std::string& folder, const std::string& name, size_t bytes_max,
                ControlRequest::AddAdapter::File* file) {
  const auto fail = [file](const std::string& why) { file->set_error(why); };
  UniqueFd at(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!at.valid()) return fail(ErrorText());
  if (name.empty() || name.front() == '/' || name.size() > 255)
    return fail("no path relative to the profile's folder");
  for (size_t from = 0; from <= name.size();) {
    const size_t slash = std::min(name.find('/', from), name.size());
    const std::string part = name.substr(from, slash - from);
    if (part.empty() || part == "." || part == "..") return fail("the path may not have '.', '..' or '//'");
    const bool last = slash == name.size();
    const int flags = last ? O_RDONLY | O_NONBLOCK : O_PATH | O_DIRECTORY;
    UniqueFd next(openat(at.get(), part.c_str(), flags | O_NOFOLLOW | O_CLOEXEC));
    if (!next.valid()) return fail(errno == ELOOP ? "is a link, which is not followed" : ErrorText());
    at = std::move(next);
    from = slash + 1;
  }
  struct stat about = {};
  if (fstat(at.get(), &about) != 0) return fail(ErrorText());
  if (!S_ISREG(about.st_mode)) return fail("is no regular file");
  std::string& data = *file->mutable_data();
  data.resize(bytes_max + 1);
  size_t got = 0;
  while (got < data.size()) {
    const ssize_t part = read(at.get(), data.data() + got, data.size() - got);
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) {
      fail(ErrorText());
      break;
    }
    if (part == 0) break;
    got += static_cast<size_t>(part);
  }
  data.resize(got);
  if (got > bytes_max)
    fail(fmt::format("with it the profile and its files have more than {} bytes", kProfileBytesMax));
  if (!file->error().empty()) data.clear();
}

void ReadFiles(const std::string& path, ControlRequest::AddAdapter* wanted) {
  AdapterProfile profile;
  NoErrors nobody;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&nobody);
  parser.SetRecursionLimit(kProfileDepthMax);
  (void)parser.ParseFromString(wanted->text(), &profile);  // what comes before an error is there
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  ForEachFile(&profile, [&](google::protobuf::Message* message, const char* field, const char*) {
    const auto* descriptor = message->GetDescriptor()->FindFieldByName(field);
    const std::string name = message->GetReflection()->GetString(*message, descriptor);
    const bool known = std::any_of(wanted->files().begin(), wanted->files().end(),
                                   [&name](const auto& file) { return file.name() == name; });
    if (known) return;
    ControlRequest::AddAdapter::File* file = wanted->add_files();
    file->set_name(name);
    const size_t bytes = ProfileBytes(*wanted);
    ReadBeside(folder, name, bytes < kProfileBytesMax ? kProfileBytesMax - bytes : 0, file);
  });
}

}  // namespace

size_t ProfileBytes(const ControlRequest::AddAdapter& wanted) {
  constexpr size_t kPerFile = 32;
  size_t bytes = wanted.text().size();
  for (const auto& file : wanted.files())
    bytes += file.name().size() + file.data().size() + file.error().size() + kPerFile;
  return bytes;
}

Status CheckProfileSize(std::string_view text, const std::string& source) {
  if (text.size() <= kProfileBytesMax) return Status::Ok();
  return Status::Refuse(EFBIG, "{}: is larger than {} bytes; a profile is a short text, see docs/profiles.md",
                        source, kProfileBytesMax);
}

Result<std::string> ReadProfileText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kProfileBytesMax + 1, '\0');
  if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) return Status::Refuse(errno, "{}: {}", path, ErrorText());
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.empty()) return Status::Refuse(EINVAL, "{}: is empty; give a profile, see docs/profiles.md", path);
  DXG_TRY(CheckProfileSize(text, path));
  return text;
}

void ForEachFile(AdapterProfile* profile, const FileReference& call) {
  if (profile->has_driver() && !profile->driver().private_data_file().empty())
    call(profile->mutable_driver(), "private_data_file", "private_data");
  for (AdapterProfile::Answer& answer : *profile->mutable_answers()) {
    if (!answer.data_file().empty()) call(&answer, "data_file", "data");
  }
  for (AdapterProfile& adapter : *profile->mutable_adapters()) ForEachFile(&adapter, call);
}

Result<ControlRequest::AddAdapter> ReadProfileFile(const std::string& name, const char* option) {
  ControlRequest::AddAdapter wanted;
  wanted.set_name(name);
  if (!std::ifstream(name)) return wanted;
  Result<std::string> text = ReadProfileText(name);
  if (!text.ok() && !option) return std::move(text).status();
  if (!text.ok()) return Status::Refuse(-text.status().value(), "{} {}", option, text.status().why());
  wanted.set_text(*std::move(text));
  ReadFiles(name, &wanted);
  return wanted;
}

}  // namespace dxg
