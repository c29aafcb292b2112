#include "transport/control/messages.h"

namespace ebb::control {

const char* policy_name(PolicyKind kind) {
  switch (kind) {
    case PolicyKind::kDense:
      return "dense";
    case PolicyKind::kTidal:
      return "tidal";
    case PolicyKind::kStreaming:
      return "streaming";
    case PolicyKind::kRecycled:
      return "recycled";
    case PolicyKind::kComposed:
      return "composed";
    case PolicyKind::kAnchored:
      return "anchored";
    case PolicyKind::kAdore:
      return "adore";
  }
  return "unknown";
}

const char* digest_name(DigestKind kind) {
  switch (kind) {
    case DigestKind::kNone:
      return "none";
    case DigestKind::kInt4:
      return "int4";
    case DigestKind::kH3:
      return "h3";
    case DigestKind::kH2:
      return "h2";
  }
  return "unknown";
}

const char* scope_name(SetScope scope) {
  switch (scope) {
    case SetScope::kLayer:
      return "layer";
    case SetScope::kKvHead:
      return "kv_head";
    case SetScope::kQueryHead:
      return "query_head";
  }
  return "unknown";
}

}  // namespace ebb::control
