#include "tests/house/covered_elsewhere.h"

namespace ebb::house {

namespace {

constexpr Coverage kTable[] = {
    // Reading, printing and checking keys is asked for through load_cluster_config().
    {"base/config_", "tests/base/cluster_config_test.cpp"},

    {"models/gguf_cursor.cpp", "tests/models/gguf_hostile_test.cpp"},
    {"models/gguf_", "tests/models/architecture_test.cpp"},
    {"models/tensor_table.cpp", "tests/models/gguf_hostile_test.cpp"},
    {"models/mapped_file.cpp", "tests/models/gguf_test.cpp"},
    {"models/opened_model.cpp", "tests/models/model_files_test.cpp"},
    {"models/model_facts.cpp", "tests/models/architecture_test.cpp"},
    {"models/config_facts.cpp", "tests/models/hugging_face_test.cpp"},
    {"models/generation_config.cpp", "tests/models/hugging_face_test.cpp"},
    {"models/hugging_face_model.cpp", "tests/models/hugging_face_test.cpp"},
    {"models/neutral_keys.cpp", "tests/models/hugging_face_test.cpp"},
    {"models/rope_facts.cpp", "tests/models/rope_test.cpp"},
    {"models/safetensors_json.cpp", "tests/models/safetensors_test.cpp"},
    {"models/bpe_tokenizer.cpp", "tests/models/tokenizer_test.cpp"},
    {"models/special_tokens.cpp", "tests/models/tokenizer_test.cpp"},
    // The interpreter is one thing to its users: templates in, text out, compared with jinja2's.
    {"models/jinja/", "tests/models/chat_template_test.cpp"},

    // Grammars are asked for as languages: which texts, which tokens.
    {"models/grammar/", "tests/models/grammar/json_schema_test.cpp"},
    {"models/grammar/regex", "tests/models/grammar/regex_test.cpp"},
    {"models/grammar/code_points.cpp", "tests/models/grammar/regex_test.cpp"},
    {"models/grammar/constraint.cpp", "tests/models/grammar/regex_test.cpp"},
    {"models/grammar/automaton.cpp", "tests/models/grammar/token_matcher_test.cpp"},
    {"models/grammar/token_", "tests/models/grammar/token_matcher_test.cpp"},

    // Each op is judged against the reference, on every instruction set that the machine has.
    {"kernels/", "tests/kernels/backend_test.cpp"},
    {"kernels/reference/", "tests/kernels/reference_test.cpp"},
    {"kernels/weight_check.cpp", "tests/kernels/matmul_test.cpp"},
    {"kernels/cpu/attend_", "tests/kernels/attend_test.cpp"},

    // Protocols are asked for over real sockets, both ends at once.
    {"transport/collective/", "tests/transport/collective_test.cpp"},
    {"transport/control/", "tests/transport/control_test.cpp"},
    {"transport/data/", "tests/transport/data_test.cpp"},
    {"transport/http/", "tests/transport/http_test.cpp"},

    {"kvstore/store_", "tests/kvstore/store_test.cpp"},
    {"kvstore/index.cpp", "tests/kvstore/store_test.cpp"},
    {"kvstore/sessions.cpp", "tests/kvstore/store_test.cpp"},
    {"kvstore/client.cpp", "tests/kvstore/service_test.cpp"},
    {"kvstore/main.cpp", "tests/kvstore/service_test.cpp"},
    {"kvstore/store_http.cpp", "tests/kvstore/service_test.cpp"},
    {"kvstore/tier.cpp", "tests/kvstore/tier_conformance_test.cpp"},
    {"kvstore/host_tier.cpp", "tests/kvstore/tier_conformance_test.cpp"},
    {"kvstore/disk_space.cpp", "tests/kvstore/ssd_tier_test.cpp"},
    {"kvstore/segment_table.cpp", "tests/kvstore/ssd_tier_test.cpp"},

    // A rank is asked for as a whole: steps of a tiny model, against the reference and with rows
    // away.
    {"worker/allowed_cpus.cpp", "tests/worker/engine_test.cpp"},
    {"worker/arena.cpp", "tests/worker/engine_test.cpp"},
    {"worker/decode_step.cpp", "tests/worker/engine_test.cpp"},
    {"worker/main.cpp", "tests/worker/engine_test.cpp"},
    {"worker/session.cpp", "tests/worker/engine_test.cpp"},
    {"worker/step.cpp", "tests/worker/engine_test.cpp"},
    {"worker/attention/", "tests/worker/policy_test.cpp"},
    {"worker/model/", "tests/worker/golden_test.cpp"},
    {"worker/bulk_pass.cpp", "tests/worker/tiered_test.cpp"},
    {"worker/kept_activations.cpp", "tests/worker/tiered_test.cpp"},
    {"worker/kv_mover.cpp", "tests/worker/tiered_test.cpp"},
    {"worker/sequence_kv.cpp", "tests/worker/tiered_test.cpp"},

    // The engine is asked for as a whole, above workers that are played by the test.
    {"coordinator/bulk_plan.cpp", "tests/coordinator/scheduler_test.cpp"},
    {"coordinator/cluster.cpp", "tests/coordinator/engine_test.cpp"},
    {"coordinator/engine_", "tests/coordinator/engine_test.cpp"},
    {"coordinator/main.cpp", "tests/coordinator/engine_test.cpp"},
    {"coordinator/rendezvous.cpp", "tests/coordinator/engine_test.cpp"},
    {"coordinator/request_check.cpp", "tests/coordinator/engine_test.cpp"},
    {"coordinator/store_watch.cpp", "tests/coordinator/engine_test.cpp"},
    // The HTTP side is asked for over HTTP, above a fake engine.
    {"coordinator/admin_api.cpp", "tests/coordinator/http_front_test.cpp"},
    {"coordinator/api_", "tests/coordinator/http_front_test.cpp"},
    {"coordinator/http_", "tests/coordinator/http_front_test.cpp"},
    {"coordinator/json_", "tests/coordinator/openai_request_test.cpp"},
    {"coordinator/template_values.cpp", "tests/coordinator/openai_request_test.cpp"},
    {"coordinator/openai_", "tests/coordinator/openai_request_test.cpp"},
    {"coordinator/openai_answer.cpp", "tests/coordinator/completions_test.cpp"},
    {"coordinator/generation.cpp", "tests/coordinator/completions_test.cpp"},
    {"coordinator/prompt_builder.cpp", "tests/coordinator/completions_test.cpp"},
    {"coordinator/tokenize_api.cpp", "tests/coordinator/http_front_test.cpp"},
    {"coordinator/event_stream.cpp", "tests/coordinator/streaming_test.cpp"},

    {"ctl/batch_file.cpp", "tests/ctl/batch_run_test.cpp"},
    {"ctl/service.cpp", "tests/ctl/ask_test.cpp"},
    {"ctl/terminal.cpp", "tests/ctl/progress_test.cpp"},
    {"ctl/supervisor.cpp", "tests/ctl/up_test.cpp"},
    {"ctl/main.cpp", "tests/ctl/up_test.cpp"},
};

}  // namespace

std::span<const Coverage> covered_elsewhere() { return kTable; }

}  // namespace ebb::house
