// eu-disassemble FILE: the instructions of FILE, one behind the other, as the decoder of the EU reads them. A
// line is an offset, hexadecimal, and the text, or "!" and the refusal.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <span>
#include <string>

#include "hostsim/work/eu/instruction.h"

int main(int argc, char** argv) {
  using namespace dxg::hostsim::eu;
  std::ifstream file(argc == 2 ? argv[1] : "", std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "usage: eu-disassemble FILE\n");
    return 2;
  }
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto code = std::as_bytes(std::span(bytes));
  for (size_t at = 0; at + kCompactInstructionBytes <= code.size();) {
    auto decoded = Decode(code.subspan(at));
    const std::string text = decoded.ok() ? Disassemble(*decoded) : "!" + decoded.status().why();
    std::printf("%zx %s\n", at, text.c_str());
    at += static_cast<uint8_t>(code[at + 3]) >> 5 & 1 ? kCompactInstructionBytes : kInstructionBytes;
  }
}
