#include "cuse-dxg/attach/library/program.h"

#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <vector>

namespace dxg::attach::library {
namespace {

constexpr const char* kInstead = "'cuse-dxg run --attach=fuse' and 'cuse-dxg serve' serve such programs";
constexpr int kInterpretersMax = 4;      // as the kernel follows scripts
constexpr size_t kHeadersMax = 64;       // of a program; compilers make about a dozen
constexpr size_t kStringsMax = 1 << 20;  // bytes of names of libraries

std::string Find(const std::string& word) {
  if (word.find('/') != std::string::npos) return word;
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/bin:/usr/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    std::string file = (folder.empty() ? "." : folder) + "/" + word;
    if (access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

template <class T>
bool ReadAt(std::ifstream& file, uint64_t offset, T* to, size_t count = 1) {
  file.clear();
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(to),
            static_cast<std::streamsize>(count * sizeof(T)));  // Safety: plain data
  return static_cast<size_t>(file.gcount()) == count * sizeof(T);
}

// The interpreter in a script's first line; empty: it is none.
std::string InterpreterOf(std::ifstream& file) {
  char begin[256] = {};
  file.clear();
  file.seekg(0);
  file.read(begin, sizeof(begin) - 1);
  if (begin[0] != '#' || begin[1] != '!') return "";
  std::istringstream line(std::string(begin + 2));
  std::string interpreter;
  line >> interpreter;
  return interpreter;
}

// The names of libraries that a program needs.
std::vector<std::string> Needed(std::ifstream& file, const std::vector<Elf64_Phdr>& headers) {
  std::vector<Elf64_Dyn> entries;
  for (const Elf64_Phdr& header : headers) {
    if (header.p_type != PT_DYNAMIC || header.p_filesz > kStringsMax) continue;
    entries.resize(header.p_filesz / sizeof(Elf64_Dyn));
    if (!ReadAt(file, header.p_offset, entries.data(), entries.size())) return {};
  }
  uint64_t strings_at = 0, strings_size = 0;
  for (const Elf64_Dyn& entry : entries) {
    if (entry.d_tag == DT_STRTAB) strings_at = entry.d_un.d_ptr;
    if (entry.d_tag == DT_STRSZ) strings_size = entry.d_un.d_val;
  }
  std::string strings;
  for (const Elf64_Phdr& header : headers) {
    if (header.p_type != PT_LOAD || strings_at < header.p_vaddr ||
        strings_at - header.p_vaddr >= header.p_filesz || strings_size > kStringsMax)
      continue;
    strings.resize(strings_size);
    if (!ReadAt(file, header.p_offset + (strings_at - header.p_vaddr), strings.data(), strings.size()))
      return {};
  }
  std::vector<std::string> names;
  for (const Elf64_Dyn& entry : entries) {
    if (entry.d_tag == DT_NEEDED && entry.d_un.d_val < strings.size())
      names.emplace_back(strings.c_str() + entry.d_un.d_val);
  }
  return names;
}

std::optional<Elf64_Half> OurMachine() {
  std::ifstream self("/proc/self/exe", std::ios::binary);
  Elf64_Ehdr header;
  return ReadAt(self, 0, &header) ? std::optional(header.e_machine) : std::nullopt;
}

Result<Program> LookAtElf(const std::string& path, std::ifstream& file) {
  Elf64_Ehdr header;
  Program program;
  if (!ReadAt(file, 0, &header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return program;
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != OurMachine().value_or(header.e_machine))
    return Status::Refuse(
        ENOTSUP,
        "--attach=preload: {} is a program of another architecture than cuse-dxg, whose library "
        "cannot be loaded into it; {}",
        path, kInstead);
  std::vector<Elf64_Phdr> headers(std::min<size_t>(header.e_phnum, kHeadersMax));
  bool has_loader = false;
  if (header.e_phentsize != sizeof(Elf64_Phdr) ||
      !ReadAt(file, header.e_phoff, headers.data(), headers.size()))
    return program;
  for (const Elf64_Phdr& each : headers) has_loader |= each.p_type == PT_INTERP;
  if (!has_loader)
    return Status::Refuse(
        ENOTSUP, "--attach=preload: {} is linked statically, so no library can be loaded into it; {}", path,
        kInstead);
  for (const std::string& name : Needed(file, headers)) {
    for (const char* runtime : {"libasan.so", "libtsan.so", "libclang_rt.asan", "libclang_rt.tsan"})
      if (name.starts_with(runtime)) program.first = name;
  }
  return program;
}

}  // namespace

Result<Program> LookAtProgram(const std::string& word) {
  std::string path = Find(word);
  for (int i = 0; i < kInterpretersMax && !path.empty(); ++i) {
    struct stat info;
    std::ifstream file(path, std::ios::binary);
    if (stat(path.c_str(), &info) != 0 || !file) return Program();
    if ((info.st_mode & S_ISUID) != 0 && info.st_uid != geteuid())
      return Status::Refuse(
          EPERM,
          "--attach=preload: {} runs with its owner's rights (set-user-ID), so the loader takes no "
          "library of ours into it; run it as that user, or use 'cuse-dxg serve'",
          path);
    const std::string interpreter = InterpreterOf(file);
    if (interpreter.empty()) return LookAtElf(path, file);
    path = interpreter;
  }
  return Program();
}

}  // namespace dxg::attach::library
