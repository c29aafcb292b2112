// The part of GoogleTest that tests/kernels uses, for machines that have none: bench/gpu_check.sh
// takes it only where find_package(GTest) finds nothing. Same macros, same case names, same filter,
// same exit code. One thread; main() is main.cpp.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace testing {

class Message {
 public:
  template <class T>
  Message& operator<<(const T& value) {
    text_ << value;
    return *this;
  }
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
};

/// Of one test case; the runner makes and runs it.
class Test {
 public:
  virtual ~Test() = default;
  void run_all() {
    SetUp();
    if (!HasFatalFailure() && !IsSkipped()) TestBody();
    TearDown();
  }
  static bool HasFatalFailure();
  static bool HasFailure();
  static bool IsSkipped();

 protected:
  virtual void SetUp() {}
  virtual void TearDown() {}
  virtual void TestBody() = 0;
  static void RecordProperty(const std::string& name, const std::string& value) {
    std::printf("%s: %s\n", name.c_str(), value.c_str());
  }
};

namespace internal {

enum class Kind { kFailure, kFatal, kSkip };

/// What the case that runs has done so far.
struct CaseState {
  int failures = 0;
  bool fatal = false;
  bool skipped = false;
};
inline CaseState& current() {
  static CaseState state;
  return state;
}

/// Takes what the test streams behind a macro, by operator=, which binds weaker than <<.
struct Report {
  Kind kind;
  const char* file;
  int line;
  std::string what;
  void operator=(const Message& more) const {
    if (kind == Kind::kSkip) {
      current().skipped = true;
      std::printf("%s:%d: Skipped\n%s\n", file, line, more.text().c_str());
      return;
    }
    ++current().failures;
    current().fatal = current().fatal || kind == Kind::kFatal;
    std::printf("%s:%d: Failure\n%s\n%s\n", file, line, what.c_str(), more.text().c_str());
  }
};

struct Verdict {
  bool ok = true;
  std::string what;
  explicit operator bool() const { return ok; }
};

template <class T>
std::string text_of(const T& value) {
  if constexpr (requires(std::ostream & out) { out << value; }) {
    std::ostringstream out;
    out.precision(9);
    out << value;
    return out.str();
  } else {
    return "(a value of " + std::to_string(sizeof value) + " bytes)";
  }
}

template <class A, class B>
Verdict judge(bool ok, const char* relation, const char* names, const A& a, const B& b) {
  if (ok) return {};
  return {false, "Expected: " + std::string(names) + " " + relation + "\n  first: " + text_of(a) +
                     "\n  second: " + text_of(b)};
}

// Tests compare sizes with plain literals.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
#define EBB_MINI_RELATION(name, op)                                          \
  template <class A, class B>                                                \
  Verdict name(const char* names, const A& a, const B& b) {                  \
    return judge(static_cast<bool>(a op b), "related by " #op, names, a, b); \
  }
EBB_MINI_RELATION(compare_eq, ==)
EBB_MINI_RELATION(compare_ne, !=)
EBB_MINI_RELATION(compare_lt, <)
EBB_MINI_RELATION(compare_le, <=)
EBB_MINI_RELATION(compare_gt, >)
EBB_MINI_RELATION(compare_ge, >=)
#undef EBB_MINI_RELATION
#pragma GCC diagnostic pop

inline Verdict near(const char* names, double a, double b, double limit) {
  return judge(std::fabs(a - b) <= limit, "closer", names, a, b);
}
template <class T>
Verdict truth(const char* name, const T& value, bool wanted) {
  if (static_cast<bool>(value) == wanted) return {};
  return {false, std::string("Expected: ") + name + (wanted ? " is true" : " is false")};
}

struct Case {
  std::string name;  ///< "Suite.Name", "On/Suite.Name/cuda"
  std::function<Test*()> make;
};

/// What macros of all sources have named. Instantiations may come before their tests, so cases are
/// made when all are known.
class Registry {
 public:
  static Registry& get() {
    static Registry registry;
    return registry;
  }
  bool add(Case one) {
    cases_.push_back(std::move(one));
    return true;
  }
  bool add_later(std::function<void(std::vector<Case>&)> makes) {
    later_.push_back(std::move(makes));
    return true;
  }
  std::vector<Case> cases() const {
    std::vector<Case> all = cases_;
    for (const auto& makes : later_) makes(all);
    return all;
  }

 private:
  std::vector<Case> cases_;
  std::vector<std::function<void(std::vector<Case>&)>> later_;
};

/// Tests of one TEST_P suite.
template <class Suite>
struct Parametrised {
  using Made = std::pair<std::string, std::function<Test*()>>;
  static std::vector<Made>& tests() {
    static std::vector<Made> all;
    return all;
  }
  static bool add(const char* name, std::function<Test*()> make) {
    tests().emplace_back(name, std::move(make));
    return true;
  }
};

}  // namespace internal

inline bool Test::HasFatalFailure() { return internal::current().fatal; }
inline bool Test::HasFailure() { return internal::current().failures > 0; }
inline bool Test::IsSkipped() { return internal::current().skipped; }

template <class T>
struct TestParamInfo {
  T param;
  size_t index = 0;
};

template <class T>
class TestWithParam : public Test {
 public:
  using ParamType = T;
  static const T& GetParam() { return *parameter(); }
  static const T*& parameter() {
    static const T* now = nullptr;
    return now;
  }
};

template <class Container>
auto ValuesIn(const Container& values) {
  using Value = std::decay_t<decltype(*std::begin(values))>;
  return std::vector<Value>(std::begin(values), std::end(values));
}
template <class First, class... Rest>
auto Values(First first, Rest... rest) {
  return std::vector<First>{first, static_cast<First>(rest)...};
}

namespace internal {

template <class Suite, class Values, class Namer>
bool instantiate(const char* prefix, const char* suite, const Values& generated, Namer name_of) {
  using T = typename Suite::ParamType;
  // Kept for as long as the program runs: cases point to them.
  auto* values = new std::vector<T>(generated.begin(), generated.end());
  const std::string begin = std::string(prefix) + "/" + suite + ".";
  return Registry::get().add_later([=](std::vector<Case>& all) {
    for (const auto& [test, make] : Parametrised<Suite>::tests()) {
      for (size_t i = 0; i < values->size(); ++i) {
        const TestParamInfo<T> info{(*values)[i], i};
        all.push_back({begin + test + "/" + name_of(info), [value = &(*values)[i], create = make] {
                         Suite::parameter() = value;
                         return create();
                       }});
      }
    }
  });
}
template <class Suite, class Values>
bool instantiate(const char* prefix, const char* suite, const Values& generated) {
  using T = typename Suite::ParamType;
  return instantiate<Suite>(prefix, suite, generated, [](const TestParamInfo<T>& info) {
    return std::to_string(info.index);
  });
}

}  // namespace internal
}  // namespace testing

#define EBB_MINI_CLASS(suite, name) suite##_##name##_Test
#define EBB_MINI_TEST(suite, name, base)                                                     \
  class EBB_MINI_CLASS(suite, name) : public base {                                          \
    void TestBody() override;                                                                \
  };                                                                                         \
  [[maybe_unused]] static const bool ebb_mini_##suite##_##name =                             \
      ::testing::internal::Registry::get().add({#suite "." #name, []() -> ::testing::Test* { \
                                                  return new EBB_MINI_CLASS(suite, name);    \
                                                }});                                         \
  void EBB_MINI_CLASS(suite, name)::TestBody()

#define TEST(suite, name) EBB_MINI_TEST(suite, name, ::testing::Test)
#define TEST_F(suite, name) EBB_MINI_TEST(suite, name, suite)
#define TEST_P(suite, name)                                                             \
  class EBB_MINI_CLASS(suite, name) : public suite {                                    \
    void TestBody() override;                                                           \
  };                                                                                    \
  [[maybe_unused]] static const bool ebb_mini_##suite##_##name =                        \
      ::testing::internal::Parametrised<suite>::add(                                    \
          #name, []() -> ::testing::Test* { return new EBB_MINI_CLASS(suite, name); }); \
  void EBB_MINI_CLASS(suite, name)::TestBody()
#define INSTANTIATE_TEST_SUITE_P(prefix, suite, ...)               \
  [[maybe_unused]] static const bool ebb_mini_##prefix##_##suite = \
      ::testing::internal::instantiate<suite>(#prefix, #suite, __VA_ARGS__)

#define EBB_MINI_CHECK(verdict, fail)                                              \
  switch (0)                                                                       \
  case 0:                                                                          \
  default:                                                                         \
    if (const ::testing::internal::Verdict ebb_verdict = (verdict); ebb_verdict) { \
    } else                                                                         \
      fail ::testing::internal::Report
#define EBB_MINI_EXPECT(verdict)                                                     \
  EBB_MINI_CHECK(verdict, ){::testing::internal::Kind::kFailure, __FILE__, __LINE__, \
                            ebb_verdict.what} = ::testing::Message()
#define EBB_MINI_ASSERT(verdict)                                                          \
  EBB_MINI_CHECK(verdict, return ){::testing::internal::Kind::kFatal, __FILE__, __LINE__, \
                                   ebb_verdict.what} = ::testing::Message()

#define EBB_MINI_PAIR(name, a, b) ::testing::internal::name(#a ", " #b, a, b)
#define EXPECT_EQ(a, b) EBB_MINI_EXPECT(EBB_MINI_PAIR(compare_eq, a, b))
#define EXPECT_NE(a, b) EBB_MINI_EXPECT(EBB_MINI_PAIR(compare_ne, a, b))
#define EXPECT_LT(a, b) EBB_MINI_EXPECT(EBB_MINI_PAIR(compare_lt, a, b))
#define EXPECT_LE(a, b) EBB_MINI_EXPECT(EBB_MINI_PAIR(compare_le, a, b))
#define EXPECT_GT(a, b) EBB_MINI_EXPECT(EBB_MINI_PAIR(compare_gt, a, b))
#define EXPECT_GE(a, b) EBB_MINI_EXPECT(EBB_MINI_PAIR(compare_ge, a, b))
#define EXPECT_NEAR(a, b, limit) EBB_MINI_EXPECT(::testing::internal::near(#a ", " #b, a, b, limit))
#define EXPECT_TRUE(a) EBB_MINI_EXPECT(::testing::internal::truth(#a, a, true))
#define EXPECT_FALSE(a) EBB_MINI_EXPECT(::testing::internal::truth(#a, a, false))
#define ASSERT_EQ(a, b) EBB_MINI_ASSERT(EBB_MINI_PAIR(compare_eq, a, b))
#define ASSERT_NE(a, b) EBB_MINI_ASSERT(EBB_MINI_PAIR(compare_ne, a, b))
#define ASSERT_LT(a, b) EBB_MINI_ASSERT(EBB_MINI_PAIR(compare_lt, a, b))
#define ASSERT_LE(a, b) EBB_MINI_ASSERT(EBB_MINI_PAIR(compare_le, a, b))
#define ASSERT_GT(a, b) EBB_MINI_ASSERT(EBB_MINI_PAIR(compare_gt, a, b))
#define ASSERT_GE(a, b) EBB_MINI_ASSERT(EBB_MINI_PAIR(compare_ge, a, b))
#define ASSERT_NEAR(a, b, limit) EBB_MINI_ASSERT(::testing::internal::near(#a ", " #b, a, b, limit))
#define ASSERT_TRUE(a) EBB_MINI_ASSERT(::testing::internal::truth(#a, a, true))
#define ASSERT_FALSE(a) EBB_MINI_ASSERT(::testing::internal::truth(#a, a, false))
#define ADD_FAILURE() EBB_MINI_EXPECT((::testing::internal::Verdict{false, "Failed"}))
#define FAIL() EBB_MINI_ASSERT((::testing::internal::Verdict{false, "Failed"}))
#define SUCCEED() EBB_MINI_EXPECT((::testing::internal::Verdict{}))
#define SCOPED_TRACE(what) static_cast<void>(what)
#define GTEST_SKIP()                                                                             \
  return ::testing::internal::Report{::testing::internal::Kind::kSkip, __FILE__, __LINE__, ""} = \
             ::testing::Message()
