// QueryAdapterInfo, whose texts have other characters in the library than in the driver.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "proto/abi/ntstatus.h"
#include "proto/abi/qaitype.h"
#include "tests/dxcore/library.h"

namespace dxg::dxcore {
namespace {

using Bytes = std::vector<uint8_t>;

d3dkmt_queryadapterinfo Question(d3dkmthandle adapter, uint32_t type, Bytes* data) {
  d3dkmt_queryadapterinfo args = {};
  args.adapter = adapter;
  args.type = type;
  args.private_data = Address(data->data());
  args.private_data_size = static_cast<uint32_t>(data->size());
  return args;
}
int32_t Ask(d3dkmthandle adapter, uint32_t type, Bytes* data) {
  auto args = Question(adapter, type, data);
  return Kmt("QueryAdapterInfo", &args);
}
int AskDriver(d3dkmthandle adapter, uint32_t type, Bytes* data) {
  auto args = Question(adapter, type, data);
  return Raw(LX_DXQUERYADAPTERINFO, &args);
}

// The first text in `data` from there on.
template <class Char>
std::wstring Text(const Bytes& data, size_t at) {
  std::wstring text;
  for (Char c; at + sizeof(c) <= data.size(); at += sizeof(c)) {
    std::memcpy(&c, data.data() + at, sizeof(c));
    if (c == 0) break;
    text += static_cast<wchar_t>(c);
  }
  return text;
}

// Sizes here and there, and where the first text begins.
struct TextType {
  uint32_t type;
  size_t bytes, driver_bytes, text;
};
constexpr TextType kTextTypes[] = {
    {KMTQAITYPE_UMDRIVERNAME, 1044, 524, 4},
    {KMTQAITYPE_UMOPENGLINFO, 1048, 528, 0},
    {KMTQAITYPE_ADAPTERREGISTRYINFO, 4160, 2080, 0},
    {KMTQAITYPE_ADAPTERREGISTRYINFO_RENDER, 4160, 2080, 0},
    {KMTQAITYPE_DRIVER_DESCRIPTION, 16384, 8192, 0},
    {KMTQAITYPE_DRIVER_DESCRIPTION_RENDER, 16384, 8192, 0},
    {KMTQAITYPE_QUERY_ADAPTER_UNIQUE_GUID, 160, 80, 0},
    {KMTQAITYPE_NODEMETADATA, 142, 78, 8},
};

bool IsTextType(uint32_t type) {
  for (const TextType& each : kTextTypes) {
    if (each.type == type) return true;
  }
  return type == KMTQAITYPE_QUERYREGISTRY;
}

// Each number of the performance data is another one with the next question.
bool IsMoving(uint32_t type) { return type == KMTQAITYPE_NODEPERFDATA || type == KMTQAITYPE_ADAPTERPERFDATA; }

TEST(QueryAdapterInfo, AllElseIsWhatTheDriverAnswers) {
  for (const d3dkmt_adapterinfo& adapter : EnumAdapters()) {
    for (uint32_t type = 0; type < 90; ++type) {
      if (IsTextType(type)) continue;
      for (const size_t bytes : {0, 1, 4, 8, 12, 24, 28, 40, 56, 64, 132, 260, 4096}) {
        Bytes by_library(bytes), by_driver(bytes);
        const int32_t status = Ask(adapter.adapter_handle, type, &by_library);
        EXPECT_TRUE(IsSame(status, AskDriver(adapter.adapter_handle, type, &by_driver)))
            << type << ", " << bytes;
        if (!IsMoving(type)) {
          EXPECT_EQ(by_library, by_driver) << type << ", " << bytes;
        }
      }
    }
  }
}

TEST(QueryAdapterInfo, TextsAreWide) {
  for (const d3dkmt_adapterinfo& adapter : EnumAdapters()) {
    for (const TextType& of : kTextTypes) {
      Bytes wide(of.bytes, 0), narrow(of.driver_bytes, 0);
      const int32_t status = Ask(adapter.adapter_handle, of.type, &wide);
      ASSERT_TRUE(IsSame(status, AskDriver(adapter.adapter_handle, of.type, &narrow))) << of.type;
      if (status < 0) continue;
      std::wstring expected = Text<char16_t>(narrow, of.text);
      if (const size_t store = expected.find(L"\\FileRepository\\"); store != std::wstring::npos) {
        expected = L"/usr/lib/wsl/drivers/" + expected.substr(store + 16);
        for (wchar_t& c : expected) c = c == L'\\' ? L'/' : c;
      }
      EXPECT_EQ(Text<wchar_t>(wide, of.text), expected) << of.type;
      Bytes shorter(of.bytes - 1), as_the_driver(of.driver_bytes);
      EXPECT_EQ(Ask(adapter.adapter_handle, of.type, &shorter), DXG_STATUS_INVALID_PARAMETER) << of.type;
      EXPECT_EQ(Ask(adapter.adapter_handle, of.type, &as_the_driver), DXG_STATUS_INVALID_PARAMETER)
          << of.type;
    }
  }
}

TEST(QueryAdapterInfo, DescriptionIsTheProfiles) {
  Bytes data(16384);
  ASSERT_EQ(Ask(EnumAdapters().at(0).adapter_handle, KMTQAITYPE_DRIVER_DESCRIPTION, &data),
            DXG_STATUS_SUCCESS);
  EXPECT_EQ(Text<wchar_t>(data, 0), L"SimGPU Discrete");
}

TEST(QueryAdapterInfo, DriversFileIsBelowUsrLibWsl) {
  Bytes data(1044);
  data[0] = 3;  // of D3D12
  ASSERT_EQ(Ask(EnumAdapters().at(0).adapter_handle, KMTQAITYPE_UMDRIVERNAME, &data), DXG_STATUS_SUCCESS);
  EXPECT_EQ(Text<wchar_t>(data, 4), L"/usr/lib/wsl/drivers/simgpu.inf_amd64_0123456789abcdef/libsimgpu.so");
}

TEST(QueryAdapterInfo, EveryNodeHasItsMetadata) {
  Bytes data(142);
  data[0] = 2;
  ASSERT_EQ(Ask(EnumAdapters().at(0).adapter_handle, KMTQAITYPE_NODEMETADATA, &data), DXG_STATUS_SUCCESS);
  Bytes narrow(78);
  narrow[0] = 2;
  ASSERT_EQ(AskDriver(EnumAdapters().at(0).adapter_handle, KMTQAITYPE_NODEMETADATA, &narrow), 0);
  EXPECT_EQ(Text<wchar_t>(data, 8), L"Compute");
  EXPECT_EQ(Bytes(data.begin(), data.begin() + 8), Bytes(narrow.begin(), narrow.begin() + 8));
  EXPECT_EQ(Bytes(data.end() - 6, data.end()), Bytes(narrow.end() - 6, narrow.end()));
}

// D3DDDI_QUERYREGISTRY_INFO of the library.
struct Registry {
  Registry(uint32_t query, const std::wstring& name, uint32_t type, size_t more) : data(1072 + more) {
    Put(0, query);
    std::memcpy(data.data() + 8, name.data(), name.size() * sizeof(wchar_t));
    Put(1048, type);
  }
  void Put(size_t at, uint32_t number) { std::memcpy(data.data() + at, &number, sizeof(number)); }
  uint32_t Get(size_t at) const {
    uint32_t number;
    std::memcpy(&number, data.data() + at, sizeof(number));
    return number;
  }
  uint32_t size() const { return Get(1056); }
  uint32_t status() const { return Get(1060); }
  std::wstring text() const { return Text<wchar_t>(data, 1064); }
  Bytes data;
};
constexpr uint32_t kStorePath = 2, kAdapterKey = 1, kDword = 4, kSz = 1;

// As runtimes ask: for the size, then for the value.
TEST(QueryAdapterInfo, StorePathIsAskedForTwice) {
  const d3dkmthandle adapter = EnumAdapters().at(0).adapter_handle;
  Registry first(kStorePath, L"", 0, 0);
  ASSERT_EQ(Ask(adapter, KMTQAITYPE_QUERYREGISTRY, &first.data), DXG_STATUS_SUCCESS);
  EXPECT_EQ(first.status(), 1u);
  ASSERT_EQ(first.size() % sizeof(wchar_t), 0u);
  Registry second(kStorePath, L"", 0, first.size());
  ASSERT_EQ(Ask(adapter, KMTQAITYPE_QUERYREGISTRY, &second.data), DXG_STATUS_SUCCESS);
  EXPECT_EQ(second.status(), 0u);
  EXPECT_EQ(second.text(), L"/usr/lib/wsl/drivers/simgpu.inf_amd64_0123456789abcdef");
}

// The driver has room for two characters more than the library; nothing may be written behind the buffer.
TEST(QueryAdapterInfo, ValueThatDoesNotFitOverflowsAtEverySize) {
  const d3dkmthandle adapter = EnumAdapters().at(0).adapter_handle;
  for (size_t more = 0; more < 600; more += 4) {
    Registry asked(kStorePath, L"", 0, more);
    asked.data.resize(asked.data.size() + 64, 0xEE);
    auto args = Question(adapter, KMTQAITYPE_QUERYREGISTRY, &asked.data);
    args.private_data_size = static_cast<uint32_t>(1072 + more);
    ASSERT_EQ(Kmt("QueryAdapterInfo", &args), DXG_STATUS_SUCCESS);
    EXPECT_EQ(asked.status(), asked.size() <= 8 + more ? 0u : 1u) << more;
    EXPECT_EQ(Bytes(asked.data.end() - 64, asked.data.end()), Bytes(64, 0xEE)) << more;
  }
}

TEST(QueryAdapterInfo, MissingValueAndShortBuffer) {
  const d3dkmthandle adapter = EnumAdapters().at(0).adapter_handle;
  Registry missing(kAdapterKey, L"NoSuchValue", kDword, 0);
  EXPECT_EQ(Ask(adapter, KMTQAITYPE_QUERYREGISTRY, &missing.data), DXG_STATUS_OBJECT_NAME_INVALID);
  Registry wide_name(kAdapterKey, L"\x1F600", kSz, 0);
  EXPECT_EQ(Ask(adapter, KMTQAITYPE_QUERYREGISTRY, &wide_name.data), DXG_STATUS_INVALID_PARAMETER);
  Bytes too_short(1071);
  EXPECT_EQ(Ask(adapter, KMTQAITYPE_QUERYREGISTRY, &too_short), DXG_STATUS_INVALID_PARAMETER);
}

TEST(QueryAdapterInfo, NullBufferIsAnInvalidParameter) {
  for (const TextType& of : kTextTypes) {
    d3dkmt_queryadapterinfo args = {};
    args.adapter = EnumAdapters().at(0).adapter_handle;
    args.type = of.type;
    args.private_data_size = static_cast<uint32_t>(of.bytes);
    EXPECT_EQ(Kmt("QueryAdapterInfo", &args), DXG_STATUS_INVALID_PARAMETER) << of.type;
  }
}

}  // namespace
}  // namespace dxg::dxcore
