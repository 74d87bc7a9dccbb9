#include "hostsim/machine/utf16.h"

#include <gtest/gtest.h>

namespace dxg::hostsim {
namespace {

TEST(Utf16, ReplacesIllFormedText) {
  EXPECT_EQ(ToUtf16("a\xFFz"), u"a\uFFFDz");
  EXPECT_EQ(ToUtf16("\xC3"), u"\uFFFD") << "cut short";
  EXPECT_EQ(ToUtf16("\xC0\x80"), u"\uFFFD") << "longer than need be";
  EXPECT_EQ(ToUtf16("\xED\xA0\x80"), u"\uFFFD") << "half a pair";
  EXPECT_EQ(ToUtf8(std::u16string(1, char16_t{0xD800})), "\xEF\xBF\xBD");
}

TEST(Utf16, GoesThereAndBack) {
  const std::string text = "Sim\xC3\xBC \xE2\x82\xAC \xF0\x9F\x98\x80";
  EXPECT_EQ(ToUtf16(text), u"Sim\u00FC \u20AC \U0001F600");
  EXPECT_EQ(ToUtf8(ToUtf16(text)), text);
}

TEST(Utf16, FieldsEndInNul) {
  std::string field(10, 'x');
  PutUtf16(BytesOf(field), 2, 3, "abc");
  EXPECT_EQ(field, std::string("xxa\0b\0\0\0xx", 10)) << "cut, with its NUL, and nothing beside the field";
  EXPECT_EQ(GetUtf16(BytesOf(field), 2, 3), u"ab");
  PutUtf16(BytesOf(field), 2, 3, "");
  EXPECT_EQ(GetUtf16(BytesOf(field), 2, 3), u"");
}

}  // namespace
}  // namespace dxg::hostsim
