// Random text as what the bpftrace script captured, and random items as a recording of which a profile is
// made: each is taken, or refused with a reason, and what is made of it is whole.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "cuse-dxg/profile/maker.h"
#include "cuse-dxg/trace/vmbus_capture.h"
#include "tests/fuzz/fuzz_check.h"

namespace {

using dxg::Status;

void Convert(std::string text) {
  size_t records = 0;
  dxg::trace::VmbusCapture capture([&](const dxg::TraceItem& item) {
    FUZZ_CHECK(item.has_lost() || item.record().has_host_command());
    ++records;
    return Status::Ok();
  });
  std::FILE* const file = fmemopen(text.data(), text.size(), "r");
  FUZZ_CHECK(capture.Read(file).ok());
  std::fclose(file);
  FUZZ_CHECK(capture.not_understood() == 0 || capture.first_not_understood() != 0);
}

// A host that refuses everything: all that was seen becomes answers.
class Refusing final : public dxg::profile::Trial {
 public:
  Answer Ask(size_t, uint32_t, const std::string&) override { return {-1, {}}; }
};

void MakeProfile(const std::string& bytes) {
  dxg::profile::Samples samples;
  dxg::TraceRecord record;
  if (record.ParseFromString(bytes)) (void)samples.Add(record);
  // The same bytes as answers: type, size of the question, question, answer.
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
  const auto made = dxg::profile::MakeProfile(
      samples, {.from = "random bytes"}, [](const dxg::ControlRequest::AddAdapter& wanted) {
        FUZZ_CHECK(!wanted.text().empty());
        return dxg::Result<std::unique_ptr<dxg::profile::Trial>>(std::make_unique<Refusing>());
      });
  FUZZ_CHECK(made.ok() || !made.status().why().empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data), size);  // Safety: any bytes are chars
  Convert(bytes);
  Convert("> ffff 40 1 type 6 flags 1 " + bytes + "\n< ffff 24 " + bytes);
  MakeProfile(bytes);
  return 0;
}
