// Turns a completion-style call into a wait, for threads that may block (an engine thread, a test).
#pragma once

#include <functional>
#include <future>
#include <memory>

#include "base/result.h"

namespace ebb {

/// `auto reply = wait_for<GetReply>([&](auto done) { client.get(items, dest, by, done); });`
/// The callee promises to call `done` exactly once (its own deadline bounds the wait). Never on the
/// thread that runs completions.
template <class T, class Start>
Result<T> wait_for(Start&& start) {
  auto promise = std::make_shared<std::promise<Result<T>>>();
  auto future = promise->get_future();
  start(
      std::function<void(Result<T>)>([promise](Result<T> r) { promise->set_value(std::move(r)); }));
  return future.get();
}

}  // namespace ebb
