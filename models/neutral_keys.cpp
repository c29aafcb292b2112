#include "models/neutral_keys.h"

#include <algorithm>
#include <array>

#include "models/rope_facts.h"

namespace ebb::models {
namespace {

/// Below the architecture's name.
constexpr std::array kGgufKeys = {
    std::string_view("rope.scaling.finetuned"),
    std::string_view("tensor_data_layout"),
};

/// Keys of config.json: of training, of generation (read from generation_config.json), of other
/// heads than that of a language model, and notes of the tools that wrote it. Those that begin with
/// an underscore are private to such tools.
constexpr std::array kConfigKeys = {
    std::string_view("architectures"),
    std::string_view("attention_dropout"),
    std::string_view("attn_implementation"),
    std::string_view("bad_words_ids"),
    std::string_view("begin_suppress_tokens"),
    std::string_view("bos_token_id"),
    std::string_view("decoder_start_token_id"),
    std::string_view("diversity_penalty"),
    std::string_view("do_sample"),
    std::string_view("dtype"),
    std::string_view("early_stopping"),
    std::string_view("encoder_no_repeat_ngram_size"),
    std::string_view("eos_token_id"),
    std::string_view("exponential_decay_length_penalty"),
    std::string_view("finetuning_task"),
    std::string_view("forced_bos_token_id"),
    std::string_view("forced_eos_token_id"),
    std::string_view("hidden_dropout"),
    std::string_view("id2label"),
    std::string_view("initializer_range"),
    std::string_view("is_decoder"),
    std::string_view("is_llama_config"),
    std::string_view("keys_to_ignore_at_inference"),
    std::string_view("label2id"),
    std::string_view("length_penalty"),
    std::string_view("max_length"),
    std::string_view("max_sequence_length"),
    std::string_view("min_length"),
    std::string_view("min_p"),
    std::string_view("model_max_length"),
    std::string_view("model_type"),
    std::string_view("name_or_path"),
    std::string_view("no_repeat_ngram_size"),
    std::string_view("num_beam_groups"),
    std::string_view("num_beams"),
    std::string_view("num_labels"),
    std::string_view("num_return_sequences"),
    std::string_view("output_attentions"),
    std::string_view("output_hidden_states"),
    std::string_view("output_scores"),
    std::string_view("pad_token_id"),
    std::string_view("prefix"),
    std::string_view("pretraining_tp"),
    std::string_view("problem_type"),
    std::string_view("remove_invalid_values"),
    std::string_view("repetition_penalty"),
    std::string_view("resid_pdrop"),
    std::string_view("return_dict"),
    std::string_view("return_dict_in_generate"),
    std::string_view("sep_token_id"),
    std::string_view("suppress_tokens"),
    std::string_view("task_specific_params"),
    std::string_view("temperature"),
    std::string_view("tokenizer_class"),
    std::string_view("tokenizer_model_max_length"),
    std::string_view("tokenizer_padding_side"),
    std::string_view("top_k"),
    std::string_view("top_p"),
    std::string_view("torch_dtype"),
    std::string_view("transformers.js_config"),
    std::string_view("transformers_version"),
    std::string_view("typical_p"),
    std::string_view("unk_token_id"),
    std::string_view("unsloth_fixed"),
    std::string_view("unsloth_version"),
    std::string_view("use_cache"),
    std::string_view("use_flash_attention"),
    std::string_view("use_flash_attn"),
};

struct Reason {
  std::string_view part;  ///< of the key
  std::string_view text;
};

/// For what people are most likely to bring; the first that fits counts.
constexpr std::array kReasons = {
    Reason{"quantization_config",
           "quantised safetensors are not supported (supported: unquantised F32, F16 and BF16, and "
           "the quantised types of GGUF files)"},
    Reason{"expert", "mixtures of experts are not supported"},
    Reason{"moe", "mixtures of experts are not supported"},
    Reason{"softcap", "capped logits are not supported"},
    Reason{"mlp_bias", "a bias in the feed-forward network is not supported"},
    Reason{"attention_bias", "this family's attention has no optional bias"},
    Reason{"sliding_window", "this family is computed without a sliding window"},
    Reason{"auto_map", "models that bring their own code are not supported"},
};

}  // namespace

bool is_neutral_key(FileFormat format, std::string_view key) {
  const auto listed = [&](const auto& keys) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  };
  if (format == FileFormat::kGguf) return listed(kGgufKeys);
  return key.starts_with('_') || listed(kConfigKeys);
}

bool is_neutral_tensor(FileFormat format, std::string_view name) {
  if (format == FileFormat::kGguf) return name == kRopeDivisors;
  // The plain RoPE frequencies, which older versions saved with each layer.
  return name.starts_with("model.layers.") && name.ends_with(".self_attn.rotary_emb.inv_freq");
}

std::string foreign_key_reason(std::string_view key) {
  for (const Reason& reason : kReasons)
    if (key.find(reason.part) != std::string_view::npos) return std::string(reason.text);
  return "this key is not known, and could change what the model computes";
}

}  // namespace ebb::models
