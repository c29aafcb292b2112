// The house's rules themselves: each finds what it is for, and leaves alone what is right.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/house/covered_elsewhere.h"
#include "tests/house/document_rules.h"
#include "tests/house/form_rules.h"
#include "tests/house/include_rules.h"

namespace ebb::house {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

Violations our_includes(const std::string& path, const std::string& text) {
  const SourceTree tree({make_file("base/log.h", ""), make_file("kernels/ops.h", ""),
                         make_file("kvstore/client.h", ""), make_file("kvstore/store.h", "")});
  return check_our_includes(tree, make_file(path, text));
}

TEST(HouseRules, AFolderIncludesOnlyWhatTheTableAllows) {
  EXPECT_THAT(our_includes("coordinator/x.cpp", "#include \"base/log.h\"\n"), IsEmpty());
  EXPECT_THAT(our_includes("coordinator/x.cpp", "\n#include \"kernels/ops.h\"\n"),
              ElementsAre("coordinator/x.cpp:2: coordinator/ must not know \"kernels/ops.h\""));
  EXPECT_THAT(our_includes("worker/x.cpp", "#include \"kvstore/client.h\"\n"), IsEmpty());
  EXPECT_THAT(our_includes("worker/x.cpp", "#include \"kvstore/store.h\"\n"),
              ElementsAre(HasSubstr("worker/ must not know")));
  EXPECT_THAT(our_includes("base/x.h", "#include \"log.h\"\n"),
              ElementsAre(HasSubstr("\"log.h\" is no file, seen from the root")));
  EXPECT_THAT(our_includes("kvstore/x.cpp", "#include \"messages.capnp.h\"\n"),
              ElementsAre(HasSubstr("stay inside transport/control/")));
  EXPECT_THAT(our_includes("newfolder/x.cpp", ""), ElementsAre(HasSubstr("does not know")));
}

TEST(HouseRules, LibrariesStayInTheirPlace) {
  const auto check = [](const std::string& path, const std::string& text) {
    return check_vendor_includes(make_file(path, text));
  };
  EXPECT_THAT(check("kvstore/ssd_tier.cpp", "#include <rocksdb/db.h>\n#include <vector>\n"),
              IsEmpty());
  EXPECT_THAT(check("kvstore/store.cpp", "#include <rocksdb/db.h>\n"),
              ElementsAre("kvstore/store.cpp:1: <rocksdb/db.h> belongs only to kvstore/ssd_tier"));
  EXPECT_THAT(check("ctl/main.cpp", "#include <CLI/CLI.hpp>\n"), IsEmpty());
  EXPECT_THAT(check("ctl/up.cpp", "#include <CLI/CLI.hpp>\n"), ElementsAre(HasSubstr("belongs")));
  EXPECT_THAT(check("base/x.cpp", "#include <curl/curl.h>\n"),
              ElementsAre(HasSubstr("not in the table")));
  EXPECT_THAT(check("base/x.cpp", "#include <sys/socket.h>\n#include <unistd.h>\n"), IsEmpty());
}

TEST(HouseRules, AHeaderIncludesTheStandardHeadersThatItUses) {
  const SourceTree tree({make_file("base/list.h", "#include <vector>\n")});
  const auto check = [&](const std::string& text) {
    return check_header_stands_alone(tree, make_file("base/x.h", text));
  };
  EXPECT_THAT(check("#include \"base/list.h\"\nstd::vector<int> v;\n"), IsEmpty());
  EXPECT_THAT(check("std::vector<int> v;\n"),
              ElementsAre(HasSubstr("std::vector without <vector>")));
  EXPECT_THAT(check("#include <vector>\nstd::vector<int> v;\n"), IsEmpty());
  EXPECT_THAT(check("// std::vector\n"), IsEmpty());
  EXPECT_THAT(check("#include <string_view>\nstd::string_view s;\n"), IsEmpty());
}

TEST(HouseRules, LengthsAreLimited) {
  const std::string long_line(101, 'x');
  EXPECT_THAT(check_line_length(make_file("a/x.cpp", "ok\n" + long_line + "\n")),
              ElementsAre("a/x.cpp:2: 101 columns; the limit is 100"));
  std::string accents;
  for (int i = 0; i < 100; ++i) accents += "\u00e9";
  EXPECT_THAT(check_line_length(make_file("a/x.cpp", accents)), IsEmpty());
  std::string lines;
  for (int i = 0; i < 601; ++i) lines += "\n";
  EXPECT_THAT(check_file_length(make_file("a/x.cpp", lines)), ElementsAre(HasSubstr("601 lines")));
  std::string body;
  for (int i = 0; i < 69; ++i) body += "  x();\n";
  EXPECT_THAT(check_function_length(make_file("a/x.cpp", "void f() {\n" + body + "}\n")),
              ElementsAre("a/x.cpp:1: a function of 71 lines; the limit is 70"));
  EXPECT_THAT(
      check_function_length(make_file("a/x.cpp", "void f(int a,\n    int b) {\n}\n" + body)),
      IsEmpty());
  EXPECT_THAT(check_function_length(make_file("a/x.cpp", "namespace x {\n" + body + "}\n")),
              IsEmpty());
}

TEST(HouseRules, HeadersSayWhatTheyAreForAndHaveOneGuard) {
  EXPECT_THAT(check_header_form(make_file("a/x.h", "// Why.\n#pragma once\n")), IsEmpty());
  EXPECT_THAT(check_header_form(make_file("a/x.h", "// Why.\n")),
              ElementsAre(HasSubstr("0 times")));
  EXPECT_THAT(check_header_form(make_file("a/x.h", "// W\n#pragma once\n#pragma once\n")),
              ElementsAre(HasSubstr("2 times")));
  EXPECT_THAT(check_header_form(make_file("a/x.h", "#pragma once\n")),
              ElementsAre(HasSubstr("first line")));
  EXPECT_THAT(check_header_form(make_file("a/x.cpp", "#pragma once\n")),
              ElementsAre(HasSubstr("in a source")));
}

TEST(HouseRules, BannedCodeIsFoundWhereItIsCodeAndNotAllowed) {
  const auto check = [](const std::string& path, const std::string& text) {
    return check_banned_code(make_file(path, text));
  };
  EXPECT_THAT(check("kvstore/x.cpp", "std::cout << 1;\n"), ElementsAre(HasSubstr("std::cout")));
  EXPECT_THAT(check("kvstore/x.cpp", "// std::cout\n"), IsEmpty());
  EXPECT_THAT(check("ctl/x.cpp", "std::cout << 1;\n"), IsEmpty());
  EXPECT_THAT(check("worker/x.cpp", "std::this_thread::sleep_for(a);\n"),
              ElementsAre(HasSubstr("with a deadline")));
  EXPECT_THAT(check("worker/x.cpp", "using namespace std;\n"), ElementsAre(HasSubstr("std::")));
}

TEST(HouseRules, TodosHaveAKind) {
  EXPECT_THAT(check_todos(make_file("a/x.cpp", "// TODO(perf): use two threads\n")), IsEmpty());
  EXPECT_THAT(check_todos(make_file("a/x.cpp", "// TODO: later\n")),
              ElementsAre(HasSubstr("TODO(")));
  EXPECT_THAT(check_todos(make_file("a/x.cpp", "// TODO(me): later\n")),
              ElementsAre(HasSubstr("TODO(")));
}

TEST(HouseRules, WordsOfTheWorkshopAreFound) {
  EXPECT_THAT(check_banned_words(make_file("a/x.md", std::string("see /wor") + "k/main\n")),
              ElementsAre(HasSubstr("vocabulary")));
  EXPECT_THAT(check_banned_words(make_file("a/x.md", "the work of a worker\n")), IsEmpty());
}

TEST(HouseRules, DocumentsNameOnlyWhatExists) {
  const SourceTree tree({make_file("base/log.cpp", "void open_log() {}\n")});
  const auto check = [&](const std::string& text) {
    return check_document_paths(tree, make_file("ARCHITECTURE.md", text));
  };
  EXPECT_THAT(check("`base/log.cpp` and `base/log.cpp:open_log` and `Log::x()`\n"), IsEmpty());
  EXPECT_THAT(check("\n`base/lag.cpp`\n"),
              ElementsAre("ARCHITECTURE.md:2: there is no file base/lag.cpp"));
  EXPECT_THAT(check("`base/log.cpp:Log::close_log()`\n"),
              ElementsAre("ARCHITECTURE.md:1: base/log.cpp has no close_log"));
  EXPECT_THAT(check("```\n`base/lag.cpp`\n```\n"), IsEmpty());
}

TEST(HouseRules, ASourceWithoutATestIsFound) {
  const SourceTree untested({make_file("base/brand_new.cpp", "")});
  EXPECT_THAT(check_sources_are_tested(untested),
              Contains(HasSubstr("base/brand_new.cpp: no tests/base/brand_new_test.cpp")));
  const SourceTree tested(
      {make_file("base/brand_new.cpp", ""), make_file("tests/base/brand_new_test.cpp", "")});
  EXPECT_THAT(check_sources_are_tested(tested), Not(Contains(HasSubstr("base/brand_new.cpp:"))));
}

TEST(HouseRules, ASourceBesideOnesThatAreTestedElsewhereIsFoundToo) {
  const Coverage known = covered_elsewhere().front();
  const std::string source(known.source);
  const std::string beside = source.substr(0, source.size() - 4) + "_too.cpp";
  const SourceTree tree(
      {make_file(source, ""), make_file(beside, ""), make_file(std::string(known.test), "")});
  EXPECT_THAT(check_sources_are_tested(tree), ElementsAre(HasSubstr(beside + ": no tests/")));
}

TEST(HouseRules, AnEntryThatIsNotNeededIsFound) {
  const std::string source(covered_elsewhere().front().source);
  const SourceFile file = make_file(source, "");
  const auto says = [&](const std::string& what) {
    return Contains("covered_elsewhere.cpp: " + source + what);
  };
  const auto check = [](std::vector<SourceFile> files) {
    return check_coverage_table(SourceTree(std::move(files)));
  };
  const std::string own =
      "tests/" + source.substr(0, source.find('/')) + "/" + file.stem() + "_test.cpp";
  EXPECT_THAT(check({}), says(" is no source"));
  EXPECT_THAT(check({file, make_file(own, "")}), says(" has a test of its own"));
  EXPECT_THAT(check({file}), Not(Contains(HasSubstr(source))));
}

}  // namespace
}  // namespace ebb::house
