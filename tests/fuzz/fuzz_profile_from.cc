// Random records as a recording of which a profile is made: each is taken, or refused with a reason, and what
// is made of them is whole.
#include <google/protobuf/io/coded_stream.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "cuse-dxg/profile/maker.h"
#include "proto/contract/contract.h"
#include "tests/fuzz/fuzz_check.h"

namespace {

using dxg::profile::Samples;

// A host that refuses everything: all that was seen becomes answers.
class Refusing final : public dxg::profile::Trial {
 public:
  Answer Ask(size_t, uint32_t, const std::string&) override { return {-1, {}}; }
};

void Make(const Samples& samples) {
  auto made = dxg::profile::MakeProfile(
      samples, {.from = "random bytes"}, [](const dxg::ControlRequest::AddAdapter& wanted) {
        FUZZ_CHECK(!wanted.text().empty());
        return dxg::Result<std::unique_ptr<dxg::profile::Trial>>(std::make_unique<Refusing>());
      });
  FUZZ_CHECK(made.ok() || !made.status().why().empty());
  FUZZ_CHECK(!made.ok() || !made->text.empty());
}

// False: it is refused, and with it the recording.
bool Add(const dxg::TraceRecord& record, Samples* samples) {
  const dxg::Status added = samples->Add(record);
  FUZZ_CHECK(added.ok() || !added.why().empty());
  return added.ok();
}

// As in a frame of a recording.
void OfItems(const std::string& bytes) {
  Samples samples;
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),  // Safety: bytes
                                            static_cast<int>(bytes.size()));
  for (uint32_t size = 0; in.ReadVarint32(&size);) {
    std::string item_bytes;
    dxg::TraceItem item;
    if (!in.ReadString(&item_bytes, static_cast<int>(std::min<size_t>(size, bytes.size()))) ||
        !item.ParseFromString(item_bytes) || !Add(item.record(), &samples))
      break;
  }
  Make(samples);
}

// Of each call a request, and a reply.
void OfMessages(const std::string& bytes) {
  Samples samples;
  const auto calls = dxg::contract::Calls();
  for (size_t at = 0; at + 3 < bytes.size();) {
    const auto byte = [&](size_t place) { return static_cast<unsigned char>(bytes[at + place]); };
    const size_t asked = byte(1), answered = byte(2);
    dxg::TraceRecord record;
    record.set_pid(7);
    record.mutable_call()->set_code(calls[byte(0) % calls.size()].code);
    at = std::min(at + 3, bytes.size());
    record.mutable_call()->set_request(bytes.substr(at, asked));
    at = std::min(at + asked, bytes.size());
    record.mutable_call()->set_reply(bytes.substr(at, answered));
    at = std::min(at + answered, bytes.size());
    (void)Add(record, &samples);
  }
  Make(samples);
}

// Type, size of the question, question, answer.
void OfAnswers(const std::string& bytes) {
  Samples samples;
  for (size_t at = 0; at + 2 < bytes.size();) {
    const uint32_t type = static_cast<unsigned char>(bytes[at]);
    const size_t size = static_cast<unsigned char>(bytes[at + 1]) % 96 + 1;
    at += 2;
    dxg::profile::Asked asked{type % 3, type % 7 == 0 ? -22 : 0, bytes.substr(at, size), {}};
    asked.question.resize(size);
    at += size;
    asked.answer = bytes.substr(std::min(at, bytes.size()), size);
    at += size;
    samples.AddQuery(type % 2, type % 90, std::move(asked));
  }
  Make(samples);
}

}  // namespace

// The first byte says what the others are.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);  // Safety: bytes
  switch (data[0] % 3) {
    case 0:
      OfItems(bytes);
      break;
    case 1:
      OfMessages(bytes);
      break;
    default:
      OfAnswers(bytes);
  }
  return 0;
}
