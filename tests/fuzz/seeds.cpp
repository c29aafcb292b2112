// fuzz_seeds DIRECTORY SOURCE_TREE: writes what the fuzz targets begin with, one folder a target.
// Small inputs that reach far: the same files that the unit tests use, and templates that use every
// statement.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/tiny_hugging_face.h"
#include "tests/support/tiny_llama.h"

namespace {

namespace fs = std::filesystem;
using ebb::models::WeightType;
using ebb::testing::GgufWriter;
using ebb::testing::SafetensorsWriter;

constexpr const char* kTemplates[] = {
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m.content | trim }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "{%- set ns = namespace(found=false, n=0) -%}{%- for m in messages -%}{%- if loop.first and "
    "m.role == 'system' -%}{{- bos_token ~ m.content -}}{%- elif m.role in ['user', 'tool'] -%}"
    "{%- set ns.n = ns.n + 1 -%}{%- endif -%}{%- endfor -%}{{ ns.n }}",
    "{% macro part(x, sep=', ') %}{{ x.text | default('') | replace('\\n', sep) }}{% endmacro %}"
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% elif m.content is "
    "iterable %}{% for p in m.content %}{{ part(p) }}{% endfor %}{% else %}{{ "
    "raise_exception('no') }}{% endif %}{% endfor %}",
    "{% if tools is defined and tools is not none %}{{ tools | tojson(indent=2) }}{% for t in "
    "tools "
    "%}{{ t.function.name | upper }}{{ t | length }}{% endfor %}{% endif %}",
    "{% for k, v in {'a': 1, 'b': [1.5, none, true]}.items() %}{{ k }}={{ v }}{{ loop.index0 }}{{ "
    "loop.last }}{% endfor %}{{ messages[-1].content.split(' ')[0] }}{{ messages[1:] | length }}",
    "{% if messages[0]['content'].startswith('Be') and not (1 > 2 or false) %}{{ 7 // 2 * 3 % 4 - "
    "-1 }}{{ 'x' if true else 'y' }}{% endif %}{# note #}{{ '<think>' in messages[2].content }}",
    "{% generation %}{{ messages | map(attribute='role') | join(',') }}{% endgeneration %}{{ "
    "messages | selectattr('role', 'equalto', 'user') | list | first }}",
    "{{ strftime_now('%d %b %Y') }}{% set x = messages | last %}{% for m in messages if m.role != "
    "'tool' %}{% if loop.index > 2 %}{% break %}{% else %}{% continue %}{% endif %}{% endfor %}",
};

constexpr const char* kTokenizer = R"({"version":"1.0","truncation":null,"padding":null,
"added_tokens":[{"id":0,"content":"<unk>","single_word":false,"lstrip":false,"rstrip":false,
"normalized":false,"special":true},{"id":1,"content":"<s>","special":true}],
"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"_"},
{"type":"Replace","pattern":{"String":" "},"content":"_"}]},
"pre_tokenizer":{"type":"Sequence","pretokenizers":[
{"type":"Split","pattern":{"Regex":"\\s+|[^\\s]+"},"behavior":"Isolated","invert":false},
{"type":"Digits","individual_digits":true},
{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]},
"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
{"Sequence":{"id":"A","type_id":0}}],"pair":[],
"special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}},
"decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"},
{"type":"Strip","content":" ","start":1,"stop":0}]},
"model":{"type":"BPE","dropout":null,"unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,
"ignore_merges":false,"vocab":{"<unk>":0,"<s>":1,"_":2,"t":3,"h":4,"e":5,"th":6,"the":7,"_the":8},
"merges":["t h",["th","e"],["_","the"]]}})";

void write(const fs::path& folder, const std::string& name, std::string_view bytes) {
  fs::create_directories(folder);
  GgufWriter::write_file((folder / name).string(), bytes);
}

void write_gguf(const fs::path& folder) {
  GgufWriter plain;
  plain.put_u8("a", 1).put_i64("b", -1).put_f32("c", 0.5f).put_f64("d", 2).put_bool("e", true);
  plain.put_strings("f", {"x", ""}).put_i32s("g", {1, -1}).put_f32s("h", {1, 2});
  plain.add_tensor("t", {32}, WeightType::kQ4_0, std::vector<float>(32, 1.0f));
  plain.add_tensor("u", {2, 4}, WeightType::kF16, std::vector<float>(8, 1.0f));
  write(folder, "plain", plain.bytes());
  GgufWriter tokenizer;
  ebb::testing::put_tiny_tokenizer(tokenizer, ebb::testing::kTinyTokens);
  write(folder, "tokenizer", tokenizer.bytes());
  ebb::testing::TinyLlamaOptions options{.layers = 1, .width = 32, .heads_q = 2, .heads_kv = 1};
  options.ffn_width = 32;
  options.vocabulary = ebb::testing::kTinyTokens;
  options.embedding = options.weights = WeightType::kQ4_0;
  write(folder, "llama", ebb::testing::tiny_llama(options).bytes());
  options.architecture = "qwen3";
  options.qk_norm = true;
  write(folder, "qwen3", ebb::testing::tiny_llama(options).bytes());
}

void write_safetensors(const fs::path& folder) {
  SafetensorsWriter all;
  all.put("\"__metadata__\":{\"format\":\"pt\"}");
  all.add("a", {2, 3}, WeightType::kF32, std::vector<float>(6, 1.0f));
  all.add("b", {4}, WeightType::kBF16, std::vector<float>(4, 1.0f));
  all.add("c", {}, WeightType::kF16, {1.0f});
  write(folder, "all", all.bytes());
  ebb::testing::TinyHuggingFace tiny{.layers = 1, .width = 8, .heads_q = 2, .heads_kv = 1};
  tiny.head_size = 4;
  tiny.ffn_width = tiny.vocabulary = 8;
  tiny.shards = 2;
  const auto shards = ebb::testing::tiny_shards(tiny);
  write(folder, "shard", shards[0].bytes());
  write(folder, "index", ebb::testing::index_json(shards));
  write(folder, "header", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}");
}

/// The small tokenizers of the golden tests are whole tokenizer.json files.
void write_tokenizers(const fs::path& folder, const fs::path& tree) {
  write(folder, "small", kTokenizer);
  const std::string config = R"({"bos_token":"<s>","eos_token":{"content":"<unk>"},)"
                             R"("tokenizer_class":"LlamaTokenizer","add_bos_token":true})";
  write(folder, "config", std::string(kTokenizer) + '\0' + config);
  for (const char* name : {"gpt2_prefix", "metaspace", "llama2_added", "smollm"}) {
    std::ifstream in(tree / "tests/golden/tokenizers" / (std::string(name) + ".json"));
    std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    write(folder, name, text);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: fuzz_seeds DIRECTORY SOURCE_TREE\n");
    return 2;
  }
  const fs::path to = argv[1];
  write_gguf(to / "gguf");
  write_safetensors(to / "safetensors");
  write_tokenizers(to / "tokenizer_json", argv[2]);
  for (size_t i = 0; i < std::size(kTemplates); ++i)
    write(to / "template", std::to_string(i), kTemplates[i]);
  return 0;
}
