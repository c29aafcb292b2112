// The rules, over the whole source tree.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/house/document_rules.h"
#include "tests/house/form_rules.h"
#include "tests/house/include_rules.h"
#include "tests/support/tree_paths.h"

namespace ebb::house {
namespace {

const SourceTree& the_tree() {
  static const SourceTree kTree = SourceTree::read(ebb::test::source_path(""));
  return kTree;
}

void expect_none(const Violations& found) {
  std::string text;
  for (const std::string& violation : found) text += violation + "\n";
  EXPECT_TRUE(found.empty()) << text;
}

/// Over all files, so that one run shows everything that is wrong.
template <class Rule>
void expect_kept(Rule rule) {
  Violations found;
  for (const SourceFile& file : the_tree().files()) {
    const Violations of_file = rule(file);
    found.insert(found.end(), of_file.begin(), of_file.end());
  }
  expect_none(found);
}

TEST(House, TheTreeIsThere) { ASSERT_GT(the_tree().files().size(), 100u); }

TEST(House, FoldersIncludeOnlyWhatTheyMayKnow) {
  expect_kept([](const SourceFile& file) {
    return file.is_cpp() ? check_our_includes(the_tree(), file) : Violations();
  });
}
TEST(House, LibrariesStayInTheirPlace) {
  expect_kept([](const SourceFile& file) {
    return file.is_cpp() ? check_vendor_includes(file) : Violations();
  });
}
TEST(House, HeadersCompileAlone) {
  expect_kept([](const SourceFile& file) { return check_header_stands_alone(the_tree(), file); });
}
TEST(House, LinesFitAHundredColumns) { expect_kept(check_line_length); }
TEST(House, FilesAreShort) { expect_kept(check_file_length); }
TEST(House, FunctionsFitAScreen) { expect_kept(check_function_length); }
TEST(House, HeadersSayWhatTheyAreFor) { expect_kept(check_header_form); }
TEST(House, NoBannedCode) { expect_kept(check_banned_code); }
TEST(House, TodosHaveAKind) { expect_kept(check_todos); }
TEST(House, TextSpeaksOfTheProduct) { expect_kept(check_banned_words); }
TEST(House, EverySourceIsTested) {
  expect_none(check_sources_are_tested(the_tree()));
  expect_none(check_coverage_table(the_tree()));
}

TEST(House, DocumentsNameOnlyWhatExists) {
  expect_kept([](const SourceFile& file) {
    return file.extension() == ".md" ? check_document_paths(the_tree(), file) : Violations();
  });
}

TEST(House, TheUsualDocumentsAreThere) {
  for (const char* name : {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md",
                           "CHANGELOG.md", "docs/configuration.md"}) {
    EXPECT_NE(the_tree().find(name), nullptr) << name << " is missing";
  }
}

}  // namespace
}  // namespace ebb::house
