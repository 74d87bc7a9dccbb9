#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/status.h"
#include "cuse-dxg/replay/values.h"
#include "link/trace/trace_reader.h"

namespace dxg::replay {

// An object of a process as a recording or a program that lives knows it: a handle, or a descriptor, and the
// number under which both sides speak of it.
struct Made {
  uint64_t name;  // of a handle: as NameOf has it
  uint32_t object;
};

// Memory of a recorded client that a call names.
struct RecordedMemory {
  uint64_t address, bytes;
  std::string contents;  // empty: only that it is there was recorded
};

// How far a paging queue was when a call began, by the value of its fence.
struct RecordedPaging {
  uint32_t queue;  // the object that its CreatePagingQueue made first
  uint64_t value;
};

// A call that was recorded with what it asked and what it was answered.
struct RecordedCall {
  uint64_t record;  // in the file, from 1
  const contract::CallRow* row;
  uint32_t process, thread;  // of Recording::processes, and of its threads
  int32_t result;
  std::string reason;
  uint64_t begin_ns, end_ns;
  std::string request, reply;              // serialized, as recorded
  std::string question;                    // the request with objects for names, for look-ups
  std::vector<Made> handles, descriptors;  // that its reply names first
  // The pointers that the client had in its struct, as row->addresses has them. Empty: they are not recorded.
  std::vector<uint64_t> addresses;
  bool names_none = false;  // its descriptor is of nothing that a call made
  uint32_t borrowed = 0;    // the object of its descriptor; 0: it has none, or of none
  std::vector<RecordedMemory> memory;
  std::vector<RecordedPaging> paging;  // of the queues of its process

  uint64_t duration_ns() const { return end_ns > begin_ns ? end_ns - begin_ns : 0; }
  std::unique_ptr<Message> Request() const { return Parse(*row->request, request); }
  std::unique_ptr<Message> Reply() const { return Parse(*row->reply, reply); }

 private:
  static std::unique_ptr<Message> Parse(const Message& of, const std::string& bytes) {
    std::unique_ptr<Message> message(of.New());
    (void)message->ParseFromString(bytes);  // it was looked at when it was read
    return message;
  }
};

struct RecordedProcess {
  uint32_t pid = 0;
  std::string name;
  std::vector<uint32_t> threads;          // by first appearance
  std::vector<size_t> calls;              // in the order in which they were answered
  uint64_t opened_ns = 0, closed_ns = 0;  // its first open, and its last close; 0: not known
};

// An object in a question: what stands for a handle, or for a descriptor, which has it in its upper half too.
inline constexpr uint64_t kObjectMark = 0xe0000000, kObjectMask = 0x1fffffff;

// What somebody knows of the objects of one process: which is meant by a name at the moment.
class Objects {
 public:
  void Name(const Made& made) { by_name_[made.name] = made.object; }
  // 0: none.
  uint32_t Of(uint64_t name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? 0 : found->second;
  }
  // Of a handle, which is not 0.
  uint32_t Of(Kind kind, uint64_t number) const {
    const uint32_t object = Of(NameOf(kind, number));
    return object == 0 && kind == Kind::kAdapter ? Of(number) : object;
  }

 private:
  std::unordered_map<uint64_t, uint32_t> by_name_;
};

// The request with objects for names, for comparing it with others. `pid` is the caller's, as in its
// messages; `descriptor` says which object a descriptor of the caller's is of, or 0.
std::string QuestionOf(const contract::CallRow& row, const Message& request, const Objects& handles,
                       uint32_t pid, const std::function<uint32_t(uint64_t)>& descriptor);

// A recording in memory, for a replay.
class Recording {
 public:
  // Of what is kept: a small file may have much.
  static constexpr uint64_t kBytesMax = 4ull << 30;
  // A replay forks a process for each and starts a thread for each.
  static constexpr size_t kProcessesMax = 4096, kThreadsMax = 4096;  // at once; and of a process
  static constexpr size_t kAdaptersMax = 4096;

  // ENOENT and the like: it cannot be read; EINVAL: it is no recording of calls, or damaged; EFBIG.
  static Result<std::unique_ptr<Recording>> Read(trace::TraceReader& reader, const std::string& name);
  static Result<std::unique_ptr<Recording>> Open(const std::string& path);
  // One that is still made, by somebody who lives: nothing is in it yet.
  static std::unique_ptr<Recording> Live(const TraceHeader& header, const std::string& name);
  // The next record of such a one. EINVAL: it is damaged; EFBIG.
  Status Add(const TraceRecord& record, uint64_t number);
  // The call that was added last, which is not kept any longer; none: the record was no question. Its thread
  // has the number that it had, since threads may come and go for ever.
  std::optional<RecordedCall> TakeCall();
  // The process whose last descriptor was closed by the record that was added last.
  std::optional<uint32_t> closed() const { return reading_.closed; }
  // Nothing of that process will be asked any more: what is known of its names is not kept.
  void Forget(uint32_t process);

  const std::string& name() const { return name_; }
  const TraceHeader& header() const { return header_; }
  const std::vector<RecordedCall>& calls() const { return calls_; }
  const std::vector<RecordedProcess>& processes() const { return processes_; }
  const std::vector<TraceAdapter>& adapters() const { return adapters_; }
  uint32_t objects() const { return objects_; }  // how many were made; they are numbered from 1
  // Records that are no question: ioctls that are no call, calls of another process than the one that
  // opened the descriptor, calls that a signal ended, opens that were refused.
  uint64_t left_out() const { return left_out_; }
  const std::string& end_text() const { return end_text_; }  // what is to be said of a file that was cut

 private:
  explicit Recording(std::string name) : name_(std::move(name)) {}
  // Counts memory; EFBIG: it is too much.
  Status Keep(uint64_t bytes);
  Status AddCall(const TraceRecord& record, uint64_t number, const contract::CallRow& row);
  void SeeEvent(const TraceRecord& record);
  void SeePaging(const RecordedCall& call, const Message& request, const Message& reply);
  Result<uint32_t> ProcessOf(uint32_t pid);
  Result<uint32_t> ThreadOf(uint32_t process, uint32_t tid);
  Result<uint32_t> NewProcess(uint32_t pid, std::string name);

  // A program sees in the page of a queue's fence how far its paging is, without a call. Where the recording
  // has no events of fences, what was asked for is taken as done.
  struct Paging {
    uint32_t device, queue, object;                   // handles, and the object
    std::vector<std::pair<uint64_t, uint64_t>> then;  // when the fence got which value; the last ones
    void Reach(uint64_t value, uint64_t at_ns);
    uint64_t ValueAt(uint64_t ns) const;  // a call that ends now may have begun long ago
  };

  struct Reading {
    std::unordered_map<uint32_t, uint32_t> process_of_pid;
    std::unordered_map<uint32_t, uint64_t> open_files;                  // by process
    std::vector<Objects> handles, descriptors;                          // by process
    std::vector<std::unordered_map<uint32_t, uint32_t>> thread_of_tid;  // by process
    std::vector<std::unordered_map<uint32_t, Paging>> paging;           // by process; by the fence's handle
    bool has_fences = false;                                            // events of fences
    Objects any_descriptor;                                             // of whichever process
    // The first descriptor of what has that number in the recording; and the numbers of all, by object.
    std::unordered_map<uint64_t, uint32_t> shared_objects;
    std::unordered_map<uint32_t, uint64_t> shared_numbers;
    size_t live_processes = 0;
    bool live = false;  // it is still made
    std::optional<uint32_t> closed;
    uint32_t last_descriptor = 0;  // the object of the last that was given
    uint32_t objects = 0;
    uint64_t bytes = 0;
  };

  const std::string name_;
  TraceHeader header_;
  std::vector<RecordedCall> calls_;
  std::vector<RecordedProcess> processes_;
  std::vector<TraceAdapter> adapters_;
  uint32_t objects_ = 0;
  uint64_t left_out_ = 0;
  std::string end_text_;
  Reading reading_;
};

}  // namespace dxg::replay
