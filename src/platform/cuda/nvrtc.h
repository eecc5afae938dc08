// NVIDIA's run-time compiler, opened at run time: CUDA C++ text to machine code for one chip. Needs no GPU.
//
// Thread-safety: Compile may be called from several threads at once.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "platform/cuda/abi_nvrtc.h"

namespace lathe::cuda {

struct SourceText {
  std::string name;  // as #include names it
  std::string text;
};

// What the compiler says of one kernel.
struct KernelResources {
  std::string entry = {};
  int registers = 0;      // a thread
  int stack_bytes = 0;    // local memory a thread
  int spill_bytes = 0;    // stores and loads of spilled registers, a thread
  int static_shared = 0;  // bytes a block
};

struct CompileRequest {
  std::string name;  // file name in messages
  std::string source;
  std::vector<SourceText> headers;
  std::string target;                // "sm_90a"
  std::vector<std::string> defines;  // "HEAD_DIM=128"
  int max_registers = 0;             // 0: as the kernel's launch bounds have it
};

struct CompiledCode {
  std::string cubin;
  std::vector<KernelResources> kernels;
  std::string log = {};  // warnings, without the resource report
};

class Nvrtc {
 public:
  // Opens libnvrtc (LATHE_NVRTC names a file or a folder) once per process. kNotFound says where it was
  // looked for.
  static Expected<const Nvrtc*> Load();
  static Nvrtc FromTable(const abi::NvrtcTable& table, int version) { return Nvrtc(table, version); }

  int version() const { return version_; }  // 13000 is 13.0
  const std::string& path() const { return path_; }
  // kInternal with the compiler's log when the source does not compile: the sources are ours.
  Expected<CompiledCode> Compile(const CompileRequest& request) const;

 private:
  Nvrtc(const abi::NvrtcTable& table, int version) : table_(table), version_(version) {}
  static Expected<Nvrtc> Open();

  abi::NvrtcTable table_;
  int version_ = 0;
  std::string path_;
};

// Reads ptxas' verbose report ("ptxas info : ..."), removing its lines from `log`.
std::vector<KernelResources> TakeResourceReport(std::string* log);

}  // namespace lathe::cuda
