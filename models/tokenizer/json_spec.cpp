#include "models/tokenizer/json_spec.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "models/seeded_hash.h"
#include "models/shown_text.h"

namespace ebb::models {
namespace {

using TokenIndex = std::unordered_map<std::string_view, TokenId, SeededHash>;

class Reader {
 public:
  explicit Reader(JsonValue root) : root_(root) {}

  Result<TokenizerSpec> read() {
    EBB_TRY_VOID(root_.only({"version", "truncation", "padding", "added_tokens", "normalizer",
                             "pre_tokenizer", "post_processor", "decoder", "model"}));
    EBB_TRY_VOID(check_head());
    const JsonValue model = EBB_TRY(root_.at("model"));
    EBB_TRY_VOID(check_model(model));
    const JsonValue vocabulary = EBB_TRY(model.at("vocab"));
    EBB_TRY_VOID(read_vocabulary(vocabulary));
    EBB_TRY_VOID(read_added_tokens());
    EBB_TRY_VOID(find_holes());
    const JsonValue merges = EBB_TRY(model.array_at("merges"));
    EBB_TRY_VOID(read_merges(merges));
    EBB_TRY_VOID(read_unknown(model));
    EBB_TRY_VOID(read_normalizer(root_.find("normalizer"), spec_));
    EBB_TRY_VOID(read_pre_tokenizer(root_.find("pre_tokenizer"), spec_));
    EBB_TRY_VOID(read_post_processor(root_.find("post_processor"), spec_));
    EBB_TRY_VOID(read_decoder(root_.find("decoder"), spec_));
    return std::move(spec_);
  }

 private:
  Result<void> check_head() {
    if (const auto version = root_.find("version")) {
      const auto text = EBB_TRY(version->text());
      if (text != "1.0")
        return version->not_supported("is " + quoted_text(text) + "; known is '1.0'");
    }
    // How a training run cut and padded its batches. `transformers` sets both anew for each call,
    // and a server neither cuts nor pads prompts; so these do not change what tokens a text has.
    if (const auto part = root_.find("truncation"); part && !part->is_null()) {
      EBB_TRY_VOID(part->only({"direction", "max_length", "strategy", "stride"}));
    }
    if (const auto part = root_.find("padding"); part && !part->is_null()) {
      EBB_TRY_VOID(part->only(
          {"strategy", "direction", "pad_to_multiple_of", "pad_id", "pad_type_id", "pad_token"}));
    }
    return {};
  }

  Result<void> check_model(JsonValue model) {
    // GPT-2's own file, the oldest, names no type.
    if (const auto type = model.find("type")) {
      const auto name = EBB_TRY(type->text());
      if (name != "BPE") return type->not_supported("is " + quoted_text(name) + "; known is 'BPE'");
    }
    EBB_TRY_VOID(model.only({"type", "dropout", "unk_token", "continuing_subword_prefix",
                             "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges",
                             "vocab", "merges"}));
    if (const auto dropout = model.find("dropout"); dropout && !dropout->is_null()) {
      if (EBB_TRY(dropout->number()) != 0) return dropout->not_supported("is not null or 0");
    }
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const auto member = model.find(name);
      if (!member || member->is_null()) continue;
      const std::string_view text = EBB_TRY(member->text());
      if (!text.empty()) return member->not_supported("is not null or empty");
    }
    spec_.bpe.fuses_unknown = EBB_TRY(model.boolean_or("fuse_unk", false));
    spec_.bpe.byte_fallback = EBB_TRY(model.boolean_or("byte_fallback", false));
    spec_.bpe.whole_words_first = EBB_TRY(model.boolean_or("ignore_merges", false));
    return {};
  }

  Result<TokenId> read_id(JsonValue value) {
    const int64_t id = EBB_TRY(value.integer());
    if (id >= 0 && id < static_cast<int64_t>(kVocabularyMax)) return static_cast<TokenId>(id);
    return value.error("is " + std::to_string(id) + "; the limits are 0 and " +
                       std::to_string(kVocabularyMax - 1));
  }

  /// Gives `text` the free id `id`.
  void place(std::string_view text, TokenId id, uint8_t flags) {
    const auto index = static_cast<size_t>(id);
    if (index >= spec_.texts.size()) {
      spec_.texts.resize(index + 1);
      spec_.flags.resize(index + 1);
    }
    spec_.texts[index] = text;
    spec_.flags[index] = flags;
    id_of_.emplace(text, id);
  }

  bool is_taken(TokenId id) const {
    const auto index = static_cast<size_t>(id);
    return index < spec_.texts.size() && !spec_.texts[index].empty();
  }

  Result<void> read_vocabulary(JsonValue vocabulary) {
    EBB_TRY_VOID(vocabulary.expect(JsonType::kObject));
    if (vocabulary.size() == 0) return vocabulary.error("is empty");
    id_of_.reserve(vocabulary.size());
    for (JsonValue entry = vocabulary.first(); entry; entry = entry.next()) {
      const std::string_view text = entry.key();
      if (text.empty()) return vocabulary.error("has an empty token");
      if (text.size() > kTokenBytesMax) {
        return entry.error("has " + std::to_string(text.size()) + " bytes; the limit is " +
                           std::to_string(kTokenBytesMax));
      }
      const TokenId id = EBB_TRY(read_id(entry));
      if (is_taken(id)) {
        return entry.error("is " + std::to_string(id) + ", and so is the id of " +
                           quoted_text(spec_.texts[static_cast<size_t>(id)]));
      }
      place(text, id, TokenizerSpec::kModel);
    }
    return {};
  }

  Result<void> read_added_tokens() {
    const auto list = root_.find("added_tokens");
    if (!list || list->is_null()) return {};
    EBB_TRY_VOID(list->expect(JsonType::kArray));
    for (JsonValue entry = list->first(); entry; entry = entry.next()) {
      EBB_TRY_VOID(entry.only(
          {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
      AddedToken token;
      const JsonValue id = EBB_TRY(entry.at("id"));
      token.id = EBB_TRY(read_id(id));
      token.content = EBB_TRY(entry.text_at("content"));
      token.single_word = EBB_TRY(entry.boolean_or("single_word", false));
      token.lstrip = EBB_TRY(entry.boolean_or("lstrip", false));
      token.rstrip = EBB_TRY(entry.boolean_or("rstrip", false));
      token.normalized = EBB_TRY(entry.boolean_or("normalized", true));
      token.special = EBB_TRY(entry.boolean_or("special", false));
      EBB_TRY_VOID(place_added_token(entry, token));
      spec_.added.push_back(std::move(token));
    }
    return {};
  }

  Result<void> place_added_token(JsonValue entry, const AddedToken& token) {
    if (token.content.empty()) return entry.error("has an empty content");
    const auto known = id_of_.find(token.content);
    if (known != id_of_.end() && known->second != token.id) {
      return entry.error(quoted_text(token.content) + " has the id " + std::to_string(token.id) +
                         ", but " + std::to_string(known->second) + " before");
    }
    if (known != id_of_.end()) return {};
    if (is_taken(token.id)) {
      return entry.error(quoted_text(token.content) + " has the id " + std::to_string(token.id) +
                         " of " + quoted_text(spec_.texts[static_cast<size_t>(token.id)]));
    }
    const std::string_view content = EBB_TRY(entry.text_at("content"));  // lives in the tree
    place(content, token.id, 0);
    return {};
  }

  Result<void> find_holes() {
    const auto hole = std::find(spec_.texts.begin(), spec_.texts.end(), std::string());
    if (hole == spec_.texts.end()) return {};
    return invalid("model.vocab and added_tokens: " + std::to_string(spec_.texts.size()) +
                   " ids are due, but no token has the id " +
                   std::to_string(hole - spec_.texts.begin()));
  }

  /// Only the model's own tokens merge.
  Result<TokenId> token_of_merge(JsonValue merge, std::string_view text) {
    const auto it = id_of_.find(text);
    const bool known = it != id_of_.end() &&
                       (spec_.flags[static_cast<size_t>(it->second)] & TokenizerSpec::kModel) != 0;
    if (known) return it->second;
    return merge.error("needs the token " + quoted_text(text) +
                       ", which model.vocab does not have");
  }

  struct Words {
    std::string_view left;
    std::string_view right;
  };

  /// "left right", or ["left", "right"].
  Result<Words> read_merge(JsonValue merge) {
    if (merge.type() == JsonType::kArray && merge.size() == 2) {
      const JsonValue left = merge.first();
      const std::string_view first = EBB_TRY(left.text());
      const std::string_view second = EBB_TRY(left.next().text());
      return Words{first, second};
    }
    if (merge.type() != JsonType::kString) return merge.error("is not two words");
    const std::string_view text = EBB_TRY(merge.text());
    const size_t space = text.find(' ');
    if (space == text.npos || text.find(' ', space + 1) != text.npos) {
      return merge.error(quoted_text(text) + " is not two words");
    }
    return Words{text.substr(0, space), text.substr(space + 1)};
  }

  Result<void> read_merges(JsonValue merges) {
    if (merges.size() > kMergesMax) {
      return merges.error("has " + std::to_string(merges.size()) + " entries; the limit is " +
                          std::to_string(kMergesMax));
    }
    spec_.bpe.merges.reserve(merges.size());
    std::string both;
    for (JsonValue merge = merges.first(); merge; merge = merge.next()) {
      const auto text = merge.text();
      if (text && text->starts_with("#version")) continue;
      const Words words = EBB_TRY(read_merge(merge));
      // A merge with nothing would make a token of itself, again and again.
      if (words.left.empty() || words.right.empty()) return merge.error("has an empty word");
      both.assign(words.left).append(words.right);
      MergeSpec made;
      made.left = EBB_TRY(token_of_merge(merge, words.left));
      made.right = EBB_TRY(token_of_merge(merge, words.right));
      made.merged = EBB_TRY(token_of_merge(merge, both));
      made.rank = static_cast<uint32_t>(spec_.bpe.merges.size());
      spec_.bpe.merges.push_back(made);
    }
    return {};
  }

  Result<void> read_unknown(JsonValue model) {
    const auto member = model.find("unk_token");
    if (!member || member->is_null()) return {};
    const std::string_view text = EBB_TRY(member->text());
    const auto it = id_of_.find(text);
    if (it == id_of_.end()) return member->error("names no token of model.vocab");
    spec_.bpe.unknown = it->second;
    return {};
  }

  JsonValue root_;
  TokenizerSpec spec_;
  TokenIndex id_of_;  ///< views the tree
};

}  // namespace

Result<TokenizerSpec> read_tokenizer_json(JsonValue root) {
  EBB_TRY_VOID(root.expect(JsonType::kObject));
  return Reader(root).read();
}

}  // namespace ebb::models
