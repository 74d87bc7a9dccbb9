#include "tests/conformance/call_table.h"

#include "tests/conformance/call_rows.h"

namespace dxg::conformance {

const std::vector<CallRow>& CallTable() {
  static const std::vector<CallRow> table = Join({AdapterRows(), MemoryRows(), SyncRows(), WorkRows()});
  return table;
}

}  // namespace dxg::conformance
