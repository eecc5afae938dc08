#include "platform/cuda/nvrtc.h"

#include <algorithm>

#include "platform/cuda/library.h"

namespace lathe::cuda {
namespace {

// "…'entry' for 'sm_90a'": what stands between the first pair of quotes.
std::string Quoted(const std::string& line) {
  const size_t begin = line.find('\'');
  const size_t end = begin == std::string::npos ? begin : line.find('\'', begin + 1);
  return end == std::string::npos ? std::string() : line.substr(begin + 1, end - begin - 1);
}

// The number right before `what` in `line`, 0 when it is not there.
int NumberBefore(const std::string& line, const std::string& what) {
  const size_t at = line.find(what);
  if (at == std::string::npos) return 0;
  size_t begin = at;
  while (begin > 0 && line[begin - 1] >= '0' && line[begin - 1] <= '9') --begin;
  int value = 0;
  for (size_t i = begin; i < at && value < 100'000'000; ++i) value = value * 10 + (line[i] - '0');
  return value;
}

// Takes what one line of the report says about `kernel`; false when the line is no part of the report.
bool TakeLine(const std::string& line, std::vector<KernelResources>* kernels) {
  if (line.find("Compiling entry function") != std::string::npos) {
    kernels->push_back({.entry = Quoted(line)});
    return true;
  }
  if (line.find("bytes stack frame") != std::string::npos) {
    if (!kernels->empty()) {
      kernels->back().stack_bytes = NumberBefore(line, " bytes stack frame");
      kernels->back().spill_bytes =
          NumberBefore(line, " bytes spill stores") + NumberBefore(line, " bytes spill loads");
    }
    return true;
  }
  if (line.find(" registers") != std::string::npos && line.find("Used ") != std::string::npos) {
    if (!kernels->empty()) {
      kernels->back().registers = NumberBefore(line, " registers");
      kernels->back().static_shared = NumberBefore(line, " bytes smem");
    }
    return true;
  }
  return line.find("ptxas info") == 0 || line.find("Function properties for") != std::string::npos;
}

// Destroys the program whatever happens.
class Program {
 public:
  explicit Program(const abi::NvrtcTable& table) : table_(table) {}
  ~Program() {
    if (handle_ != nullptr) table_.destroy_program(&handle_);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  Status Check(abi::NvrtcResult result, const char* call) const {
    if (result == 0) return Status::Ok();
    return Error(StatusCode::kInternal, "%s failed with %s", call, table_.get_error_string(result));
  }
  Status Create(const CompileRequest& request) {
    std::vector<const char*> texts, names;
    for (const SourceText& header : request.headers) {
      texts.push_back(header.text.c_str());
      names.push_back(header.name.c_str());
    }
    return Check(table_.create_program(&handle_, request.source.c_str(), request.name.c_str(),
                                       static_cast<int>(texts.size()), texts.data(), names.data()),
                 "nvrtcCreateProgram");
  }
  abi::NvrtcResult Compile(const std::vector<std::string>& options) const {
    std::vector<const char*> pointers;
    for (const std::string& option : options) pointers.push_back(option.c_str());
    return table_.compile_program(handle_, static_cast<int>(pointers.size()), pointers.data());
  }
  // A string that the library hands out as size and copy.
  Expected<std::string> Take(abi::NvrtcResult (*size)(abi::NvrtcProgram, size_t*),
                             abi::NvrtcResult (*copy)(abi::NvrtcProgram, char*), const char* call) const {
    size_t bytes = 0;
    LATHE_RETURN_IF_ERROR(Check(size(handle_, &bytes), call));
    std::string out(bytes, '\0');
    LATHE_RETURN_IF_ERROR(Check(copy(handle_, out.data()), call));
    return out;
  }
  Expected<std::string> Log() const {
    LATHE_ASSIGN_OR_RETURN(std::string log, Take(table_.get_log_size, table_.get_log, "nvrtcGetProgramLog"));
    while (!log.empty() && log.back() == '\0') log.pop_back();
    return log;
  }
  Expected<std::string> Cubin() const {
    return Take(table_.get_cubin_size, table_.get_cubin, "nvrtcGetCUBIN");
  }

 private:
  const abi::NvrtcTable& table_;
  abi::NvrtcProgram handle_ = nullptr;
};

// From 12.9 on NVRTC keeps a cache on disk, and says nothing of the resources of what it finds there.
constexpr int kFirstVersionWithCache = 12090;

std::vector<std::string> Options(const CompileRequest& request, int version) {
  std::vector<std::string> options = {"--gpu-architecture=" + request.target, "--std=c++17",
                                      "--ptxas-options=-v", "--fmad=true", "--no-source-include"};
  if (version >= kFirstVersionWithCache) options.push_back("--no-cache");
  if (request.max_registers > 0) options.push_back(StrFormat("--maxrregcount=%d", request.max_registers));
  for (const std::string& define : request.defines) options.push_back("-D" + define);
  return options;
}

}  // namespace

std::vector<KernelResources> TakeResourceReport(std::string* log) {
  std::vector<KernelResources> kernels;
  std::string rest;
  size_t begin = 0;
  while (begin < log->size()) {
    const size_t end = std::min(log->find('\n', begin), log->size());
    const std::string line = log->substr(begin, end - begin);
    if (!TakeLine(line, &kernels) && !line.empty()) rest += line + "\n";
    begin = end + 1;
  }
  *log = rest;
  return kernels;
}

Expected<Nvrtc> Nvrtc::Open() {
  LATHE_ASSIGN_OR_RETURN(const Library library,
                         Library::Open({"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"}, "LATHE_NVRTC"));
  abi::NvrtcTable table;
#define LATHE_CUDA_BIND_(member, symbol, parameters) \
  LATHE_RETURN_IF_ERROR(library.Bind(symbol, reinterpret_cast<void**>(&table.member)));
  LATHE_CUDA_NVRTC_FUNCTIONS(LATHE_CUDA_BIND_)
#undef LATHE_CUDA_BIND_
  LATHE_RETURN_IF_ERROR(
      library.Bind("nvrtcGetErrorString", reinterpret_cast<void**>(&table.get_error_string)));
  int major = 0, minor = 0;
  if (table.version(&major, &minor) != 0) {
    return Error(StatusCode::kUnsupported, "%s does not tell its version", library.path().c_str());
  }
  Nvrtc nvrtc(table, major * 1000 + minor * 10);
  nvrtc.path_ = library.path();
  return nvrtc;
}

Expected<const Nvrtc*> Nvrtc::Load() {
  static const Expected<Nvrtc> nvrtc = Open();
  if (nvrtc.ok()) return &nvrtc.value();
  return Status(nvrtc.status().code(),
                "no CUDA compiler: " + nvrtc.status().message() +
                    "; install CUDA's libnvrtc (pip install nvidia-cuda-nvrtc has it) and set "
                    "LATHE_NVRTC to its folder");
}

Expected<CompiledCode> Nvrtc::Compile(const CompileRequest& request) const {
  Program program(table_);
  LATHE_RETURN_IF_ERROR(program.Create(request).WithContext(request.name));
  const abi::NvrtcResult result = program.Compile(Options(request, version_));
  CompiledCode code;
  LATHE_ASSIGN_OR_RETURN(code.log, program.Log());
  if (result != 0) {
    return Error(StatusCode::kInternal, "%s does not compile for %s (%s):\n%s", request.name.c_str(),
                 request.target.c_str(), table_.get_error_string(result), code.log.c_str());
  }
  code.kernels = TakeResourceReport(&code.log);
  LATHE_ASSIGN_OR_RETURN(code.cubin, program.Cubin());
  return code;
}

}  // namespace lathe::cuda
