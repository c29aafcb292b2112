// What the worker's message handler hands to an endpoint: UCX's view of one arrived message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "transport/data/ucx_endpoint.h"

namespace ebb::data {

struct UcxEndpoint::RawMessage {
  std::span<const std::byte> frame;
  void* body = nullptr;  ///< the bytes, or UCX's descriptor when they are still to be fetched
  uint64_t body_bytes = 0;
  bool is_rendezvous = false;  ///< still to be fetched
};

}  // namespace ebb::data
