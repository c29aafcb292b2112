// Runs the cases that a filter leaves, and says what GoogleTest says: a line before and behind
// each, the summary, and 1 where one failed.
#include <chrono>
#include <memory>

#include <gtest/gtest.h>

namespace {

using testing::internal::Case;

/// `*` is any run of characters, `?` any one.
bool matches(const char* pattern, const char* text) {
  if (*pattern == 0) return *text == 0;
  if (*pattern == '*')
    return matches(pattern + 1, text) || (*text != 0 && matches(pattern, text + 1));
  return *text != 0 && (*pattern == '?' || *pattern == *text) && matches(pattern + 1, text + 1);
}

bool matches_any(const std::string& patterns, const std::string& name) {
  std::stringstream all(patterns);
  for (std::string one; std::getline(all, one, ':');) {
    if (matches(one.c_str(), name.c_str())) return true;
  }
  return false;
}

/// "a*:b*-c*": what matches a pattern before the minus and none behind it.
std::vector<Case> filtered(const std::string& filter) {
  const size_t minus = filter.find('-');
  const std::string wanted = minus == 0 ? "*" : filter.substr(0, minus);
  const std::string unwanted = minus == std::string::npos ? "" : filter.substr(minus + 1);
  std::vector<Case> left;
  for (Case& one : testing::internal::Registry::get().cases()) {
    if (matches_any(wanted, one.name) && !matches_any(unwanted, one.name)) {
      left.push_back(std::move(one));
    }
  }
  return left;
}

long long milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               begin)
      .count();
}

int run_cases(const std::vector<Case>& cases) {
  std::vector<std::string> failed, skipped;
  const auto begin = std::chrono::steady_clock::now();
  std::printf("[==========] Running %zu tests.\n", cases.size());
  for (const Case& one : cases) {
    const auto began = std::chrono::steady_clock::now();
    testing::internal::current() = {};
    std::printf("[ RUN      ] %s\n", one.name.c_str());
    std::fflush(stdout);
    std::unique_ptr<testing::Test>(one.make())->run_all();
    const auto& state = testing::internal::current();
    const char* how = state.failures > 0 ? "  FAILED  "
                      : state.skipped    ? "  SKIPPED "
                                         : "       OK ";
    std::printf("[%s] %s (%lld ms)\n", how, one.name.c_str(), milliseconds_since(began));
    std::fflush(stdout);
    if (state.failures > 0) {
      failed.push_back(one.name);
    } else if (state.skipped) {
      skipped.push_back(one.name);
    }
  }
  std::printf("[==========] %zu tests ran. (%lld ms total)\n", cases.size(),
              milliseconds_since(begin));
  std::printf("[  PASSED  ] %zu tests.\n", cases.size() - failed.size() - skipped.size());
  if (!skipped.empty()) std::printf("[  SKIPPED ] %zu tests.\n", skipped.size());
  if (!failed.empty()) std::printf("[  FAILED  ] %zu tests, listed below:\n", failed.size());
  for (const std::string& name : failed) std::printf("[  FAILED  ] %s\n", name.c_str());
  return failed.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::string filter = "*";
  bool list = false;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.rfind("--gtest_filter=", 0) == 0) filter = argument.substr(15);
    if (argument == "--gtest_list_tests") list = true;
  }
  const std::vector<Case> cases = filtered(filter);
  if (!list) return run_cases(cases);
  for (const Case& one : cases) std::printf("%s\n", one.name.c_str());
  return 0;
}
