// The architecture as data: which folder may include which of ours, and where each library's
// headers may appear. A change here is a change of the architecture: say why in docs/decisions/.
#pragma once

#include <string_view>
#include <vector>

namespace ebb::house {

using Names = std::vector<std::string_view>;

/// What the files below `folder` may include of ours; the longest matching folder counts.
struct FolderRule {
  std::string_view folder;
  Names may_include;
};

inline const std::vector<FolderRule>& folder_rules() {
  static const std::vector<FolderRule> kRules = {
      {"base/", {"base/"}},
      {"models/", {"base/", "models/"}},
      {"kernels/", {"base/", "kernels/"}},
      // The plugin has collectives of its own; whoever loads it sees them in its one struct
      // (docs/decisions/011-cuda-plugin.md).
      {"kernels/cuda/", {"base/", "kernels/", "transport/collective/collective.h"}},
      {"transport/collective/", {"base/", "transport/collective/"}},
      {"transport/control/", {"base/", "transport/control/"}},
      {"transport/data/", {"base/", "transport/data/"}},
      {"transport/http/", {"base/", "transport/http/"}},
      // Knows names and bytes: nothing of models, kernels, workers or the coordinator.
      {"kvstore/",
       {"base/", "kvstore/", "transport/control/", "transport/data/", "transport/http/"}},
      {"worker/",
       {"base/", "models/", "kernels/", "kvstore/client.h", "kvstore/granule.h", "worker/",
        "transport/collective/", "transport/control/", "transport/data/", "transport/http/"}},
      // Never in a token's data path: no kernels, no store, no bulk transport.
      {"coordinator/",
       {"base/", "models/", "coordinator/", "transport/control/", "transport/http/"}},
      {"cli/", {"base/", "cli/", "transport/http/"}},
      {"ctl/",
       {"base/", "cli/", "ctl/", "transport/http/", "models/selection_profile.h",
        "models/profile_json.h"}},
      // Judges policies from outside: through the API, as any client. Two parts know more
      // (docs/decisions/008-score-in-process.md): the backend that is a whole cluster of one rank,
      // made of the coordinator's pure deciders and the worker's engine; and calibration.
      {"score/", {"base/", "cli/", "score/", "transport/http/"}},
      {"score/local",
       {"base/", "cli/", "models/", "kernels/", "worker/", "score/", "transport/control/",
        "transport/collective/", "coordinator/api_context.h", "coordinator/board.h",
        "coordinator/openai_request.h", "coordinator/prompt_builder.h", "coordinator/scheduler.h",
        "coordinator/choice.h"}},
      {"score/calibrate",
       {"base/", "cli/", "models/", "kernels/", "worker/", "score/", "transport/control/",
        "transport/collective/"}},
      // Tests and benchmarks look at everything.
      {"tests/", {""}},
      {"bench/", {""}},
  };
  return kRules;
}

/// Headers that begin so may be included only by files whose path begins or ends with one of
/// `where`.
struct VendorRule {
  std::string_view header;
  Names where;
};

inline const std::vector<VendorRule>& vendor_rules() {
  static const std::vector<VendorRule> kRules = {
      {"capnp/", {"transport/control/"}},
      {"kj/", {"transport/control/"}},
      {"ucp/", {"transport/data/"}},
      {"ucs/", {"transport/data/"}},
      {"boost/beast", {"transport/http/"}},
      {"boost/asio", {"transport/http/", "transport/data/event_loop.cpp"}},
      {"gloo/", {"transport/collective/"}},
      // CUDA is seen through one header, so that the same kernels can be built for a CPU.
      {"cuda_runtime.h", {"kernels/cuda/runtime.h"}},
      {"cuda_fp16.h", {"kernels/cuda/runtime.h"}},
      {"cuda_bf16.h", {"kernels/cuda/runtime.h"}},
      {"cublasLt.h", {"kernels/cuda/cublas_lt.cu"}},
      {"nccl.h", {"kernels/cuda/nccl_library.cu"}},
      {"rocksdb/", {"kvstore/ssd_tier", "kvstore/rocks"}},
      {"oneapi/dnnl/", {"kernels/cpu/"}},
      {"omp.h", {"kernels/cpu/"}},
      {"immintrin.h", {"kernels/cpu/"}},
      {"nmmintrin.h", {"base/checksum.cpp"}},
      {"openssl/", {"base/checksum.cpp"}},
      {"xxhash.h", {"models/content_hash.cpp"}},
      {"spdlog/", {"base/log.cpp"}},
      {"prometheus/", {"base/metrics.cpp"}},
      {"yaml-cpp/", {"base/config_yaml.cpp", "models/selection_profile.cpp"}},
      {"pcre2.h", {"models/tokenizer/pattern.cpp"}},
      {"utf8proc.h", {"models/tokenizer/nfc.cpp"}},
      {"CLI/", {"/main.cpp"}},
      {"nlohmann/", {"cli/", "coordinator/", "ctl/", "kvstore/", "models/", "score/", "worker/"}},
  };
  return kRules;
}

/// Standard C++ headers have neither dot nor folder; these are POSIX's and Linux's that may appear
/// anywhere.
inline constexpr std::string_view kSystemHeaders[] = {
    "cpuid.h", "dirent.h", "dlfcn.h",  "fcntl.h",  "netdb.h", "poll.h",    "pthread.h", "pwd.h",
    "sched.h", "signal.h", "spawn.h",  "unistd.h", "arpa/",   "linux/",    "net/",      "netinet/",
    "sys/",    "time.h",   "malloc.h", "limits.h", "errno.h", "termios.h", "syscall.h",
};

/// Things of the standard library, and the header that has them.
struct StandardNeed {
  std::string_view used;
  std::string_view header;
};

inline const std::vector<StandardNeed>& standard_needs() {
  static const std::vector<StandardNeed> kNeeds = {
      {"std::string", "string"},
      {"std::string_view", "string_view"},
      {"std::vector", "vector"},
      {"std::map", "map"},
      {"std::set", "set"},
      {"std::deque", "deque"},
      {"std::unordered_map", "unordered_map"},
      {"std::unordered_set", "unordered_set"},
      {"std::optional", "optional"},
      {"std::variant", "variant"},
      {"std::span", "span"},
      {"std::array", "array"},
      {"std::function", "functional"},
      {"std::unique_ptr", "memory"},
      {"std::shared_ptr", "memory"},
      {"std::atomic", "atomic"},
      {"std::mutex", "mutex"},
      {"std::condition_variable", "condition_variable"},
      {"std::thread", "thread"},
      {"std::byte", "cstddef"},
      {"uint64_t", "cstdint"},
      {"uint32_t", "cstdint"},
      {"uint16_t", "cstdint"},
      {"uint8_t", "cstdint"},
      {"int64_t", "cstdint"},
      {"int32_t", "cstdint"},
  };
  return kNeeds;
}

}  // namespace ebb::house
