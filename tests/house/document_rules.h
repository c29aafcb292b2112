// What documents and tests owe the sources: every path that a document names exists, every source
// is tested.
#pragma once

#include "tests/house/source_tree.h"

namespace ebb::house {

/// In a document, `folder/file.ext` must exist, and of `folder/file.ext:name` the file must contain
/// the name.
Violations check_document_paths(const SourceTree& tree, const SourceFile& document);

/// Each source has tests/<folder>/<stem>_test.cpp (of an inner folder, also tests/<inner
/// folder>/...), or stands in the table of sources that are tested elsewhere.
Violations check_sources_are_tested(const SourceTree& tree);
/// That table has no entry twice, none for sources that are gone or have a test of their own.
Violations check_coverage_table(const SourceTree& tree);

}  // namespace ebb::house
