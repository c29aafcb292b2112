#include "coordinator/http_routes.h"

#include "coordinator/api_error.h"

namespace ebb::coordinator {
namespace {

bool matches(const std::string& pattern, const std::string& path) {
  if (!pattern.ends_with("/*")) return pattern == path;
  const size_t prefix = pattern.size() - 1;
  return path.size() > prefix && path.compare(0, prefix, pattern, 0, prefix) == 0;
}

http::Response no_route(const http::Request& request, const std::string& allowed) {
  ApiError error;
  if (allowed.empty()) {
    error.status = 404;
    error.code = "not_found";
    error.message = "there is nothing at " + request.path;
    return error_response(error);
  }
  error.status = 405;
  error.code = "method_not_allowed";
  error.message = request.path + " takes " + allowed + ", not " + request.method;
  http::Response response = error_response(error);
  response.headers["Allow"] = allowed;
  return response;
}

}  // namespace

void HttpRoutes::add(std::string method, std::string path, Handler handler) {
  routes_.push_back({std::move(method), std::move(path), std::move(handler)});
}

void HttpRoutes::add_simple(std::string method, std::string path,
                            std::function<http::Response(const http::Request&)> handler) {
  add(std::move(method), std::move(path),
      [handler = std::move(handler)](const http::Request& request,
                                     const std::shared_ptr<http::Exchange>& exchange) {
        exchange->send(handler(request));
      });
}

void HttpRoutes::serve(http::Request request, std::shared_ptr<http::Exchange> exchange) const {
  std::string allowed;
  for (const Route& route : routes_) {
    if (!matches(route.path, request.path)) continue;
    if (route.method == request.method) return route.handler(std::move(request), exchange);
    if (!allowed.empty()) allowed += ", ";
    allowed += route.method;
  }
  if (request.method == "OPTIONS" && (!allowed.empty() || request.path == "*")) {
    http::Response response;
    response.status = 204;
    response.headers["Allow"] = allowed.empty() ? "GET, HEAD, POST, OPTIONS" : allowed;
    return exchange->send(std::move(response));
  }
  exchange->send(no_route(request, allowed));
}

}  // namespace ebb::coordinator
