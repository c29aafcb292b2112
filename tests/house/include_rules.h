// Who may include whom. The two tables are the architecture; the functions only read them.
#pragma once

#include "tests/house/source_tree.h"

namespace ebb::house {

/// Our own headers: by folder, and rooted at the tree.
Violations check_our_includes(const SourceTree& tree, const SourceFile& file);
/// Libraries' headers: each library in the one place that wraps it.
Violations check_vendor_includes(const SourceFile& file);
/// A header includes the standard headers of the standard things that it uses, itself or through
/// our other headers, so that it compiles alone.
Violations check_header_stands_alone(const SourceTree& tree, const SourceFile& file);

}  // namespace ebb::house
