#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

// GPU work of a client whose memory does not answer, and of one that wants its own work done beside it.

namespace dxg::held {

// What a GPU does in pages of its client's: it reads the command buffer itself, a copy reads or writes, or an
// atomic operation changes them.
bool IsWork(std::string_view kind);  // "commands", "copies", "writes", "atomics"

// Gives a page of this process to a device of its own. What is returned queues the work in it: not before all
// is made that the process wants, because what it maps itself waits while a host in another process waits for
// one of its pages. Both throw std::runtime_error where they are refused.
std::function<void()> PrepareWork(const char* node, std::string_view kind, std::byte* page);

// Submits so many copies on a device of its own, waits for each, and looks at what it has copied. Throws
// std::runtime_error where one is not done.
void WorkBeside(const char* node, int times);

}  // namespace dxg::held
