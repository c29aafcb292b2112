// A terminal that keeps what was written, and a small real HTTP service whose answers a test
// chooses.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "cli/service.h"
#include "cli/terminal.h"
#include "tests/support/temp_dir.h"
#include "transport/http/server.h"

namespace ebb::cli {

struct KeptTerminal {
  std::ostringstream out;
  std::ostringstream err;
  Terminal terminal{out, err, false, false, true, 100, "ebbctl"};
};

/// Answers every request with `answer` (on the server's thread).
class FakeService {
 public:
  using Answer = std::function<http::Response(const http::Request&)>;
  explicit FakeService(Answer answer)
      : server_(http::Server::start(
            {"127.0.0.1", 0}, {},
            [this, answer](http::Request request, std::shared_ptr<http::Exchange> exchange) {
              ++requests_;
              http::Response response = answer(request);
              if (response.status == 0) return held_.push_back(exchange);
              exchange->send(std::move(response));
            })) {
    EXPECT_TRUE(server_) << server_.error().text();
  }
  Service service() const {
    const HostPort here{"127.0.0.1", (*server_)->port()};
    return {here, here};
  }
  int requests() const { return requests_; }

 private:
  std::atomic<int> requests_{0};
  std::vector<std::shared_ptr<http::Exchange>> held_;  ///< never answered (status 0)
  Result<std::unique_ptr<http::Server>> server_;
};

inline http::Response json_answer(int status, const std::string& body) {
  http::Response response;
  response.status = status;
  response.body = body;
  return response;
}

}  // namespace ebb::cli
