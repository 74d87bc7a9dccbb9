#include "cuse-dxg/profile/ask_node.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "cuse-dxg/profile/registry.h"
#include "cuse-dxg/profile/struct_bytes.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/qaitype.h"

namespace dxg::profile {
namespace {

constexpr uint32_t kUs = 1;  // the process that asks
constexpr uint32_t kNodesMax = 64;

// Types with the bytes that a question has, and for how many numbers at its beginning it is asked.
struct Question {
  uint32_t type, bytes;
  uint32_t first = 1;  // 0 to first - 1
};
constexpr Question kQuestions[] = {
    {KMTQAITYPE_UMDRIVERNAME, 524, 4},
    {KMTQAITYPE_UMOPENGLINFO, 1040},
    {KMTQAITYPE_GETSEGMENTSIZE, 24},
    {KMTQAITYPE_ADAPTERGUID, 16},
    {KMTQAITYPE_ADAPTERADDRESS, 12},
    {KMTQAITYPE_ADAPTERREGISTRYINFO, 2080},
    {KMTQAITYPE_CHECKDRIVERUPDATESTATUS, 4},
    {KMTQAITYPE_VIRTUALADDRESSINFO, 4},
    {KMTQAITYPE_DRIVERVERSION, 4},
    {KMTQAITYPE_ADAPTERTYPE, 4},
    {KMTQAITYPE_WDDM_1_2_CAPS, 12},
    {KMTQAITYPE_UMD_DRIVER_VERSION, 8},
    {KMTQAITYPE_WDDM_1_3_CAPS, 4},
    {KMTQAITYPE_WDDM_2_0_CAPS, 4},
    {KMTQAITYPE_NODEMETADATA, 78, kNodesMax},
    {KMTQAITYPE_XBOX, 4},
    {KMTQAITYPE_PHYSICALADAPTERCOUNT, 4},
    {KMTQAITYPE_PHYSICALADAPTERDEVICEIDS, 28},
    {KMTQAITYPE_DRIVERCAPS_EXT, 4},
    {KMTQAITYPE_QUERY_GPUMMU_CAPS, 12},
    {KMTQAITYPE_GETSEGMENTGROUPSIZE, 56},
    {KMTQAITYPE_KMD_DRIVER_VERSION, 8},
    {KMTQAITYPE_ADAPTERGUID_RENDER, 16},
    {KMTQAITYPE_ADAPTERADDRESS_RENDER, 12},
    {KMTQAITYPE_ADAPTERREGISTRYINFO_RENDER, 2080},
    {KMTQAITYPE_CHECKDRIVERUPDATESTATUS_RENDER, 4},
    {KMTQAITYPE_DRIVERVERSION_RENDER, 4},
    {KMTQAITYPE_ADAPTERTYPE_RENDER, 4},
    {KMTQAITYPE_WDDM_1_2_CAPS_RENDER, 12},
    {KMTQAITYPE_WDDM_1_3_CAPS_RENDER, 4},
    {KMTQAITYPE_QUERY_ADAPTER_UNIQUE_GUID, 80},
    {KMTQAITYPE_NODEPERFDATA, 56, kNodesMax},
    {KMTQAITYPE_ADAPTERPERFDATA, 64},
    {KMTQAITYPE_ADAPTERPERFDATA_CAPS, 40},
    {KMTQUITYPE_GPUVERSION, 132},
    {KMTQAITYPE_DRIVER_DESCRIPTION, 8192},
    {KMTQAITYPE_DRIVER_DESCRIPTION_RENDER, 8192},
    {KMTQAITYPE_PARAVIRTUALIZATION_RENDER, 4},
    {KMTQAITYPE_SERVICENAME, 520},
    {KMTQAITYPE_WDDM_2_7_CAPS, 4},
    {KMTQAITYPE_TRACKEDWORKLOAD_SUPPORT, 12},
    {KMTQAITYPE_HYBRID_DLIST_DLL_SUPPORT, 4},
    {KMTQAITYPE_WDDM_2_9_CAPS, 4},
    {KMTQAITYPE_CROSSADAPTERRESOURCE_SUPPORT, 4},
    {KMTQAITYPE_WDDM_3_0_CAPS, 4},
    {KMTQAITYPE_WDDM_3_1_CAPS, 4},
};

// What drivers are known to be asked.
constexpr const char* kAdapterValues[] = {"DriverDesc",
                                          "DriverVersion",
                                          "DriverDate",
                                          "ProviderName",
                                          "ReleaseVersion",
                                          "InstalledDisplayDrivers",
                                          "UserModeDriverName",
                                          "UserModeDriverGUID",
                                          "OpenCLDriverName",
                                          "VulkanDriverName",
                                          "LevelZeroDriverPath",
                                          "HardwareInformation.AdapterString",
                                          "HardwareInformation.BiosString",
                                          "HardwareInformation.ChipType",
                                          "HardwareInformation.DacType",
                                          "HardwareInformation.MemorySize",
                                          "HardwareInformation.qwMemorySize"};
constexpr uint32_t kValueTypes[] = {kSz, kExpandSz, kMultiSz, kDword, kQword, kBinary};
constexpr size_t kValueRoom = 2048;

uint64_t Address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

template <class T>
int Call(int node, unsigned long code, T* args) {
  int result = 0;
  do {
    result = ioctl(node, code, args);
  } while (result == -1 && errno == EINTR);
  return result == -1 ? -errno : result;
}

class Interview {
 public:
  Interview(int node, const d3dkmt_adapterinfo& info, Samples* samples)
      : node_(node),
        adapter_(info.adapter_handle),
        luid_(uint64_t{info.adapter_luid.b} << 32 | info.adapter_luid.a),
        samples_(samples) {}

  void All() {
    for (const Question& question : kQuestions) {
      for (uint32_t i = 0; i < question.first; ++i) {
        std::string bytes(question.bytes, '\0');
        Put<uint32_t>(&bytes, 0, i);
        if (!Ask(question.type, std::move(bytes)) && question.first == kNodesMax) break;
      }
    }
    Registry();
    AdapterSeen* const seen = samples_->Adapter(luid_);
    if (seen == nullptr) return;
    Features(seen);
    Budgets(seen);
    Clocks(seen);
  }

 private:
  bool Ask(uint32_t type, std::string question) {
    std::string answer = question;
    d3dkmt_queryadapterinfo args = {};
    args.adapter = adapter_;
    args.type = type;
    args.private_data = Address(answer.data());
    args.private_data_size = static_cast<uint32_t>(answer.size());
    const int result = Call(node_, LX_DXQUERYADAPTERINFO, &args);
    samples_->AddQuery(luid_, type, {kUs, result, std::move(question), result >= 0 ? std::move(answer) : ""});
    return result >= 0;
  }

  // Of a value that is there, the question with the right type succeeds; the others say nothing of it.
  void Registry() {
    for (const uint32_t path : {kDriverStorePath, kDriverImagePath})
      Ask(KMTQAITYPE_QUERYREGISTRY, RegistryQuestion(path, "", kNone, kValueRoom));
    for (const char* const name : kAdapterValues) Value(kAdapterKey, name);
    Value(kServiceKey, "ImagePath");
  }
  void Value(uint32_t key, const char* name) {
    for (const uint32_t type : kValueTypes) {
      if (Ask(KMTQAITYPE_QUERYREGISTRY, RegistryQuestion(key, name, type, kValueRoom))) return;
    }
  }

  void Features(AdapterSeen* seen) {
    constexpr uint32_t kFeaturesMax = 64;
    for (uint32_t id = 0; id < kFeaturesMax; ++id) {
      d3dkmt_isfeatureenabled args = {};
      args.adapter = adapter_;
      args.feature_id = id;
      if (Call(node_, LX_ISFEATUREENABLED, &args) == 0) {
        seen->features[id] = {args.result.version, args.result.value};
      } else {
        seen->features_refused = true;
      }
    }
  }

  void Budgets(AdapterSeen* seen) {
    for (uint32_t group = 0; group < 2; ++group) {
      d3dkmt_queryvideomemoryinfo args = {};
      args.adapter = adapter_;
      args.memory_segment_group = group;
      if (Call(node_, LX_DXQUERYVIDEOMEMORYINFO, &args) == 0) seen->budget_bytes[group] = args.budget;
    }
  }

  void Clocks(AdapterSeen* seen) {
    for (uint32_t node = 0; node < kNodesMax; ++node) {
      d3dkmt_queryclockcalibration args = {};
      args.adapter = adapter_;
      args.node_ordinal = node;
      if (Call(node_, LX_DXQUERYCLOCKCALIBRATION, &args) != 0) break;
      seen->clock_hz[node] = args.clock_data.gpu_frequency;
    }
  }

  const int node_;
  const d3dkmthandle adapter_;
  const uint64_t luid_;
  Samples* const samples_;
};

}  // namespace

Result<UniqueFd> OpenNode(const std::string& path) {
  UniqueFd node(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!node.valid()) {
    const int error = errno;
    if (error == EACCES || error == EROFS || error == EISDIR) return Status::Refuse(ENOTTY, "no node");
    return Status::Refuse(error, "{}: {}", path, std::strerror(error));
  }
  d3dkmt_enumadapters3 args = {};
  const int result = Call(node.get(), LX_DXENUMADAPTERS3, &args);
  if (result == -ENOTTY || result == -EINVAL || result == -ENOTSUP)
    return Status::Refuse(ENOTTY, "{} is no /dev/dxg", path);
  if (result < 0)
    return Status::Refuse(-result, "{}: its adapters cannot be listed: {}", path, std::strerror(-result));
  return node;
}

Status AskNode(int node, Samples* samples) {
  d3dkmt_enumadapters3 args = {};
  args.filter.include_compute_only = 1;
  int result = Call(node, LX_DXENUMADAPTERS3, &args);
  std::vector<d3dkmt_adapterinfo> adapters(result == 0 ? args.adapter_count : 0);
  if (!adapters.empty()) {
    args.adapters = Address(adapters.data());
    result = Call(node, LX_DXENUMADAPTERS3, &args);
    adapters.resize(result == 0 ? args.adapter_count : 0);
  }
  if (result != 0) return Status::Refuse(result < 0 ? -result : EIO, "the node's adapters cannot be listed");
  for (const d3dkmt_adapterinfo& info : adapters) {
    Interview(node, info, samples).All();
    d3dkmt_closeadapter close = {info.adapter_handle};
    (void)Call(node, LX_DXCLOSEADAPTER, &close);
  }
  return Status::Ok();
}

}  // namespace dxg::profile
