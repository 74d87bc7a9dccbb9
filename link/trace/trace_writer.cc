#include "link/trace/trace_writer.h"

#include <google/protobuf/io/coded_stream.h>

#include <cerrno>
#include <cstring>

namespace dxg::trace {

using google::protobuf::io::CodedOutputStream;

void AppendItem(const TraceItem& item, std::string* bytes) {
  const size_t size = item.ByteSizeLong();
  const size_t before = bytes->size();
  bytes->resize(before + CodedOutputStream::VarintSize64(size) + size);
  auto* to = reinterpret_cast<uint8_t*>(bytes->data() + before);  // Safety: bytes
  item.SerializeWithCachedSizesToArray(CodedOutputStream::WriteVarint64ToArray(size, to));
}

void Batch::Add(const TraceItem& item) {
  const size_t before = bytes.size();
  items.push_back({0, item.lost().records(), item.record().begin_ns()});
  try {
    AppendItem(item, &bytes);
  } catch (const std::bad_alloc&) {
    items.pop_back();
    throw;
  }
  items.back().bytes = static_cast<uint32_t>(bytes.size() - before);
}

TraceWriter::TraceWriter(Sink& sink) : sink_(sink), compressor_(ZSTD_createCCtx(), ZSTD_freeCCtx) {}

Result<std::unique_ptr<TraceWriter>> TraceWriter::Begin(Sink& sink, const TraceHeader& header) {
  std::unique_ptr<TraceWriter> writer(new TraceWriter(sink));
  if (writer->compressor_ == nullptr) return Status::Refuse(ENOMEM, "--record: no memory to compress with");
  constexpr int kLevel = 1;  // beside clients that use the processor
  ZSTD_CCtx_setParameter(writer->compressor_.get(), ZSTD_c_compressionLevel, kLevel);
  ZSTD_CCtx_setParameter(writer->compressor_.get(), ZSTD_c_checksumFlag, 1);
  TraceItem item;
  *item.mutable_header() = header;
  std::string bytes;
  AppendItem(item, &bytes);
  DXG_TRY(writer->AppendFrame(bytes));
  writer->totals_offset_ = writer->offset_ + kSkippableHeadBytes;
  DXG_TRY(writer->AppendSkippable(kTotalsMagic, writer->Totals(false)));
  return writer;
}

Status TraceWriter::Write(const Batch& batch) {
  Status first;
  const char* at = batch.bytes.data();
  const uint64_t lost_before = lost_;
  for (size_t i = 0; i < batch.items.size();) {
    size_t bytes = 0;
    uint64_t records = 0, lost = 0, begin_ns = 0;
    for (; i < batch.items.size() && (bytes == 0 || bytes + batch.items[i].bytes <= kFrameBytesWanted); ++i) {
      const Batch::Item& item = batch.items[i];
      if (item.lost == 0 && records++ == 0) begin_ns = item.begin_ns;
      lost += item.lost;
      bytes += item.bytes;
    }
    lost_ += lost;
    Status written = SayWhatIsLost();
    if (written.ok()) written = AppendFrame({at, bytes});
    at += bytes;
    if (written.ok()) {
      if (records != 0) Enter(records_, begin_ns);
      records_ += records;
      continue;
    }
    lost_ += records;
    unsaid_ += lost + records;
    if (first.ok()) first = std::move(written);
  }
  if (lost_ == lost_before) return first;
  const Status said = WriteTotals(false);
  return first.ok() ? said : first;
}

Status TraceWriter::Close() {
  Status first = SayWhatIsLost();
  const Status closed = WriteTotals(true);
  if (first.ok()) first = closed;
  const Status indexed = AppendSkippable(kIndexMagic, index_.SerializeAsString());
  return first.ok() ? indexed : first;
}

Status TraceWriter::SayWhatIsLost() {
  if (unsaid_ == 0) return Status::Ok();
  TraceItem item;
  item.mutable_lost()->set_records(unsaid_);
  std::string bytes;
  AppendItem(item, &bytes);
  DXG_TRY(AppendFrame(bytes));
  unsaid_ = 0;
  return Status::Ok();
}

// In the index; where that is full, every second one of it is left out.
void TraceWriter::Enter(uint64_t record, uint64_t begin_ns) {
  if (frames_++ % stride_ != 0) return;
  if (index_.frames_size() == static_cast<int>(kIndexFramesMax)) {
    for (int i = 0; i < index_.frames_size() / 2; ++i) index_.mutable_frames()->SwapElements(i, 2 * i);
    index_.mutable_frames()->DeleteSubrange(index_.frames_size() / 2, index_.frames_size() / 2);
    stride_ *= 2;
  }
  TraceIndex::Frame* const frame = index_.add_frames();
  frame->set_offset(frame_offset_);
  frame->set_record(record);
  frame->set_begin_ns(begin_ns);
}

Status TraceWriter::AppendFrame(std::span<const char> bytes) {
  try {
    frame_.resize(ZSTD_compressBound(bytes.size()));
  } catch (const std::bad_alloc&) {
    return Status::Refuse(ENOMEM, "no memory to compress with");
  }
  const size_t size =
      ZSTD_compress2(compressor_.get(), frame_.data(), frame_.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(size)) return Status::Refuse(ENOMEM, "cannot compress: {}", ZSTD_getErrorName(size));
  DXG_TRY(sink_.Append({frame_.data(), size}));
  frame_offset_ = offset_;
  offset_ += size;
  return Status::Ok();
}

Status TraceWriter::AppendSkippable(uint32_t magic, const std::string& content) {
  const auto length = static_cast<uint32_t>(content.size());
  std::vector<std::byte> frame(kSkippableHeadBytes + content.size());
  std::memcpy(frame.data(), &magic, sizeof(magic));  // little-endian, as zstd has it
  std::memcpy(frame.data() + sizeof(magic), &length, sizeof(length));
  if (!content.empty()) std::memcpy(frame.data() + kSkippableHeadBytes, content.data(), content.size());
  DXG_TRY(sink_.Append(frame));
  offset_ += frame.size();
  return Status::Ok();
}

Status TraceWriter::WriteTotals(bool closed) {
  const std::string totals = Totals(closed);
  return sink_.Overwrite(totals_offset_, std::as_bytes(std::span(totals)));
}

std::string TraceWriter::Totals(bool closed) const {
  TraceTotals totals;
  totals.set_records(records_);
  totals.set_lost(lost_);
  totals.set_closed(closed ? 1 : 0);
  std::string bytes = totals.SerializeAsString();
  DXG_CHECK(bytes.size() == kTotalsBytes);
  return bytes;
}

}  // namespace dxg::trace
