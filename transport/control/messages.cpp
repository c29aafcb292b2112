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
