#include <atomic>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "kernels/cuda/embedded.h"
#include "kernels/cuda/kernel_source.h"
#include "platform/topology.h"

namespace lathe::cuda {
namespace {

bool IsHeader(std::string_view name) { return name.ends_with(".cuh") || name.ends_with(".h"); }

const EmbeddedFile* FindFile(std::string_view name) {
  for (const EmbeddedFile& file : KernelFiles()) {
    if (file.name == name) return &file;
  }
  return nullptr;
}

Expected<CompiledKernel> CompileOne(const Nvrtc& nvrtc, const KernelSource& source,
                                    const std::string& target) {
  const EmbeddedFile* file = FindFile(source.file);
  if (file == nullptr) {
    return Error(StatusCode::kInternal, "kernel %s names the source %s, which is not in the program",
                 source.entry.c_str(), source.file.c_str());
  }
  CompileRequest request;
  request.name = source.file;
  request.source = std::string(file->bytes);
  for (const EmbeddedFile& header : KernelFiles()) {
    if (IsHeader(header.name))
      request.headers.push_back({std::string(header.name), std::string(header.bytes)});
  }
  request.target = target;
  request.defines = source.defines;
  request.defines.push_back("LATHE_ENTRY=" + source.entry);
  request.defines.push_back(StrFormat("LATHE_THREADS=%d", source.threads));
  Expected<CompiledCode> code = nvrtc.Compile(request);
  if (!code.ok()) return code.status().WithContext(source.entry);
  for (const KernelResources& kernel : code->kernels) {
    if (kernel.entry == source.entry) return CompiledKernel{source, std::move(code->cubin), kernel};
  }
  return Error(StatusCode::kInternal, "%s compiles, but the compiler's report has no kernel %s:\n%s",
               source.file.c_str(), source.entry.c_str(), code->log.c_str());
}

}  // namespace

Expected<std::vector<CompiledKernel>> CompileKernels(const Nvrtc& nvrtc,
                                                     const std::vector<KernelSource>& sources,
                                                     const std::string& target, int threads) {
  LATHE_CHECK_GE(threads, 0);
  if (threads == 0) threads = ReadTopology().usable_cpus();
  std::vector<CompiledKernel> kernels(sources.size());
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  Status fault;
  const auto work = [&] {
    for (size_t i = next++; i < sources.size(); i = next++) {
      Expected<CompiledKernel> kernel = CompileOne(nvrtc, sources[i], target);
      const std::lock_guard<std::mutex> lock(mutex);
      if (kernel.ok()) {
        kernels[i] = *std::move(kernel);
      } else if (fault.ok()) {
        fault = kernel.status();
        next = sources.size();
      }
    }
  };
  std::vector<std::thread> team;
  for (int i = 1; i < threads && static_cast<size_t>(i) < sources.size(); ++i) team.emplace_back(work);
  work();
  for (std::thread& thread : team) thread.join();
  if (!fault.ok()) return fault;
  return kernels;
}

}  // namespace lathe::cuda
