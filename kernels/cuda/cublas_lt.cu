// See cublas_lt.h. Only built by nvcc with cuBLAS's header: cublas_lt_absent.cu stands for it
// elsewhere.
//
// Matrices of ours are row-major, cuBLAS's column-major: out [rows, outputs] is its [outputs,
// rows], the product of the transpose of w [columns, outputs] and x [columns, rows].
#include "kernels/cuda/cublas_lt.h"

#include <cublasLt.h>
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <map>

#include "kernels/cuda/launch_shapes.h"

namespace ebb::kernels::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;
/// Prompts come in chunks of one size and a rest: a few hundred shapes live long.
constexpr size_t kPlans = 512;

/// The functions of the library that are used.
struct Library {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtGetVersion) version = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatmulDescCreate) make_product = nullptr;
  decltype(&cublasLtMatmulDescDestroy) end_product = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) set_product = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) make_layout = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) end_layout = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) make_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) end_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference = nullptr;
};

template <class F>
bool find(void* handle, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(handle, name));
  return function != nullptr;
}

bool find_all(void* handle, Library& l) {
  return find(handle, "cublasLtCreate", l.create) && find(handle, "cublasLtDestroy", l.destroy) &&
         find(handle, "cublasLtGetVersion", l.version) &&
         find(handle, "cublasLtMatmul", l.matmul) &&
         find(handle, "cublasLtMatmulAlgoGetHeuristic", l.heuristic) &&
         find(handle, "cublasLtMatmulDescCreate", l.make_product) &&
         find(handle, "cublasLtMatmulDescDestroy", l.end_product) &&
         find(handle, "cublasLtMatmulDescSetAttribute", l.set_product) &&
         find(handle, "cublasLtMatrixLayoutCreate", l.make_layout) &&
         find(handle, "cublasLtMatrixLayoutDestroy", l.end_layout) &&
         find(handle, "cublasLtMatmulPreferenceCreate", l.make_preference) &&
         find(handle, "cublasLtMatmulPreferenceDestroy", l.end_preference) &&
         find(handle, "cublasLtMatmulPreferenceSetAttribute", l.set_preference);
}

/// The library stays loaded until the process ends: CUDA libraries do not like to go.
bool load(Library& library, std::string& why) {
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12"}) {
    void* handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr && find_all(handle, library)) return true;
    if (!why.empty()) why += "; ";
    why += std::string(name) + (handle == nullptr ? ": not found" : ": lacks functions");
  }
  return false;
}

__global__ void to_bf16_kernel(const float* from, uint64_t count, unsigned short* to) {
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    to[i] = to_bf16_bits(from[i]);
  }
}

/// Bytes, at most 256, of which `p` is a multiple.
uint32_t alignment_of(const void* p) {
  const auto address = reinterpret_cast<uintptr_t>(p) | 256;
  return static_cast<uint32_t>(address & ~(address - 1));
}

/// What a product of one shape needs, and the algorithm that was chosen for it.
struct Plan {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, out = nullptr;
  cublasLtMatmulAlgo_t algorithm;
  bool usable = false;
};

class CublasLt final : public Gemm {
 public:
  CublasLt(Library library, cublasLtHandle_t handle, GemmInputs inputs)
      : l_(library), handle_(handle), inputs_(inputs), own_(make_own_gemm(inputs, "")) {}
  ~CublasLt() override {
    forget_plans();
    (void)l_.destroy(handle_);
  }

  WeightFormat weight_format() const override {
    return inputs_ == GemmInputs::kBf16 ? WeightFormat::kBF16 : WeightFormat::kF32;
  }

  void multiply(CudaContext& context, const Product& product) override {
    if (product.rows == 0 || product.outputs == 0 || context.failed()) return;
    const void* d_x = inputs_of(context, product);
    void* workspace = context.scratch(CudaContext::kWorkspace, kWorkspaceBytes);
    if (d_x == nullptr || workspace == nullptr) return;
    const Key key = key_of(product, d_x);
    if (!plan_of(product, key).usable) return own_->multiply(context, product);
    std::array<uint64_t, 5 + std::tuple_size_v<Key>> what = {
        0xb1a5, reinterpret_cast<uintptr_t>(product.d_w), reinterpret_cast<uintptr_t>(d_x),
        reinterpret_cast<uintptr_t>(product.d_out), reinterpret_cast<uintptr_t>(workspace)};
    std::copy(key.begin(), key.end(), what.begin() + 5);
    context.enqueue(what, [=, this, &context](cudaStream_t stream) {
      // It may start later than now: by then the plan may have been forgotten, and made again.
      const Plan& plan = plan_of(product, key);
      const float one = 1, zero = 0;
      const cublasStatus_t status = l_.matmul(
          handle_, plan.product, &one, product.d_w, plan.w, d_x, plan.x, &zero, product.d_out,
          plan.out, product.d_out, plan.out, &plan.algorithm, workspace, kWorkspaceBytes, stream);
      // A shape that it does not take. A device that is lost shows in check_launch.
      if (status != CUBLAS_STATUS_SUCCESS) own_->multiply(context, product);
    });
  }

  std::string name() const override {
    const size_t version = l_.version();
    return "cuBLASLt " + std::to_string(version / 10000) + "." +
           std::to_string(version / 100 % 100) +
           (inputs_ == GemmInputs::kBf16 ? ", bf16 inputs" : ", tf32 inputs");
  }

 private:
  using Key = std::array<uint64_t, 8>;

  const void* inputs_of(CudaContext& context, const Product& product) {
    if (inputs_ == GemmInputs::kTf32) return product.d_x;
    const uint64_t count = product.rows * product.columns;
    auto* d_x = context.scratch_of<unsigned short>(CudaContext::kInputs, count);
    if (d_x == nullptr) return nullptr;
    const FlatShape shape = flat_shape(count, context.multiprocessors());
    launch(context.shape(shape.blocks, shape.threads), &to_bf16_kernel, product.d_x, count, d_x);
    context.check_launch("rounding inputs");
    return d_x;
  }

  static Key key_of(const Product& p, const void* d_x) {
    return {p.outputs,         p.rows,
            p.columns,         p.w_stride,
            p.out_stride,      alignment_of(p.d_w),
            alignment_of(d_x), alignment_of(p.d_out)};
  }

  const Plan& plan_of(const Product& p, const Key& key) {
    const auto found = plans_.find(key);
    if (found != plans_.end()) return found->second;
    if (plans_.size() >= kPlans) forget_plans();
    Plan& plan = plans_[key];
    plan.usable = make_plan(plan, p, key);
    return plan;
  }

  bool make_plan(Plan& plan, const Product& p, const Key& key) {
    const bool bf16 = inputs_ == GemmInputs::kBf16;
    const cudaDataType_t input = bf16 ? CUDA_R_16BF : CUDA_R_32F;
    const cublasComputeType_t compute = bf16 ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_FAST_TF32;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    if (l_.make_product(&plan.product, compute, CUDA_R_32F) != CUBLAS_STATUS_SUCCESS ||
        l_.set_product(plan.product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed) !=
            CUBLAS_STATUS_SUCCESS ||
        l_.make_layout(&plan.w, input, p.columns, p.outputs, static_cast<int64_t>(p.w_stride)) !=
            CUBLAS_STATUS_SUCCESS ||
        l_.make_layout(&plan.x, input, p.columns, p.rows, static_cast<int64_t>(p.columns)) !=
            CUBLAS_STATUS_SUCCESS ||
        l_.make_layout(&plan.out, CUDA_R_32F, p.outputs, p.rows,
                       static_cast<int64_t>(p.out_stride)) != CUBLAS_STATUS_SUCCESS) {
      return false;
    }
    return choose_algorithm(plan, key);
  }

  bool choose_algorithm(Plan& plan, const Key& key) {
    cublasLtMatmulPreference_t preference = nullptr;
    if (l_.make_preference(&preference) != CUBLAS_STATUS_SUCCESS) return false;
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t which, auto value) {
      (void)l_.set_preference(preference, which, &value, sizeof value);
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kWorkspaceBytes});
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(key[5]));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(key[6]));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(key[7]));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(key[7]));
    cublasLtMatmulHeuristicResult_t result = {};
    int found = 0;
    const cublasStatus_t status = l_.heuristic(handle_, plan.product, plan.w, plan.x, plan.out,
                                               plan.out, preference, 1, &result, &found);
    (void)l_.end_preference(preference);
    plan.algorithm = result.algo;
    return status == CUBLAS_STATUS_SUCCESS && found > 0;
  }

  void forget_plans() {
    for (const auto& [key, plan] : plans_) {
      if (plan.product != nullptr) (void)l_.end_product(plan.product);
      for (cublasLtMatrixLayout_t layout : {plan.w, plan.x, plan.out}) {
        if (layout != nullptr) (void)l_.end_layout(layout);
      }
    }
    plans_.clear();
  }

  Library l_;
  cublasLtHandle_t handle_;
  GemmInputs inputs_;
  std::unique_ptr<Gemm> own_;
  std::map<Key, Plan> plans_;
};

}  // namespace

std::unique_ptr<Gemm> make_cublas_lt(CudaContext&, GemmInputs inputs, std::string& why) {
  Library library;
  if (!load(library, why)) return nullptr;
  cublasLtHandle_t handle = nullptr;
  const cublasStatus_t status = library.create(&handle);
  if (status == CUBLAS_STATUS_SUCCESS) {
    return std::make_unique<CublasLt>(library, handle, inputs);
  }
  (void)cudaGetLastError();
  why = "cublasLtCreate: status " + std::to_string(static_cast<int>(status));
  return nullptr;
}

}  // namespace ebb::kernels::cuda
