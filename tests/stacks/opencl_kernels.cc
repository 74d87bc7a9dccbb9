// The kernels of the proof, each with many shapes, against plain C.
//
//   dxg-stack-kernels [--only NAME] [--items N] [--group N] [--digest]
//
// With --digest it also prints a number of all memory that it has read back, for each kernel.
// Exit status: 0 if everything was right. A kernel that the device cannot have is named as "left out".
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>
#include <vector>

#include "tests/stacks/opencl_kit.h"

namespace stacks {
namespace {

constexpr size_t kItems[] = {1, 31, 33, 1000};
constexpr size_t kGroups[] = {1, 7, 16, 64, 256};

void RunShapes(const Session& session, const Proof& proof, size_t only_items, size_t only_group,
               bool digests) {
  Doing(proof.name);
  Kernel kernel(session, proof.kernel, proof.source, proof.options);
  const size_t largest = kernel.LargestGroup();
  size_t shapes = 0;
  for (const bool exact : {false, true}) {
    if (exact && !session.exact_shapes()) continue;
    for (const size_t items : kItems) {
      for (const size_t group : kGroups) {
        if (group > largest || (only_items && items != only_items) || (only_group && group != only_group))
          continue;
        Doing(std::string(proof.name) + ", " + std::to_string(items) + " work items in groups of " +
              std::to_string(group) + (exact ? ", the last one smaller" : ""));
        proof.run(session, kernel, {items, group, exact});
        ++shapes;
      }
    }
  }
  CHECK(shapes != 0);
  printf("%s: right in %zu shapes\n", proof.name, shapes);
  const uint64_t digest = TakeDigest();
  if (digests) printf("%s: memory %016llx\n", proof.name, static_cast<unsigned long long>(digest));
  fflush(stdout);
}

}  // namespace
}  // namespace stacks

int main(int argc, char** argv) {
  std::string only;
  size_t items = 0, group = 0;
  bool digests = false;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 < argc && strcmp(argv[i], "--only") == 0) {
      only = argv[i + 1];
    } else if (i + 1 < argc && strcmp(argv[i], "--items") == 0) {
      items = strtoul(argv[i + 1], nullptr, 10);
    } else if (i + 1 < argc && strcmp(argv[i], "--group") == 0) {
      group = strtoul(argv[i + 1], nullptr, 10);
    } else if (strcmp(argv[i], "--digest") == 0) {
      digests = true;
      --i;
    } else {
      fprintf(stderr, "Usage: dxg-stack-kernels [--only NAME] [--items N] [--group N] [--digest]\n");
      return 2;
    }
  }
  const stacks::Session session = stacks::Session::Open();
  std::vector<stacks::Proof> proofs;
  for (const auto& some : {stacks::ArithmeticProofs(), stacks::GroupProofs(), stacks::FlowProofs()})
    proofs.insert(proofs.end(), some.begin(), some.end());
  for (const stacks::Proof& proof : proofs) {
    if (!only.empty() && only != proof.name) continue;
    if (proof.needs && !session.Has(proof.needs)) {
      printf("%s: left out, the device has no %s\n", proof.name, proof.needs);
      continue;
    }
    stacks::RunShapes(session, proof, items, group, digests);
  }
  session.Close();
  printf("all right\n");
  return 0;
}
