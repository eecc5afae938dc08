// cuBLASLt, opened at run time: the library's matrix products, with its own choice of algorithms to measure.
//
// Thread-safety: CublasLt may be shared; an LtMatmul is used by one thread at a time.
#pragma once

#include <memory>
#include <vector>

#include "base/status.h"
#include "platform/cuda/abi_cublaslt.h"
#include "platform/cuda/driver.h"

namespace lathe::cuda {

class CublasLt {
 public:
  // Opens libcublasLt (LATHE_CUBLASLT names a file or a folder) and makes a handle on the context that is
  // current.
  static Expected<std::unique_ptr<CublasLt>> Open();
  static Expected<std::unique_ptr<CublasLt>> FromTable(const abi::CublasLtTable& table);
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  const abi::CublasLtTable& api() const { return table_; }
  abi::LtHandle handle() const { return handle_; }
  Status Check(abi::LtStatus status, const char* call) const;

 private:
  explicit CublasLt(const abi::CublasLtTable& table) : table_(table) {}
  abi::CublasLtTable table_;
  abi::LtHandle handle_ = nullptr;
};

// y (m, n) = x (m, k) · Wᵀ, W (n, k), all with the last index contiguous; accumulated in f32.
struct LtMatmulSpec {
  abi::LtDataType in = abi::kR16BF;
  abi::LtDataType out = abi::kR16BF;
  int64_t m = 0, n = 0, k = 0;
  int64_t y_stride = 0;                // elements; 0: n
  bool add = false;                    // y += instead of y =
  abi::DevicePtr w_scale = 0;          // e4m3: f32, one, or n with per_row_scales
  abi::DevicePtr x_scale = 0;          // e4m3: f32, one, or m with per_row_scales
  bool per_row_scales = false;         // sm_90 and later, cuBLASLt 12.9
  int64_t workspace_bytes = 32 << 20;  // the most an algorithm may ask for
};

class LtMatmul {
 public:
  // Up to `wanted` algorithms, the library's favourite first. kUnsupported when it has none for this product.
  static Expected<std::unique_ptr<LtMatmul>> Create(const CublasLt& lt, const LtMatmulSpec& spec, int wanted);
  ~LtMatmul();
  LtMatmul(const LtMatmul&) = delete;
  LtMatmul& operator=(const LtMatmul&) = delete;

  int n_algorithms() const { return static_cast<int>(algorithms_.size()); }
  const abi::LtHeuristic& algorithm(int i) const { return algorithms_[static_cast<size_t>(i)]; }
  // `workspace`: spec.workspace_bytes of device memory that nothing else uses meanwhile.
  Status Run(int algorithm, abi::DevicePtr x, abi::DevicePtr w, abi::DevicePtr y, abi::DevicePtr workspace,
             abi::Stream stream) const;

 private:
  explicit LtMatmul(const CublasLt& lt, const LtMatmulSpec& spec) : lt_(lt), spec_(spec) {}
  Status Init(int wanted);
  Status SetDesc();

  const CublasLt& lt_;
  LtMatmulSpec spec_;
  abi::LtDesc desc_ = nullptr;
  abi::LtLayout w_ = nullptr, x_ = nullptr, y_ = nullptr;
  std::vector<abi::LtHeuristic> algorithms_;
};

}  // namespace lathe::cuda
