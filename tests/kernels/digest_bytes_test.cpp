// Digests travel with records: who wrote them must not matter. Beside the CPU backend, which a
// machine that has only CUDA's toolkit does not build.
#include "tests/kernels/digest_fixture.h"

namespace ebb::kernels {
namespace {

class DigestBytes : public KernelsTest {};

TEST_P(DigestBytes, AreThoseOfTheOldestInstructionSet) {
  Machine subject = make_subject(3);
  Machine oldest(std::move(*make_cpu_backend({1, 1, "x86-64-v2"})));
  for (const DigestFormat format : kDigestFormats) {
    for (const KvShape& shape : digest_shapes()) {
      const Tokens tokens(random_, shape, format, 150);
      EXPECT_EQ(tokens.written(subject), tokens.written(oldest)) << text_of(shape, format);
    }
  }
}

EBB_ON_EVERY_SUBJECT(DigestBytes);

}  // namespace
}  // namespace ebb::kernels
