// What a digest is, by the definition in kernels/digest.h, one head of one token at a time.
#pragma once

#include <vector>

#include "kernels/ops.h"

namespace ebb::kernels {

/// The rotation of kH3 and kH2; values as they are for kInt4.
std::vector<double> turned(DigestFormat format, const std::vector<double>& values);

/// Codes `values`, already centred and turned, into digest.head_bytes() bytes.
void encode_digest(const DigestShape& digest, const std::vector<double>& values, std::byte* to);

/// The digest.head_size values that these bytes stand for.
std::vector<double> decode_digest(const DigestShape& digest, const std::byte* from);

}  // namespace ebb::kernels
