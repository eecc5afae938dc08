#include "platform/cuda/cublaslt.h"

#include "platform/cuda/library.h"

namespace lathe::cuda {
namespace {

const void* Pointer(abi::DevicePtr address) { return reinterpret_cast<const void*>(address); }

}  // namespace

Expected<std::unique_ptr<CublasLt>> CublasLt::Open() {
  LATHE_ASSIGN_OR_RETURN(const Library library,
                         Library::Open({"libcublasLt.so.13", "libcublasLt.so.12"}, "LATHE_CUBLASLT"));
  abi::CublasLtTable table;
#define LATHE_CUDA_BIND_(member, symbol, parameters) \
  LATHE_RETURN_IF_ERROR(library.Bind(symbol, reinterpret_cast<void**>(&table.member)));
  LATHE_CUDA_CUBLASLT_FUNCTIONS(LATHE_CUDA_BIND_)
#undef LATHE_CUDA_BIND_
  return FromTable(table);
}

Expected<std::unique_ptr<CublasLt>> CublasLt::FromTable(const abi::CublasLtTable& table) {
  std::unique_ptr<CublasLt> lt(new CublasLt(table));
  LATHE_RETURN_IF_ERROR(lt->Check(table.create(&lt->handle_), "cublasLtCreate"));
  return lt;
}

CublasLt::~CublasLt() {
  if (handle_ != nullptr) table_.destroy(handle_);
}

Status CublasLt::Check(abi::LtStatus status, const char* call) const {
  if (status == 0) return Status::Ok();
  // CUBLAS_STATUS_NOT_SUPPORTED is an answer; the rest are faults.
  const StatusCode code = status == 15 ? StatusCode::kUnsupported : StatusCode::kUnavailable;
  return Error(code, "%s failed with cuBLAS status %d", call, status);
}

Expected<std::unique_ptr<LtMatmul>> LtMatmul::Create(const CublasLt& lt, const LtMatmulSpec& spec,
                                                     int wanted) {
  std::unique_ptr<LtMatmul> matmul(new LtMatmul(lt, spec));
  LATHE_RETURN_IF_ERROR(matmul->Init(wanted));
  return matmul;
}

LtMatmul::~LtMatmul() {
  const abi::CublasLtTable& api = lt_.api();
  if (desc_ != nullptr) api.desc_destroy(desc_);
  for (abi::LtLayout layout : {w_, x_, y_}) {
    if (layout != nullptr) api.layout_destroy(layout);
  }
}

Status LtMatmul::SetDesc() {
  const abi::CublasLtTable& api = lt_.api();
  const auto set = [&](int attribute, const void* value, size_t bytes) {
    return lt_.Check(api.desc_set(desc_, attribute, value, bytes), "cublasLtMatmulDescSetAttribute");
  };
  // The library is column-major: Dᵀ (n, m) = (W as k × n, transposed) · (x as k × m).
  const int32_t transpose = abi::kLtOpT;
  LATHE_RETURN_IF_ERROR(set(abi::kLtTransA, &transpose, sizeof(transpose)));
  if (spec_.in != abi::kR8E4M3) return Status::Ok();
  if (spec_.per_row_scales) {
    const int32_t mode = abi::kLtScaleOuterVector;
    LATHE_RETURN_IF_ERROR(set(abi::kLtAScaleMode, &mode, sizeof(mode)));
    LATHE_RETURN_IF_ERROR(set(abi::kLtBScaleMode, &mode, sizeof(mode)));
  }
  if (spec_.w_scale != 0) LATHE_RETURN_IF_ERROR(set(abi::kLtAScalePointer, &spec_.w_scale, sizeof(void*)));
  if (spec_.x_scale != 0) LATHE_RETURN_IF_ERROR(set(abi::kLtBScalePointer, &spec_.x_scale, sizeof(void*)));
  return Status::Ok();
}

Status LtMatmul::Init(int wanted) {
  const abi::CublasLtTable& api = lt_.api();
  if (spec_.y_stride == 0) spec_.y_stride = spec_.n;
  LATHE_RETURN_IF_ERROR(
      lt_.Check(api.desc_create(&desc_, abi::kCompute32F, abi::kR32F), "cublasLtMatmulDescCreate"));
  LATHE_RETURN_IF_ERROR(SetDesc());
  const auto layout = [&](abi::LtLayout* out, int type, int64_t rows, int64_t columns, int64_t leading) {
    return lt_.Check(
        api.layout_create(out, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), leading),
        "cublasLtMatrixLayoutCreate");
  };
  LATHE_RETURN_IF_ERROR(layout(&w_, spec_.in, spec_.k, spec_.n, spec_.k));
  LATHE_RETURN_IF_ERROR(layout(&x_, spec_.in, spec_.k, spec_.m, spec_.k));
  LATHE_RETURN_IF_ERROR(layout(&y_, spec_.out, spec_.n, spec_.m, spec_.y_stride));
  abi::LtPreference preference = nullptr;
  LATHE_RETURN_IF_ERROR(lt_.Check(api.preference_create(&preference), "cublasLtMatmulPreferenceCreate"));
  const uint64_t workspace = static_cast<uint64_t>(spec_.workspace_bytes);
  Status status =
      lt_.Check(api.preference_set(preference, abi::kLtMaxWorkspaceBytes, &workspace, sizeof(workspace)),
                "cublasLtMatmulPreferenceSetAttribute");
  int found = 0;
  algorithms_.resize(static_cast<size_t>(wanted));
  if (status.ok()) {
    status = lt_.Check(api.get_heuristic(lt_.handle(), desc_, w_, x_, y_, y_, preference, wanted,
                                         algorithms_.data(), &found),
                       "cublasLtMatmulAlgoGetHeuristic");
  }
  api.preference_destroy(preference);
  LATHE_RETURN_IF_ERROR(status);
  algorithms_.resize(static_cast<size_t>(found));
  std::erase_if(algorithms_, [](const abi::LtHeuristic& h) { return h.state != 0; });
  if (!algorithms_.empty()) return Status::Ok();
  return Error(StatusCode::kUnsupported, "cuBLASLt has no algorithm for m %lld, n %lld, k %lld",
               static_cast<long long>(spec_.m), static_cast<long long>(spec_.n),
               static_cast<long long>(spec_.k));
}

Status LtMatmul::Run(int algorithm, abi::DevicePtr x, abi::DevicePtr w, abi::DevicePtr y,
                     abi::DevicePtr workspace, abi::Stream stream) const {
  const float alpha = 1.0F, beta = spec_.add ? 1.0F : 0.0F;
  const abi::LtHeuristic& chosen = algorithms_[static_cast<size_t>(algorithm)];
  return lt_.Check(
      lt_.api().matmul(lt_.handle(), desc_, &alpha, Pointer(w), w_, Pointer(x), x_, &beta, Pointer(y), y_,
                       reinterpret_cast<void*>(y), y_, &chosen.algo, reinterpret_cast<void*>(workspace),
                       static_cast<size_t>(spec_.workspace_bytes), stream),
      "cublasLtMatmul");
}

}  // namespace lathe::cuda
