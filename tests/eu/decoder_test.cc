#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <sstream>

#include "hostsim/work/eu/instruction.h"

// Instructions as bytes. That all of them are read as Intel's assembler does is another test's (decoder.py);
// these need no tool.

namespace dxg::hostsim::eu {
namespace {

Result<Instruction> DecodeWords(std::initializer_list<uint64_t> words) {
  return Decode(std::as_bytes(std::span(words.begin(), words.size())));
}

std::string Refusal(std::initializer_list<uint64_t> words) {
  const Result<Instruction> decoded = DecodeWords(words);
  return decoded.ok() ? "decoded" : decoded.status().why();
}

// compact.txt: 64 bits and their text, as the assembler reads what its compiler made: a line for each row of
// the tables of compact instructions that the kernels of kernels.cl use.
TEST(Decoder, ReadsCompactInstructions) {
  std::ifstream file(DXG_EU_COMPACT);
  ASSERT_TRUE(file);
  int count = 0;
  for (std::string line; std::getline(file, line); ++count) {
    const uint64_t word = std::stoull(line.substr(0, 16), nullptr, 16);
    auto decoded = DecodeWords({word});
    ASSERT_TRUE(decoded.ok()) << line << ": " << decoded.status().why();
    EXPECT_EQ(decoded->size_bytes, kCompactInstructionBytes);
    EXPECT_EQ(Disassemble(*decoded), line.substr(17));
  }
  EXPECT_GT(count, 60);
}

TEST(Decoder, NeedsWholeInstructions) {
  EXPECT_EQ(Refusal({}), "0 bytes; expected an instruction of 8 or 16");
  EXPECT_EQ(Refusal({0x2805022000040061}), "8 bytes; expected an instruction of 16");
  EXPECT_EQ(Refusal({0x2805022000040061, 0x0000000000460a05}), "decoded");
}

TEST(Decoder, NamesWhatItDoesNotKnow) {
  EXPECT_EQ(Refusal({0x02, 0}), "there is no operation 0x2");
  EXPECT_EQ(Refusal({0x2020002e, 0}), "goto has no compact form");
  EXPECT_EQ(Refusal({0x2805022000060061, 0x0000000000460a05}), "execution size 6 is not known");
  EXPECT_EQ(Refusal({0x2805028000040061, 0x0000000000460a05}), "type 8 is not known");
  EXPECT_EQ(Refusal({0x2805022000040061, 0x0000000000760a05}), "vertical stride 7 is not known");
  EXPECT_EQ(Refusal({0x280502200e040061, 0x0000000000460a05}), "predicate 14 is not known");
  EXPECT_EQ(Refusal({0x8005022000040061, 0x0000000000460a05}), "there is no register r128");
  EXPECT_EQ(Refusal({0x280d022000040061, 0x0000000000460a05}),
            "subregister at byte 1 is not aligned to its type of 4 bytes");
  EXPECT_EQ(Refusal({0x2805022000041061, 0x0000000000460a05}), "wait 0x10 is not known");
  EXPECT_EQ(Refusal({0x2805022400040064, 0x0000000000460a05}), "not does not saturate");
}

}  // namespace
}  // namespace dxg::hostsim::eu
