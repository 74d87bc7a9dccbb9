#pragma once

#include <stdint.h>

// The types of QueryAdapterInfo: the numbers for d3dkmt_queryadapterinfo::type. The driver reads the answers
// of two types (kmtqueryadapterinfotype in d3dkmthk.h); all other answers pass unread from the GPU driver on
// the host to the library of the client. Names and numbers are those of KMTQUERYADAPTERINFOTYPE in the
// published d3dkmthk.h of microsoft/libdxg, spelling included.

// X(name, number) for each. 14 has no published name; KMTQUITYPE_GPUVERSION was published with this slip.
#define DXG_FOR_EACH_QUERY_ADAPTER_INFO_TYPE(X)              \
  X(KMTQAITYPE_UMDRIVERPRIVATE, 0)                           \
  X(KMTQAITYPE_UMDRIVERNAME, 1)                              \
  X(KMTQAITYPE_UMOPENGLINFO, 2)                              \
  X(KMTQAITYPE_GETSEGMENTSIZE, 3)                            \
  X(KMTQAITYPE_ADAPTERGUID, 4)                               \
  X(KMTQAITYPE_FLIPQUEUEINFO, 5)                             \
  X(KMTQAITYPE_ADAPTERADDRESS, 6)                            \
  X(KMTQAITYPE_SETWORKINGSETINFO, 7)                         \
  X(KMTQAITYPE_ADAPTERREGISTRYINFO, 8)                       \
  X(KMTQAITYPE_CURRENTDISPLAYMODE, 9)                        \
  X(KMTQAITYPE_MODELIST, 10)                                 \
  X(KMTQAITYPE_CHECKDRIVERUPDATESTATUS, 11)                  \
  X(KMTQAITYPE_VIRTUALADDRESSINFO, 12)                       \
  X(KMTQAITYPE_DRIVERVERSION, 13)                            \
  X(KMTQAITYPE_ADAPTERTYPE, 15)                              \
  X(KMTQAITYPE_OUTPUTDUPLCONTEXTSCOUNT, 16)                  \
  X(KMTQAITYPE_WDDM_1_2_CAPS, 17)                            \
  X(KMTQAITYPE_UMD_DRIVER_VERSION, 18)                       \
  X(KMTQAITYPE_DIRECTFLIP_SUPPORT, 19)                       \
  X(KMTQAITYPE_MULTIPLANEOVERLAY_SUPPORT, 20)                \
  X(KMTQAITYPE_DLIST_DRIVER_NAME, 21)                        \
  X(KMTQAITYPE_WDDM_1_3_CAPS, 22)                            \
  X(KMTQAITYPE_MULTIPLANEOVERLAY_HUD_SUPPORT, 23)            \
  X(KMTQAITYPE_WDDM_2_0_CAPS, 24)                            \
  X(KMTQAITYPE_NODEMETADATA, 25)                             \
  X(KMTQAITYPE_CPDRIVERNAME, 26)                             \
  X(KMTQAITYPE_XBOX, 27)                                     \
  X(KMTQAITYPE_INDEPENDENTFLIP_SUPPORT, 28)                  \
  X(KMTQAITYPE_MIRACASTCOMPANIONDRIVERNAME, 29)              \
  X(KMTQAITYPE_PHYSICALADAPTERCOUNT, 30)                     \
  X(KMTQAITYPE_PHYSICALADAPTERDEVICEIDS, 31)                 \
  X(KMTQAITYPE_DRIVERCAPS_EXT, 32)                           \
  X(KMTQAITYPE_QUERY_MIRACAST_DRIVER_TYPE, 33)               \
  X(KMTQAITYPE_QUERY_GPUMMU_CAPS, 34)                        \
  X(KMTQAITYPE_QUERY_MULTIPLANEOVERLAY_DECODE_SUPPORT, 35)   \
  X(KMTQAITYPE_QUERY_HW_PROTECTION_TEARDOWN_COUNT, 36)       \
  X(KMTQAITYPE_QUERY_ISBADDRIVERFORHWPROTECTIONDISABLED, 37) \
  X(KMTQAITYPE_MULTIPLANEOVERLAY_SECONDARY_SUPPORT, 38)      \
  X(KMTQAITYPE_INDEPENDENTFLIP_SECONDARY_SUPPORT, 39)        \
  X(KMTQAITYPE_PANELFITTER_SUPPORT, 40)                      \
  X(KMTQAITYPE_PHYSICALADAPTERPNPKEY, 41)                    \
  X(KMTQAITYPE_GETSEGMENTGROUPSIZE, 42)                      \
  X(KMTQAITYPE_MPO3DDI_SUPPORT, 43)                          \
  X(KMTQAITYPE_HWDRM_SUPPORT, 44)                            \
  X(KMTQAITYPE_MPOKERNELCAPS_SUPPORT, 45)                    \
  X(KMTQAITYPE_MULTIPLANEOVERLAY_STRETCH_SUPPORT, 46)        \
  X(KMTQAITYPE_GET_DEVICE_VIDPN_OWNERSHIP_INFO, 47)          \
  X(KMTQAITYPE_QUERYREGISTRY, 48)                            \
  X(KMTQAITYPE_KMD_DRIVER_VERSION, 49)                       \
  X(KMTQAITYPE_BLOCKLIST_KERNEL, 50)                         \
  X(KMTQAITYPE_BLOCKLIST_RUNTIME, 51)                        \
  X(KMTQAITYPE_ADAPTERGUID_RENDER, 52)                       \
  X(KMTQAITYPE_ADAPTERADDRESS_RENDER, 53)                    \
  X(KMTQAITYPE_ADAPTERREGISTRYINFO_RENDER, 54)               \
  X(KMTQAITYPE_CHECKDRIVERUPDATESTATUS_RENDER, 55)           \
  X(KMTQAITYPE_DRIVERVERSION_RENDER, 56)                     \
  X(KMTQAITYPE_ADAPTERTYPE_RENDER, 57)                       \
  X(KMTQAITYPE_WDDM_1_2_CAPS_RENDER, 58)                     \
  X(KMTQAITYPE_WDDM_1_3_CAPS_RENDER, 59)                     \
  X(KMTQAITYPE_QUERY_ADAPTER_UNIQUE_GUID, 60)                \
  X(KMTQAITYPE_NODEPERFDATA, 61)                             \
  X(KMTQAITYPE_ADAPTERPERFDATA, 62)                          \
  X(KMTQAITYPE_ADAPTERPERFDATA_CAPS, 63)                     \
  X(KMTQUITYPE_GPUVERSION, 64)                               \
  X(KMTQAITYPE_DRIVER_DESCRIPTION, 65)                       \
  X(KMTQAITYPE_DRIVER_DESCRIPTION_RENDER, 66)                \
  X(KMTQAITYPE_SCANOUT_CAPS, 67)                             \
  X(KMTQAITYPE_PARAVIRTUALIZATION_RENDER, 68)                \
  X(KMTQAITYPE_SERVICENAME, 69)                              \
  X(KMTQAITYPE_WDDM_2_7_CAPS, 70)                            \
  X(KMTQAITYPE_DISPLAY_UMDRIVERNAME, 71)                     \
  X(KMTQAITYPE_TRACKEDWORKLOAD_SUPPORT, 72)                  \
  X(KMTQAITYPE_HYBRID_DLIST_DLL_SUPPORT, 73)                 \
  X(KMTQAITYPE_DISPLAY_CAPS, 74)                             \
  X(KMTQAITYPE_WDDM_2_9_CAPS, 75)                            \
  X(KMTQAITYPE_CROSSADAPTERRESOURCE_SUPPORT, 76)             \
  X(KMTQAITYPE_WDDM_3_0_CAPS, 77)                            \
  X(KMTQAITYPE_WSAUMDIMAGENAME, 78)                          \
  X(KMTQAITYPE_VGPUINTERFACEID, 79)                          \
  X(KMTQAITYPE_WDDM_3_1_CAPS, 80)

#ifdef __cplusplus
enum kmtqueryadapterinfo_number : uint32_t {
#else
enum kmtqueryadapterinfo_number {
#endif
#define DXG_ENUMERATOR(name, number) name = number,
  DXG_FOR_EACH_QUERY_ADAPTER_INFO_TYPE(DXG_ENUMERATOR)
#undef DXG_ENUMERATOR
};
