#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/page.h"
#include "base/unique_fd.h"
#include "cuse-dxg/client/delivery.h"
#include "tests/attach/checks.h"
#include "tests/client/delivery_device.h"

// Functions that the checks of delivery-client share.

namespace dxg::client::delivery {

using attach::Check;
using attach::path;

extern const std::vector<Check> kBasics, kEvents, kStates, kFilters, kDeaths, kStress, kBench;

UniqueFd Open();
WantedStep Map(uint64_t offset, uint64_t size, uint64_t address = 0, bool writable = true);
WantedStep Unmap(uint64_t address, uint64_t size);
WantedStep GiveFile();
WantedStep GiveNode(uint64_t token);
WantedStep CloseFile(uint64_t number);
Visit Wanted(std::vector<WantedStep> steps, int32_t result = 0);
Visit HeldVisit(Hold hold, std::vector<WantedStep> steps, int32_t result = 0);
int Ask(const UniqueFd& node, Visit* visit);
bool Fails(int result, int error);
unsigned char* Bytes(uint64_t address);

size_t FilesOpen();
size_t MappingsCount();

// Polls until another thread or process makes the condition true.
void Until(const std::function<bool()>& condition);
void UntilHeld(const UniqueFd& node, int count);
// The value of a line of /proc/<tid>/status, as text.
std::string StatusOf(pid_t tid, const std::string& key);
bool KillIsPending(pid_t tid);
pid_t InjectorPid(const UniqueFd& node);
// The exit status of a child, or 128 + its signal.
int Ended(pid_t child);
// Checks that visits work: maps a page, compares it with the device's memory, and unmaps it.
void ExpectUndamaged(const UniqueFd& node);

}  // namespace dxg::client::delivery
