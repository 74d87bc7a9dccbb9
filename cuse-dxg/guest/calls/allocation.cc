// Allocations and resources: CreateAllocation, DestroyAllocation2.
#include <algorithm>
#include <cstring>
#include <iterator>
#include <numeric>

#include "base/page.h"
#include "cuse-dxg/guest/bring_in.h"
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "cuse-dxg/guest/same_mapping.h"
#include "cuse-dxg/guest/teardown.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/ntstatus.h"
#include "proto/contract/numbers.gen.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

using Create = calls::CreateAllocation;

constexpr uint32_t kPrivateDataBytesMax = limits::kCreateAllocationPrivDrvDataMax;
constexpr uint64_t kPagesPerMessage = 15867;
constexpr uint32_t kMessageHeadBytes = 64, kMessageElementBytes = 12;
constexpr uint32_t kCachedAllocation = 1u << 19;

// One CreateAllocation on its way through the driver's order of steps.
struct Creation {
  explicit Creation(CallOf<Create>& call) : call(call) {}

  CallOf<Create>& call;
  d3dkmt_createallocationflags flags{};
  std::vector<d3dddi_allocationinfo2> elements;  // as the client has them
  std::shared_ptr<Device> device;
  std::shared_ptr<Resource> made, into;  // a new resource, or the one to extend
  std::vector<SharedResource::Element> shared_elements;
  std::string standard_data;  // of a standard allocation's element, for later openers
  host::CreateAllocation::Request request;
  host::CreateAllocation::Reply reply;
  std::vector<std::shared_ptr<Allocation>> allocations;
  std::vector<Charge> element_data;                // before the host has it, as the next one
  Charge resource_data;                            // of a new resource
  Charge shared_files, shared_bytes, shared_data;  // of a shared resource

  bool has_sysmem() const { return elements.front().sysmem != 0; }
};

// The driver forgets to make an errno of it.
Status Raw(const char* why) { return Status::Raw(kStatusInvalidParameter, why); }

Status CopyElements(Creation& c) {
  const uint32_t count = c.call.request.alloc_count();
  if (count == 0 || count > limits::kCreateAllocationAllocationInfoMax) {
    return Status::Refuse(EINVAL, "alloc_count is {}; expected 1 to {}", count,
                          limits::kCreateAllocationAllocationInfoMax);
  }
  std::vector<std::byte> raw;
  DXG_TRY(c.call.CopyIn(Create::In::allocation_info(), &raw));
  c.elements.resize(count);
  std::memcpy(c.elements.data(), raw.data(), raw.size());
  // The address is in no message; that there is one shows in recordings.
  for (uint32_t i = 0; i < count; ++i)
    c.call.request.mutable_allocation_info(static_cast<int>(i))->set_has_sysmem(c.elements[i].sysmem != 0);
  for (const auto& element : c.elements) {
    if (c.flags.standard_allocation && element.priv_drv_data_size != 0) {
      return Status::Refuse(EINVAL, "a standard allocation has private data of {} bytes; expected none",
                            element.priv_drv_data_size);
    }
    if (element.priv_drv_data_size > kPrivateDataBytesMax) {
      return Status::Refuse(EINVAL, "an element's priv_drv_data_size is {}; at most {}",
                            element.priv_drv_data_size, kPrivateDataBytesMax);
    }
  }
  if (c.flags.existing_section || c.flags.create_protected) {
    return Status::Refuse(EINVAL, "flags {:#x}: existing_section and create_protected are not for this guest",
                          c.flags.value);
  }
  return Status::Ok();
}

Status CheckStandard(Creation& c) {
  auto& call = c.call;
  uint64_t descriptor = call.AddressOf(Create::In::standard_allocation());
  if (descriptor == 0)
    return Status::Refuse(EINVAL, "flag standard_allocation without a standard_allocation");
  DXG_TRY(call.CopyIn(Create::In::standard_allocation()));
  const StandardAllocation& standard = call.request.standard_allocation();
  const uint64_t sysmem = c.elements.front().sysmem;
  switch (standard.type()) {
    case _D3DKMT_STANDARDALLOCATIONTYPE_EXISTINGHEAP:
      if (sysmem == 0 || sysmem % kPageBytes != 0)
        return Raw("an existing heap needs memory of the caller that begins on a page");
      if (!c.flags.existing_sysmem) return Raw("an existing heap needs flag existing_sysmem");
      break;
    case _D3DKMT_STANDARDALLOCATIONTYPE_CROSSADAPTER:
      if (c.flags.existing_sysmem) return Raw("a cross-adapter allocation has no existing memory");
      if (sysmem != 0) return Raw("a cross-adapter allocation has no existing memory");
      break;
    default:
      return Raw("unknown type of standard allocation");
  }
  const uint64_t size = standard.existing_heap_size();
  if (call.request.priv_drv_data_size() != 0 || c.elements.size() != 1 || size == 0 ||
      size % kPageBytes != 0) {
    return Status::Refuse(EINVAL,
                          "a standard allocation has one element, no private data and whole pages; got {} "
                          "elements, {} and {} bytes",
                          c.elements.size(), call.request.priv_drv_data_size(), size);
  }
  return Status::Ok();
}

// What the host's driver would have as private data: asked for the sizes, then for the data.
Task AskStandardData(Creation& c) {
  host::GetStandardAllocationDriverData::Request request;
  host::GetStandardAllocationDriverData::Reply reply;
  // All that the driver ever asks for.
  request.set_alloc_type(_D3DKMDT_STANDARDALLOCATION_GDISURFACE);
  request.set_width(static_cast<uint32_t>(c.call.request.standard_allocation().existing_heap_size()));
  request.set_height(1);
  request.set_type(_D3DKMDT_GDISURFACE_TEXTURE_CROSSADAPTER);
  for (int round = 0; round < 2; ++round) {
    DXG_CO_TRY(co_await c.call.driver.host().Ask(*c.device->adapter(), c.call.process->host_handle, request,
                                                 &reply));
    DXG_CO_TRY(FromNtStatus(reply.status(), "GetStandardAllocationDriverData"));
    if (reply.priv_driver_data_size() == 0)
      co_return Status::Refuse(EINVAL, "the host's driver has no data for a standard allocation");
    request.set_priv_driver_data_size(reply.priv_driver_data_size());
    request.set_priv_driver_resource_size(reply.priv_driver_resource_size());
  }
  c.standard_data = reply.allocation_data();
  co_return Status::Ok();
}

Status ReadBytes(Call& call, uint64_t address, uint32_t size, std::string* to) {
  to->resize(size);
  if (call.ReadNear(address, std::as_writable_bytes(std::span(*to)))) return Status::Ok();
  return Status::Refuse(EFAULT, "private data at {:#x} cannot be read ({} bytes)", address, size);
}

// The resource that the allocations are to belong to, if any.
Status PrepareResource(Creation& c) {
  auto& call = c.call;
  if (c.flags.create_resource) {
    c.made = std::make_shared<Resource>();
    c.made->device = c.device->handle;
    if (!c.flags.create_shared) return Status::Ok();
    if (!c.flags.nt_security_sharing)
      return Status::Refuse(EINVAL, "flag create_shared without nt_security_sharing");
    c.made->shared = std::make_shared<SharedResource>();
    // Sizes that no message takes are refused further on.
    if (call.request.private_runtime_data_size() <= kPrivateDataBytesMax) {
      DXG_TRY(call.CopyIn(Create::In::private_runtime_data()));
      MutexLock lock(c.made->shared->mutex);
      c.made->shared->runtime_data = call.request.private_runtime_data();
    }
    if (call.request.priv_drv_data_size() <= kPrivateDataBytesMax && !c.flags.standard_allocation) {
      DXG_TRY(call.CopyIn(Create::In::priv_drv_data()));
      MutexLock lock(c.made->shared->mutex);
      c.made->shared->private_data = call.request.priv_drv_data();
    }
    return Status::Ok();
  }
  if (call.request.resource() == 0) return Status::Ok();
  DXG_ASSIGN(c.into, call.process->FindResource(call.request.resource()));
  if (c.into->device != c.device->handle) {
    return Status::Refuse(EINVAL, "resource {:#x} is of device {:#x}, not of {:#x}", c.into->handle.value,
                          c.into->device.value, c.device->handle.value);
  }
  if (c.into->shared == nullptr) return Status::Ok();
  MutexLock lock(c.into->shared->mutex);
  if (c.into->shared->sealed)
    return Status::Refuse(EINVAL, "resource {:#x} was shared already; nothing can be added to it",
                          c.into->handle.value);
  return Status::Ok();
}

Status PrepareElements(Creation& c) {
  for (size_t i = 0; i < c.elements.size(); ++i) {
    const auto& element = c.elements[i];
    if (!c.flags.standard_allocation && element.sysmem % kPageBytes != 0) {
      return Status::Refuse(EINVAL, "element {}: sysmem {:#x} does not begin on a page of {} bytes", i,
                            element.sysmem, kPageBytes);
    }
    if ((element.sysmem != 0) != c.has_sysmem()) {
      return Status::Refuse(EINVAL, "element {}: all elements have memory of the caller, or none has", i);
    }
    // Openers get an allocation that was added later too, but only what came with create_shared has private
    // data for them.
    if (c.flags.create_shared || (c.into != nullptr && c.into->shared != nullptr))
      c.shared_elements.emplace_back();
    if (!c.flags.create_shared) continue;
    c.shared_elements.back().private_data = c.standard_data;
    if (!c.flags.standard_allocation) {
      DXG_TRY(ReadBytes(c.call, element.priv_drv_data, element.priv_drv_data_size,
                        &c.shared_elements.back().private_data));
    }
  }
  return Status::Ok();
}

Status CheckMessageSize(const Creation& c) {
  const auto& request = c.call.request;
  const uint64_t elements =
      std::accumulate(c.elements.begin(), c.elements.end(), uint64_t{0},
                      [](uint64_t sum, const auto& element) { return sum + element.priv_drv_data_size; });
  const uint64_t message = kMessageHeadBytes + kMessageElementBytes * c.elements.size() +
                           request.private_runtime_data_size() + request.priv_drv_data_size() + elements;
  if (request.private_runtime_data_size() > kPrivateDataBytesMax ||
      request.priv_drv_data_size() > kPrivateDataBytesMax || elements > kPrivateDataBytesMax ||
      message > kMessageBytesMax) {
    return Status::Refuse(
        EOVERFLOW,
        "runtime data of {} bytes, private data of {} and of {} in all elements do not fit one message of {}",
        request.private_runtime_data_size(), request.priv_drv_data_size(), elements, kMessageBytesMax);
  }
  return Status::Ok();
}

// The descriptor of a standard allocation travels as the resource's private data.
std::string StandardDescriptor(const StandardAllocation& standard) {
  d3dkmt_createstandardallocation descriptor{};
  descriptor.type = static_cast<d3dkmt_standardallocationtype>(standard.type());
  descriptor.existing_heap_data.size = standard.existing_heap_size();
  descriptor.flags.value = standard.flags();
  std::string bytes(sizeof(descriptor), '\0');
  std::memcpy(bytes.data(), &descriptor, sizeof(descriptor));
  return bytes;
}

Status FillRequest(Creation& c) {
  auto& call = c.call;
  DXG_TRY(call.CopyIn({&Create::In::private_runtime_data(), &Create::In::priv_drv_data()}));
  host::CreateAllocation::Request& request = c.request;
  request.set_device(call.request.device());
  request.set_resource(call.request.resource());
  request.set_alloc_count(call.request.alloc_count());
  d3dkmt_createallocationflags flags = c.flags;
  if (c.has_sysmem()) flags.existing_sysmem = 1;  // whatever the caller said
  request.set_flags(flags.value);
  request.set_private_runtime_resource_handle(call.request.private_runtime_resource_handle());
  request.set_private_runtime_data(call.request.private_runtime_data());
  request.set_priv_drv_data(c.flags.standard_allocation
                                ? StandardDescriptor(call.request.standard_allocation())
                                : call.request.priv_drv_data());
  request.set_private_runtime_data_size(request.private_runtime_data().size());
  request.set_priv_drv_data_size(request.priv_drv_data().size());
  std::string data;
  for (size_t i = 0; i < c.elements.size(); ++i) {
    const auto& element = c.elements[i];
    auto* to = request.add_allocations();
    to->set_flags(element.flags.value);
    to->set_vidpn_source_id(element.vidpn_source_id);
    to->set_priv_drv_data_size(element.priv_drv_data_size);
    DXG_TRY(ReadBytes(call, element.priv_drv_data, element.priv_drv_data_size, &data));
    request.mutable_allocation_data()->append(data);
    call.request.mutable_allocation_info(static_cast<int>(i))->set_priv_drv_data(data);
  }
  return Status::Ok();
}

// Of the resource itself, beside its elements'.
uint64_t ResourceDataBytes(const Creation& c) {
  return c.request.private_runtime_data_size() + uint64_t{c.request.priv_drv_data_size()};
}

bool IsShared(const Creation& c) {
  const auto& owner = c.made != nullptr ? c.made : c.into;
  return owner != nullptr && owner->shared != nullptr;
}

// That it would be more than the process or its user may have.
Status TooMuch(const Creation& c, Charged kind, const char* what, uint64_t more) {
  return Status::Refuse(ENOMEM, "this process has {} {}, and it or its user may not have {} more",
                        c.call.process->account->used(kind), what, more);
}

// Before the host is asked, which keeps what it got of a new resource. A shared resource has copies of all
// for those who open it.
Status ChargePrivateData(Creation& c) {
  const auto& account = c.call.process->account;
  const auto charge = [&](Charge* to, uint64_t bytes) {
    *to = Charge(account, Charged::kPrivateData, bytes);
    return *to ? Status::Ok() : TooMuch(c, Charged::kPrivateData, "bytes of private data", bytes);
  };
  c.element_data.resize(c.elements.size());
  for (size_t i = 0; i < c.elements.size(); ++i)
    DXG_TRY(charge(&c.element_data[i], c.elements[i].priv_drv_data_size));
  const uint64_t of_resource = c.made != nullptr ? ResourceDataBytes(c) : 0;
  if (c.made != nullptr) DXG_TRY(charge(&c.resource_data, of_resource));
  if (!IsShared(c)) return Status::Ok();
  const auto add = [](uint64_t sum, const auto& element) { return sum + element.private_data.size(); };
  return charge(&c.shared_data,
                std::accumulate(c.shared_elements.begin(), c.shared_elements.end(), of_resource, add));
}

// -- After the host created them --

Task TellHostPages(Creation& c, Allocation& allocation, uint32_t list) {
  const auto& adapter = *c.device->adapter();
  host::SetExistingSysmemPages::Request request;
  host::SetExistingSysmemPages::Reply reply;
  request.set_device(c.call.request.device());
  request.set_allocation(allocation.handle.value);
  for (uint64_t first = 0; first < allocation.pages; first += kPagesPerMessage) {
    const uint64_t count = std::min(kPagesPerMessage, allocation.pages - first);
    request.set_num_pages(static_cast<uint32_t>(count));
    request.set_alloc_offset_in_pages(static_cast<uint32_t>(first));
    request.mutable_pages()->Resize(static_cast<int>(count), 0);
    if (!c.call.driver.backend().ClientFrames(list, first,
                                              {request.mutable_pages()->mutable_data(), count})) {
      co_return Status::Refuse(
          ENOMEM, "the frames of the caller's pages are not known (to read them needs CAP_SYS_ADMIN)");
    }
    DXG_CO_TRY(co_await c.call.driver.host().Ask(adapter, c.call.process->host_handle, request, &reply));
    DXG_CO_TRY(FromNtStatus(reply.status(), "SetExistingSysmemPages"));
  }
  co_return Status::Ok();
}

// A range of the caller's memory as the host works with it.
class PinnedPages final : public ClientPages {
 public:
  PinnedPages(std::unique_ptr<client::AddressSpace> space, uint64_t address, uint64_t size)
      : space_(std::move(space)), address_(address), size_(size) {}
  uint64_t size() const override { return size_; }
  bool Read(uint64_t offset, std::span<std::byte> to) override {
    return Has(offset, to.size()) && space_->Read(address_ + offset, to);
  }
  bool Write(uint64_t offset, std::span<const std::byte> from) override {
    return Has(offset, from.size()) && space_->Write(address_ + offset, from);
  }
  bool Frames(uint64_t page, std::span<uint64_t> frames) override {
    return space_->Frames(address_ + page * kPageBytes, frames);
  }
  std::optional<ClientFile> file() const override {
    if (space_->file() < 0) return std::nullopt;
    return ClientFile{space_->file(), address_, space_->number()};
  }

 private:
  bool Has(uint64_t offset, uint64_t size) const { return offset <= size_ && size <= size_ - offset; }

  std::unique_ptr<client::AddressSpace> space_;
  const uint64_t address_, size_;
};

Task GiveMemoryToHost(Creation& c, Allocation& allocation, uint64_t sysmem) {
  const uint64_t size = allocation.pages * kPageBytes;
  if (SeesHostMemory(c.call, sysmem, size)) {
    co_return Status::Refuse(ENOMEM,
                             "the memory at {:#x} ({} bytes) is a locked allocation, which has no pages of "
                             "the caller's",
                             sysmem, size);
  }
  auto space = c.call.access().Pin(c.call.tid(), sysmem, size, !c.flags.read_only);
  space = AsMappedNow(std::move(space), c.call.process->arena().map(), sysmem, size);
  if (space == nullptr) {
    co_return Status::Refuse(
        ENOMEM, "the caller's memory at {:#x} ({} bytes, as the host says) is not all there to be used{}",
        sysmem, size, c.flags.read_only ? "" : " and written");
  }
  allocation.existing_memory = true;
  allocation.cpu_address = sysmem;
  auto pages = std::make_shared<PinnedPages>(std::move(space), sysmem, size);
  DXG_CO_ASSIGN(const uint32_t list, c.call.driver.backend().AddClientPages(std::move(pages)));
  try {
    allocation.client_pages = std::make_unique<ClientPageList>(c.call.driver.backend(), list);
  } catch (const std::bad_alloc&) {
    c.call.driver.backend().RemoveClientPages(list);
    co_return OutOfMemory();
  }
  if (c.device->adapter()->info.map_guest_pages) co_return co_await TellHostPages(c, allocation, list);
  host::SetExistingSysmemStore::Request request;
  host::SetExistingSysmemStore::Reply reply;
  request.set_device(c.call.request.device());
  request.set_allocation(allocation.handle.value);
  request.set_gpadl(list);
  DXG_CO_TRY(
      co_await c.call.driver.host().Ask(*c.device->adapter(), c.call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "SetExistingSysmemStore");
}

// A host that returns more than the client has room for: the driver would write behind the buffer.
Status CheckReturnedSizes(const Creation& c) {
  for (size_t i = 0; i < c.elements.size(); ++i) {
    const uint32_t returned = c.reply.allocations(static_cast<int>(i)).priv_drv_data_size();
    if (returned <= c.elements[i].priv_drv_data_size) continue;
    return Status::Refuse(EFAULT, "element {}: the host returned {} bytes of private data for a buffer of {}",
                          i, returned, c.elements[i].priv_drv_data_size);
  }
  return Status::Ok();
}

// What of the host's private data belongs to element `i`.
std::span<const std::byte> ReturnedData(const Creation& c, size_t i) {
  size_t at = 0;
  for (size_t k = 0; k < i; ++k) at += c.reply.allocations(static_cast<int>(k)).priv_drv_data_size();
  const std::span<const std::byte> all = std::as_bytes(std::span(c.reply.allocation_data()));
  const size_t size = c.reply.allocations(static_cast<int>(i)).priv_drv_data_size();
  return at <= all.size() ? all.subspan(at, std::min(size, all.size() - at)) : std::span<const std::byte>();
}

// Copies each element's results out, its memory given to the host just before. Writes are gathered and done
// in order: at the end, or before the next step that can fail.
Task FinishElements(Creation& c) {
  const uint64_t base = c.call.AddressOf(Create::In::allocation_info());
  std::vector<client::WritePiece> pieces;
  std::vector<uint32_t> handles(c.elements.size());
  if (c.made != nullptr) pieces.push_back(c.call.PieceOf(Create::Out::resource));
  for (size_t i = 0; i < c.elements.size(); ++i) {
    if (c.elements[i].sysmem != 0) {
      if (!c.call.access().WritePieces(c.call.tid(), pieces))
        co_return Status::Refuse(EFAULT, "the argument cannot be written");
      pieces.clear();
      DXG_CO_TRY(co_await GiveMemoryToHost(c, *c.allocations[i], c.elements[i].sysmem));
    }
    const auto data = ReturnedData(c, i);
    if (!data.empty()) pieces.push_back({c.elements[i].priv_drv_data, data});
    handles[i] = c.allocations[i]->handle.value;
    pieces.push_back({base + i * sizeof(d3dddi_allocationinfo2), std::as_bytes(std::span(&handles[i], 1))});
    const bool last = i + 1 == c.elements.size();
    if (last) pieces.push_back(c.call.PieceOf(Create::Out::global_share));
    if (last || c.has_sysmem()) {
      if (!c.call.access().WritePieces(c.call.tid(), pieces)) {
        co_return Status::Refuse(
            EFAULT, "the argument, allocation_info at {:#x}, or private data of an element cannot be written",
            base);
      }
      pieces.clear();
    }
    if (c.elements[i].sysmem != 0)
      c.call.NameMemory({c.elements[i].sysmem, c.allocations[i]->pages * kPageBytes, handles[i]});
    auto* out = c.call.reply.add_allocation_info();
    out->set_has_sysmem(c.has_sysmem());
    out->set_allocation(handles[i]);
    out->set_priv_drv_data_size(static_cast<uint32_t>(data.size()));  // for those who look at the call
    out->set_priv_drv_data(data.data(), data.size());
  }
  co_return Status::Ok();
}

void MakeObjects(Creation& c) {
  const auto& account = c.call.process->account;
  if (c.made != nullptr) {
    c.made->handle = {c.reply.resource()};
    c.made->private_data = std::move(c.resource_data);
  }
  const auto& owner = c.made != nullptr ? c.made : c.into;
  for (size_t i = 0; i < c.elements.size(); ++i) {
    const auto& record = c.reply.allocations(static_cast<int>(i));
    auto allocation = std::make_shared<Allocation>();
    allocation->handle = {record.allocation()};
    allocation->device = c.device->handle;
    if (owner != nullptr) allocation->resource = owner->handle;
    allocation->pages = record.allocation_size() / kPageBytes;
    allocation->cached = (record.allocation_flags() & kCachedAllocation) != 0;
    allocation->private_data = std::move(c.element_data[i]);
    if (c.has_sysmem()) {
      allocation->page_list = Charge(account, Charged::kPageLists, 1);
    } else if (!IsShared(c)) {
      allocation->bytes = Charge(account, Charged::kBytes, allocation->pages * kPageBytes);
    }
    if (i < c.shared_elements.size()) {
      c.shared_elements[i].pages = allocation->pages;
      c.shared_elements[i].cached = allocation->cached;
    }
    c.allocations.push_back(std::move(allocation));
  }
}

// By their handles also where they are of a new resource: the driver leaves the host's empty resource to the
// device's end.
Task Undo(Creation& c) {
  host::DestroyAllocation::Request request;
  host::DestroyAllocation::Reply reply;
  request.set_device(c.call.request.device());
  request.set_flags(kAssumeNotInUse);
  for (const auto& allocation : c.allocations) request.add_allocations(allocation->handle.value);
  request.set_alloc_count(c.allocations.size());
  (void)co_await c.call.driver.host().Ask(*c.device->adapter(), c.call.process->host_handle, request, &reply);
  if (c.made != nullptr) c.call.process->LeaveAtHost(*c.device, std::move(c.made->private_data));
  co_return Status::Ok();
}

// What a process and its user may have. What is shared lives as long as somebody has it open, and each
// allocation of it has a file.
Status CheckLimits(Creation& c) {
  uint64_t bytes = 0;
  for (const auto& allocation : c.allocations) {
    bytes += allocation->pages * kPageBytes;
    if (c.has_sysmem() && !allocation->page_list)
      return TooMuch(c, Charged::kPageLists, "allocations of existing memory", 1);
    if (!c.has_sysmem() && !IsShared(c) && !allocation->bytes)
      return TooMuch(c, Charged::kBytes, "bytes of allocations", allocation->pages * kPageBytes);
  }
  if (!IsShared(c)) return Status::Ok();
  const auto& account = c.call.process->account;
  c.shared_files = Charge(account, Charged::kDescriptors, c.allocations.size());
  if (!c.shared_files)
    return TooMuch(c, Charged::kDescriptors, "files of shared memory", c.allocations.size());
  c.shared_bytes = Charge(account, Charged::kBytes, c.has_sysmem() ? 0 : bytes);
  return c.shared_bytes ? Status::Ok() : TooMuch(c, Charged::kBytes, "bytes of allocations", bytes);
}

// What Publish adds to a shared resource at its end finds memory there.
void MakeRoom(SharedResource& shared, size_t elements) {
  const auto room_for = [](auto& list, size_t more) {
    if (list.capacity() - list.size() < more) list.reserve(std::max(list.size() + more, 2 * list.capacity()));
  };
  MutexLock lock(shared.mutex);
  room_for(shared.elements, elements);
  room_for(shared.charges, 3);
}

// Everything that has to be undone when it fails.
Task Publish(Creation& c) {
  auto& call = c.call;
  call.reply.set_resource(c.made != nullptr ? c.made->handle.value : call.request.resource());
  call.reply.set_global_share(call.request.global_share());
  DXG_CO_TRY(CheckReturnedSizes(c));
  DXG_CO_TRY(CheckLimits(c));
  DXG_CO_TRY(co_await FinishElements(c));
  const auto& owner = c.made != nullptr ? c.made : c.into;
  SharedResource* const shared = owner != nullptr ? owner->shared.get() : nullptr;
  if (shared != nullptr) MakeRoom(*shared, c.shared_elements.size());
  DXG_CO_TRY(call.process->AddAllocations(c.device, c.made, c.into, c.allocations));
  if (shared != nullptr) {
    MutexLock lock(shared->mutex);
    std::move(c.shared_elements.begin(), c.shared_elements.end(), std::back_inserter(shared->elements));
    for (Charge* charge : {&c.shared_files, &c.shared_bytes, &c.shared_data})
      shared->charges.push_back(std::move(*charge));
  }
  co_return Status::Ok();
}

}  // namespace

Task CreateAllocation(CallOf<Create>& call) {
  Creation c(call);
  c.flags.value = call.request.flags();
  DXG_CO_TRY(CopyElements(c));
  if (c.flags.standard_allocation) {
    Status status = CheckStandard(c);
    if (!status.ok()) co_return status;
  }
  if (c.flags.create_shared && !c.flags.create_resource)
    co_return Status::Refuse(EINVAL, "flag create_shared without create_resource");
  DXG_CO_ASSIGN(c.device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*c.device));
  DXG_CO_TRY(CheckActive(*c.device->adapter()));
  if (c.flags.standard_allocation) DXG_CO_TRY(co_await AskStandardData(c));
  DXG_CO_TRY(PrepareResource(c));
  DXG_CO_TRY(PrepareElements(c));
  DXG_CO_TRY(CheckMessageSize(c));
  DXG_CO_TRY(FillRequest(c));
  DXG_CO_TRY(ChargePrivateData(c));
  DXG_CO_TRY(
      co_await call.driver.host().Ask(*c.device->adapter(), call.process->host_handle, c.request, &c.reply));
  // The reply has no status. Handles of 0 cannot be entered below; fewer records than asked for would be read
  // past.
  if (static_cast<size_t>(c.reply.allocations_size()) != c.elements.size()) {
    co_return Status::Refuse(EOVERFLOW, "the host answered for {} of {} allocations",
                             c.reply.allocations_size(), c.elements.size());
  }
  MakeObjects(c);
  Status status = co_await Publish(c);
  if (!status.ok()) (void)co_await Undo(c);
  co_return status;
}

Task DestroyAllocation2(CallOf<calls::DestroyAllocation2>& call) {
  const uint32_t count = call.request.alloc_count();
  if (count > limits::kDestroyAllocation2AllocationsMax || (count == 0) == (call.request.resource() == 0)) {
    co_return Status::Refuse(
        EINVAL, "alloc_count is {} (at most {}) and resource {:#x}; expected exactly one of the two", count,
        limits::kDestroyAllocation2AllocationsMax, call.request.resource());
  }
  DXG_CO_TRY(call.CopyIn(calls::DestroyAllocation2::In::allocations()));
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device));
  DXG_CO_TRY(CheckActive(*device->adapter()));

  std::vector<std::shared_ptr<Allocation>> removed;
  if (count != 0) {
    const auto& list = call.request.allocations();
    DXG_CO_ASSIGN(removed, call.process->RemoveAllocations(*device, {list.begin(), list.end()}));
  } else {
    DXG_CO_ASSIGN(auto resource, call.process->RemoveResource(*device, call.request.resource()));
    removed.assign(resource->allocations.begin(), resource->allocations.end());
  }

  host::DestroyAllocation::Request request;
  host::DestroyAllocation::Reply reply;
  request.set_device(call.request.device());
  request.set_resource(call.request.resource());
  request.set_flags(call.request.flags());
  request.set_alloc_count(count);
  *request.mutable_allocations() = call.request.allocations();
  Status status =
      co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply);
  if (status.ok()) status = FromNtStatus(reply.status(), "DestroyAllocation");
  // The local half goes whatever the host said.
  (void)co_await TakeOut(call, ReleaseMemory(*call.process, removed));
  co_return status;
}

}  // namespace dxg::guest::handlers
