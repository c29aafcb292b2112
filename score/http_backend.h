// A running service as a Backend: the OpenAI API and its `ebb` object, as docs/http_api.md has
// them.
#pragma once

#include <memory>

#include "base/units.h"
#include "score/backend.h"

namespace ebb::score {

/// `timeout` is of one request, queueing included.
std::unique_ptr<Backend> make_http_backend(const HostPort& api, Millis timeout = Millis(3600000));

}  // namespace ebb::score
