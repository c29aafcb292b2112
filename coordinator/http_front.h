// The coordinator's two HTTP servers: the API that users call, and the operators' port (metrics,
// health, admin). Routes paths to handlers; knows no scheduling.
#pragma once

#include <memory>

#include "base/cluster_config.h"
#include "base/metrics.h"
#include "coordinator/engine.h"
#include "models/chat_template.h"
#include "models/generation_defaults.h"
#include "models/model_shape.h"
#include "models/selection_profile.h"
#include "models/tokenizer.h"

namespace ebb::coordinator {

struct HttpFrontOptions {
  bool insecure = false;                ///< --insecure: listen on addresses that others can reach
  models::GenerationDefaults defaults;  ///< what the model's files say about sampling
  models::SelectionProfile profile;     ///< in force
};

class HttpFront {
 public:
  /// Starts both servers; all references, and the engine above all, must outlive the front *and*
  /// the engine's last callback. `chat_template` null: the model has none. Errors: kUnavailable
  /// (address in use: names it), kInvalid (an address that is not loopback, without `insecure`).
  static Result<std::unique_ptr<HttpFront>> start(const LoadedConfig& loaded, Engine& engine,
                                                  const models::Tokenizer& tokenizer,
                                                  const models::ChatTemplate* chat_template,
                                                  const models::ModelShape& shape, Metrics& metrics,
                                                  HttpFrontOptions options = {});
  virtual ~HttpFront() = default;  ///< stops

  virtual uint16_t http_port() const = 0;
  virtual uint16_t metrics_port() const = 0;
  /// Closes both servers. Finished answers still go out (for two seconds at most); clients that
  /// wait for an unfinished one lose their connection, and their sequences are cancelled. So drain
  /// the engine first: the servers go on answering meanwhile, new requests with 503. Idempotent.
  virtual void stop() = 0;
};

}  // namespace ebb::coordinator
