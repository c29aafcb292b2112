#include "coordinator/http_front.h"

#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/log.h"
#include "coordinator/admin_api.h"
#include "coordinator/api_context.h"
#include "coordinator/generation.h"
#include "coordinator/http_routes.h"
#include "coordinator/json_fields.h"
#include "coordinator/policy_fields.h"
#include "coordinator/tokenize_api.h"
#include "models/profile_json.h"
#include "transport/http/server.h"

namespace ebb::coordinator {
namespace {

using Json = nlohmann::ordered_json;
using Context = std::shared_ptr<ApiContext>;

/// How long finished answers may take to reach their clients when the front stops.
constexpr Millis kFlush{2000};
/// Of one page, when the operator does not say how many.
constexpr uint32_t kGranulesDefault = 100;

http::Response json_response(int status, std::string body) {
  http::Response response;
  response.status = status;
  response.body = std::move(body);
  return response;
}

/// config.model.name, else the file's general.name, else the file's stem.
std::string served_name(const ClusterConfig& config, const models::ModelShape& shape) {
  if (!config.model.name.empty()) return config.model.name;
  if (!shape.name.empty()) return shape.name;
  return std::filesystem::path(effective_model_path(config)).stem().string();
}

/// Defaults must lie where a request's values may.
Result<void> check_defaults(const models::GenerationDefaults& defaults) {
  const auto check = [](const char* name, std::optional<double> value, double min, double max) {
    if (!value || (*value >= min && *value <= max)) return Result<void>();
    return Result<void>(invalid(std::string("the model's generation defaults: ") + name +
                                " must be from " + number_text(min) + " to " + number_text(max) +
                                ", not " + number_text(*value) +
                                "; coordinator.generation_defaults: none leaves them out"));
  };
  EBB_TRY_VOID(check("temperature", defaults.temperature, 0, 2));
  EBB_TRY_VOID(check("top_p", defaults.top_p, 1e-6, 1));
  EBB_TRY_VOID(check("min_p", defaults.min_p, 0, 1));
  return check("repetition_penalty", defaults.repetition_penalty, 1e-6, 10);
}

http::Response health(const Context& context) {
  const EngineStatus status = context->engine.status();
  Json body{{"status", status.healthy ? "ok" : "stuck"},
            {"progress_age_seconds", status.progress_age_seconds}};
  return json_response(status.healthy ? 200 : 503, body.dump());
}

http::Response ready(const Context& context, const http::Request& request) {
  const EngineStatus status = context->engine.status();
  Json body{{"status", status.ready ? "ready" : "not ready"}, {"ready", status.ready}};
  if (!status.ready) body["not_ready_because"] = status.not_ready_because;
  if (request.query.contains("verbose")) {
    body["draining"] = status.draining;
    body["healthy"] = status.healthy;
    for (const GroupState& group : status.groups) body["groups"][group.name] = group.state;
    for (const StoreState& store : status.stores) {
      body["stores"][store.name] = store.connected ? "connected" : store.problem;
    }
  }
  return json_response(status.ready ? 200 : 503,
                       body.dump(-1, ' ', false, Json::error_handler_t::replace));
}

http::Response metrics_text(const Context& context) {
  http::Response response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = context->metrics.text(context->engine.status());
  return response;
}

Json model_json(const ApiContext& context) {
  return Json{{"id", context.model},
              {"object", "model"},
              {"created", context.started},
              {"owned_by", "ebb"},
              {"root", context.model},
              {"parent", nullptr},
              {"max_model_len", context.max_model_len}};
}

http::Response one_model(const Context& context, const http::Request& request) {
  const std::string asked = request.path.substr(std::string("/v1/models/").size());
  if (asked == context->model) return json_response(200, model_json(*context).dump());
  return error_response(unknown_model(asked, context->model));
}

/// A number of the query; none when it is not given.
template <class T>
Result<std::optional<T>> query_number(const http::Request& request, const char* name) {
  const auto found = request.query.find(name);
  if (found == request.query.end()) return std::optional<T>();
  const std::string& text = found->second;
  T number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size())
    return invalid(std::string(name) + " must be a number, not \"" + text + "\"");
  return std::optional<T>(number);
}

std::string query_text(const http::Request& request, const char* name) {
  const auto found = request.query.find(name);
  return found == request.query.end() ? "" : found->second;
}

void kv_map(const Context& context, const http::Request& request,
            const std::shared_ptr<http::Exchange>& exchange) {
  const auto seq = query_number<uint64_t>(request, "seq");
  if (!seq) return exchange->send(error_response(bad_field("seq", seq.error().message)));
  std::optional<SeqId> id;
  if (*seq) id = SeqId{**seq};
  context->engine.describe(id, [exchange](Result<control::SequenceMap> map) {
    exchange->send(map ? json_response(200, kv_map_json(*map))
                       : error_response(from_engine(map.error())));
  });
}

void granules(const Context& context, const http::Request& request,
              const std::shared_ptr<http::Exchange>& exchange) {
  const auto seq = query_number<uint64_t>(request, "seq");
  if (!seq) return exchange->send(error_response(bad_field("seq", seq.error().message)));
  const auto limit = query_number<uint32_t>(request, "limit");
  if (!limit) return exchange->send(error_response(bad_field("limit", limit.error().message)));
  control::GranuleQuery query;
  if (*seq) query.seq = SeqId{**seq};
  query.limit = limit->value_or(kGranulesDefault);
  query.cursor = query_text(request, "cursor");
  context->engine.granules(query_text(request, "store"), std::move(query),
                           [exchange](Result<control::GranulePage> page) {
                             exchange->send(page ? json_response(200, granules_json(*page))
                                                 : error_response(from_engine(page.error())));
                           });
}

/// On both ports: probes and scrapers use either.
void add_common(HttpRoutes& routes, const Context& context) {
  for (const char* path : {"/health", "/live", "/livez"}) {
    routes.add_simple("GET", path, [context](const http::Request&) { return health(context); });
  }
  for (const char* path : {"/ready", "/readyz", "/healthz"}) {
    routes.add_simple("GET", path, [context](const http::Request& r) { return ready(context, r); });
  }
  routes.add_simple("GET", "/metrics",
                    [context](const http::Request&) { return metrics_text(context); });
  routes.add_simple("GET", "/version", [](const http::Request&) {
    return json_response(200, Json{{"version", ebb_version()}}.dump());
  });
}

/// Work that tokenises: on the pool, since a long text takes longer than this thread may be away.
void add_pooled(HttpRoutes& routes, const Context& context, const char* path,
                http::Response (*act)(const ApiContext&, const http::Request&)) {
  routes.add(
      "POST", path,
      [context, act](http::Request request, std::shared_ptr<http::Exchange> exchange) {
        const auto shared = std::make_shared<http::Request>(std::move(request));
        const bool posted = context->pool.post(
            [context, act, shared, exchange] { exchange->send(act(*context, *shared)); });
        if (posted) return;
        exchange->send(error_response(from_engine(exhausted("too many requests wait to be read"))));
      });
}

HttpRoutes api_routes(const Context& context) {
  HttpRoutes routes;
  add_common(routes, context);
  routes.add("POST", "/v1/completions",
             [context](http::Request request, std::shared_ptr<http::Exchange> exchange) {
               serve_generation(context, Endpoint::kCompletions, std::move(request),
                                std::move(exchange));
             });
  routes.add("POST", "/v1/chat/completions",
             [context](http::Request request, std::shared_ptr<http::Exchange> exchange) {
               serve_generation(context, Endpoint::kChat, std::move(request), std::move(exchange));
             });
  routes.add_simple("GET", "/v1/models", [context](const http::Request&) {
    const Json body{{"object", "list"}, {"data", Json::array({model_json(*context)})}};
    return json_response(200, body.dump());
  });
  routes.add_simple("GET", "/v1/models/*",
                    [context](const http::Request& r) { return one_model(context, r); });
  add_pooled(routes, context, "/tokenize", tokenize);
  add_pooled(routes, context, "/detokenize", detokenize);
  return routes;
}

HttpRoutes admin_routes(const Context& context) {
  HttpRoutes routes;
  add_common(routes, context);
  routes.add_simple("GET", "/admin/v1/status", [context](const http::Request&) {
    return json_response(200, status_json(context->engine.status()));
  });
  routes.add_simple("GET", "/admin/v1/sequences", [context](const http::Request&) {
    return json_response(200, sequences_json(context->engine.sequences()));
  });
  routes.add_simple("GET", "/admin/v1/profile", [context](const http::Request&) {
    return json_response(200, models::profile_json(context->profile));
  });
  routes.add(
      "GET", "/admin/v1/kv/map",
      [context](const http::Request& request, const std::shared_ptr<http::Exchange>& exchange) {
        kv_map(context, request, exchange);
      });
  routes.add(
      "GET", "/admin/v1/kv/granules",
      [context](const http::Request& request, const std::shared_ptr<http::Exchange>& exchange) {
        granules(context, request, exchange);
      });
  return routes;
}

Result<std::unique_ptr<http::Server>> serve(const char* key, const HostPort& address,
                                            http::ServerOptions options, HttpRoutes routes) {
  const auto shared = std::make_shared<const HttpRoutes>(std::move(routes));
  auto server = http::Server::start(
      address, std::move(options),
      [shared](http::Request request, std::shared_ptr<http::Exchange> exchange) {
        shared->serve(std::move(request), std::move(exchange));
      });
  if (!server) return with_context(key, std::move(server).error());
  return server;
}

Result<void> check_address(const char* key, const HostPort& address, HttpFrontOptions options) {
  if (options.insecure || is_loopback(address.host)) return {};
  return invalid(std::string(key) + " " + address.text() +
                 " can be reached from other machines, and there are no API keys yet: everyone "
                 "there could use the model; start with --insecure to allow it");
}

class BeastFront final : public HttpFront {
 public:
  explicit BeastFront(Context context) : context_(std::move(context)) {}
  ~BeastFront() override { stop(); }

  Result<void> listen(const CoordinatorConfig& config) {
    http::ServerOptions api;
    api.name = "api";
    api.body_max = config.body_max;
    http::ServerOptions admin;
    admin.name = "admin";
    admin.body_max = 64 * kKiB;
    api_ =
        EBB_TRY(serve("coordinator.http_address", config.http_address, api, api_routes(context_)));
    admin_ = EBB_TRY(serve("coordinator.metrics_address", config.metrics_address, admin,
                           admin_routes(context_)));
    http_port_ = api_->port();
    metrics_port_ = admin_->port();
    log_info(
        "api", "HTTP servers started",
        {{"http_port", http_port_}, {"metrics_port", metrics_port_}, {"model", context_->model}});
    return {};
  }

  uint16_t http_port() const override { return http_port_; }
  uint16_t metrics_port() const override { return metrics_port_; }
  void stop() override {
    if (!api_) return;
    api_->stop_accepting();
    if (admin_) admin_->stop_accepting();  // null: its address was in use when the front began
    context_->pool.stop();  // first: it may hold answers that only need to be written down
    api_->flush(Deadline::after(kFlush));
    api_.reset();
    admin_.reset();
  }

 private:
  Context context_;
  std::unique_ptr<http::Server> api_;
  std::unique_ptr<http::Server> admin_;
  uint16_t http_port_ = 0;
  uint16_t metrics_port_ = 0;
};

}  // namespace

Result<std::unique_ptr<HttpFront>> HttpFront::start(const LoadedConfig& loaded, Engine& engine,
                                                    const models::Tokenizer& tokenizer,
                                                    const models::ChatTemplate* chat_template,
                                                    const models::ModelShape& shape,
                                                    Metrics& metrics, HttpFrontOptions options) {
  const ClusterConfig& config = loaded.config;
  const CoordinatorConfig& own = config.coordinator;
  EBB_TRY_VOID(check_address("coordinator.http_address", own.http_address, options));
  EBB_TRY_VOID(check_address("coordinator.metrics_address", own.metrics_address, options));
  auto context = std::make_shared<ApiContext>(engine, tokenizer, chat_template, metrics);
  context->model = served_name(config, shape);
  context->fingerprint = "fp_" + to_hex(shape.digest).substr(0, 12);
  context->policy_defaults = EBB_TRY(read_policy_defaults(config.policy));
  context->max_model_len =
      config.model.max_model_len > 0 ? config.model.max_model_len : shape.context_length;
  context->started = std::chrono::duration_cast<std::chrono::seconds>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count();
  context->stop_tokens = model_stop_tokens(tokenizer, options.defaults);
  if (own.generation_defaults == "model") {
    EBB_TRY_VOID(check_defaults(options.defaults));
    context->defaults = options.defaults;
  }
  context->profile = std::move(options.profile);
  auto front = std::make_unique<BeastFront>(std::move(context));
  EBB_TRY_VOID(front->listen(own));
  return std::unique_ptr<HttpFront>(std::move(front));
}

}  // namespace ebb::coordinator
