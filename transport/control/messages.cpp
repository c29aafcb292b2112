#include "transport/control/messages.h"

namespace ebb::control {

const char* policy_name(PolicyKind kind) {
  switch (kind) {
    case PolicyKind::kDense:
      return "dense";
    case PolicyKind::kTidal:
      return "tidal";
  }
  return "unknown";
}

}  // namespace ebb::control
