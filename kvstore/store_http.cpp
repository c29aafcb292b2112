#include "kvstore/store_http.h"

namespace ebb::kvstore {
namespace {

http::Response json(int status, const std::string& body) {
  http::Response response;
  response.status = status;
  response.body = body + "\n";
  return response;
}

http::Response answer(const http::Request& request, StoreProbes& probes, Metrics& metrics) {
  if (request.method != "GET") return json(405, R"({"error":"only GET"})");
  if (request.path == "/health" || request.path == "/livez") {
    return probes.healthy() ? json(200, R"({"status":"ok"})") : json(503, R"({"status":"stuck"})");
  }
  if (request.path == "/ready" || request.path == "/readyz") {
    return probes.ready ? json(200, R"({"status":"ready"})")
                        : json(503, R"({"status":"not ready"})");
  }
  if (request.path == "/version")
    return json(200, std::string(R"({"version":")") + store_version() + "\"}");
  if (request.path != "/metrics")
    return json(404, R"({"error":"try /metrics, /health, /ready or /version"})");
  probes.refresh();
  http::Response response;
  response.content_type = "text/plain; version=0.0.4";
  response.body = metrics.text();
  return response;
}

}  // namespace

http::Handler store_http_handler(StoreProbes& probes, Metrics& metrics) {
  return [&probes, &metrics](http::Request request, std::shared_ptr<http::Exchange> exchange) {
    exchange->send(answer(request, probes, metrics));
  };
}

const char* store_version() { return EBB_VERSION; }

}  // namespace ebb::kvstore
