// Small lists of words that made-up tasks are built of: ours, in no order that means anything.
#pragma once

#include <string>
#include <vector>

namespace ebb::score {

const std::vector<std::string>& cities();        ///< 48, one token group each, all different
const std::vector<std::string>& common_words();  ///< over 200 everyday nouns, all different
/// Sentences that say nothing, for tasks without a text of their own.
const std::vector<std::string>& idle_sentences();

}  // namespace ebb::score
