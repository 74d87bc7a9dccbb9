#pragma once

#include <string_view>

// Words of refusals by which a replay knows what a recorded client lacked: its errno does not say. A
// recording has reasons as its node said them. tests/rules/check.py `reasons` looks whether our node says
// them still; where it does not, the replay would give the client what it did not have.

namespace dxg::replay::reasons {

// "private_data at 0x1000 cannot be read (4 bytes)", "the argument, allocation_info at 0x2ee0, or private
// data of an element cannot be written".
inline constexpr std::string_view kNotReadable = " cannot be read", kNotWritable = " cannot be written";
inline constexpr std::string_view kBefore = " at ";  // an address
// Of the client's own memory.
inline constexpr std::string_view kNotAllThere = "the caller's memory at ";
inline constexpr std::string_view kHasNoPages = " which has no pages of the caller's";
inline constexpr std::string_view kNotOnAPage = " does not begin on a page of ";
inline constexpr std::string_view kHeapNotOnAPage =
    "an existing heap needs memory of the caller that begins ";
// Of its descriptors and mappings.
inline constexpr std::string_view kNoEventfd = " is no eventfd";
inline constexpr std::string_view kNoDescriptor = "cannot copy descriptor ";
inline constexpr std::string_view kTooManyFiles = "the client has too many open files";
inline constexpr std::string_view kMapping = "mmap", kFailedInClient = " in the client failed";
// Nobody, or nobody who is alive, has heard the answer.
inline constexpr std::string_view kDead[] = {"was killed during its call", "was killed while its call waited",
                                             "has left its call", "is being killed"};

}  // namespace dxg::replay::reasons
