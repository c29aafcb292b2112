// Path and method to handler; everything else is a 404 or 405 with an error object.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "transport/http/server.h"

namespace ebb::coordinator {

class HttpRoutes {
 public:
  using Handler = std::function<void(http::Request, std::shared_ptr<http::Exchange>)>;
  /// `path` ending in "/*" matches every longer path.
  void add(std::string method, std::string path, Handler handler);
  /// A handler that answers at once.
  void add_simple(std::string method, std::string path,
                  std::function<http::Response(const http::Request&)> handler);
  void serve(http::Request request, std::shared_ptr<http::Exchange> exchange) const;

 private:
  struct Route {
    std::string method;
    std::string path;
    Handler handler;
  };
  std::vector<Route> routes_;
};

}  // namespace ebb::coordinator
