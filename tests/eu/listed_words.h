#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

namespace dxg::hostsim::eu {

using Words = std::array<uint64_t, 2>;

// The instructions of vectors.txt by their texts.
inline const std::map<std::string, Words>& ListedWords() {
  static const std::map<std::string, Words> list = [] {
    std::map<std::string, Words> words;
    std::ifstream file(DXG_EU_VECTOR_LIST);
    EXPECT_TRUE(file) << "no file " DXG_EU_VECTOR_LIST;
    for (std::string line; std::getline(file, line);) {
      std::istringstream row(line);
      Words one{};
      row >> std::hex >> one[0] >> one[1];
      std::string text;
      std::getline(row >> std::ws, text);
      words[text] = one;
    }
    return words;
  }();
  return list;
}

}  // namespace dxg::hostsim::eu
