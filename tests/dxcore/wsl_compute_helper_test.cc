#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

namespace dxg {
namespace {

constexpr uint32_t kAdapterInfo = 1, kCreateContext = 33, kCommandBuffer = 48, kPartitions = 135;

// The library as Intel's runtime takes it.
class WslComputeHelper : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(library_, nullptr) << dlerror();
    Find("getVersion", &version);
    Find("getSizeRequiredForStruct", &struct_bytes);
    Find("getSizeRequiredForTokens", &token_bytes);
    Find("tokensToStruct", &to_struct);
    Find("structToTokens", &to_tokens);
    Find("destroyStructRepresentation", &destroy);
  }
  void TearDown() override {
    if (library_) dlclose(library_);
  }

  uint64_t (*version)();
  size_t (*struct_bytes)(uint32_t);
  size_t (*token_bytes)(uint32_t);
  bool (*to_struct)(uint32_t, void*, size_t, const void*, const void*);
  bool (*to_tokens)(uint32_t, void*, size_t, const void*, size_t);
  void (*destroy)(uint32_t, void*, size_t);

 private:
  template <class Function>
  void Find(const char* name, Function* function) {
    *function = reinterpret_cast<Function>(dlsym(library_, name));
    ASSERT_NE(*function, nullptr) << name;
  }
  void* const library_ = dlopen(DXG_WSL_LIBRARIES "/libwsl_compute_helper.so", RTLD_NOW | RTLD_LOCAL);
};

std::vector<uint8_t> Numbers(size_t bytes) {
  std::vector<uint8_t> numbers(bytes);
  std::iota(numbers.begin(), numbers.end(), uint8_t{1});
  return numbers;
}

TEST_F(WslComputeHelper, SaysASizeForWhatIsExchanged) {
  EXPECT_EQ(version(), 1u);
  EXPECT_EQ(struct_bytes(kCommandBuffer), 120u);
  EXPECT_EQ(struct_bytes(kCreateContext), 144u);
  EXPECT_EQ(struct_bytes(0), 0u);
  EXPECT_EQ(struct_bytes(2), 0u);
  for (uint32_t id = 0; id < 256; ++id) EXPECT_EQ(struct_bytes(id), token_bytes(id)) << id;
}

TEST_F(WslComputeHelper, TokensComeBackAsTheyWere) {
  for (const uint32_t id : {1u, 7u, 33u, 48u, 135u}) {
    const auto tokens = Numbers(token_bytes(id));
    std::vector<uint8_t> structure(struct_bytes(id)), back(token_bytes(id));
    ASSERT_TRUE(
        to_struct(id, structure.data(), structure.size(), tokens.data(), tokens.data() + tokens.size()));
    ASSERT_TRUE(to_tokens(id, back.data(), back.size(), structure.data(), structure.size()));
    EXPECT_EQ(back, tokens) << id;
    destroy(id, structure.data(), structure.size());
  }
}

TEST_F(WslComputeHelper, FewerTokensOfAnOlderRuntimeAreFollowedByZeros) {
  const auto tokens = Numbers(84);
  std::vector<uint8_t> structure(144, 0xEE);
  ASSERT_TRUE(
      to_struct(kCreateContext, structure.data(), structure.size(), tokens.data(), tokens.data() + 84));
  EXPECT_EQ(0, std::memcmp(structure.data(), tokens.data(), 84));
  EXPECT_EQ(std::vector<uint8_t>(structure.begin() + 84, structure.end()), std::vector<uint8_t>(60, 0));
}

// Of an escape the runtime announces more than there is.
TEST_F(WslComputeHelper, NothingIsWrittenBehindTheStructure) {
  const auto tokens = Numbers(struct_bytes(kPartitions));
  std::vector<uint8_t> structure(struct_bytes(kPartitions) + 16, 0xEE);
  ASSERT_TRUE(to_struct(kPartitions, structure.data(), structure.size(), tokens.data(),
                        tokens.data() + tokens.size()));
  EXPECT_EQ(std::vector<uint8_t>(structure.end() - 16, structure.end()), std::vector<uint8_t>(16, 0xEE));
}

TEST_F(WslComputeHelper, RefusesWhatDoesNotFit) {
  const auto tokens = Numbers(struct_bytes(kCommandBuffer) + 4);
  std::vector<uint8_t> out(struct_bytes(kAdapterInfo), 0xEE);
  EXPECT_FALSE(
      to_struct(kCommandBuffer, out.data(), out.size(), tokens.data(), tokens.data() + tokens.size()));
  EXPECT_FALSE(to_struct(kCommandBuffer, out.data(), 119, tokens.data(), tokens.data() + 120));
  EXPECT_FALSE(to_struct(2, out.data(), out.size(), tokens.data(), tokens.data() + 4));
  EXPECT_FALSE(to_tokens(2, out.data(), out.size(), tokens.data(), 4));
  EXPECT_FALSE(to_tokens(kCommandBuffer, out.data(), 119, tokens.data(), 120));
  EXPECT_EQ(out, std::vector<uint8_t>(out.size(), 0xEE));
}

}  // namespace
}  // namespace dxg
