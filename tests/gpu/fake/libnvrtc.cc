// A libnvrtc without a compiler, for LATHE_NVRTC: its "cubin" names the kernel's file and macros, which is
// what libcuda.cc beside this needs to run the host's version of it. FAKE_NVRTC_VERSION: 13000 is 13.0.
#include <cstdlib>
#include <cstring>
#include <string>

#include "platform/cuda/abi_nvrtc.h"

namespace {

struct Program {
  std::string cubin, log;
};

Program& Of(void* handle) { return *static_cast<Program*>(handle); }

}  // namespace

#define LATHE_FAKE_API_ extern "C" __attribute__((visibility("default")))

LATHE_FAKE_API_ int nvrtcVersion(int* major, int* minor) {
  const char* text = std::getenv("FAKE_NVRTC_VERSION");
  const int version = text != nullptr ? std::atoi(text) : 13000;
  *major = version / 1000;
  *minor = version % 1000 / 10;
  return 0;
}

LATHE_FAKE_API_ int nvrtcCreateProgram(void** program, const char*, const char* name, int, const char* const*,
                                       const char* const*) {
  *program = new Program{"fake cubin\nfile=" + std::string(name) + "\n", {}};
  return 0;
}

LATHE_FAKE_API_ int nvrtcCompileProgram(void* program, int n_options, const char* const* options) {
  for (int i = 0; i < n_options; ++i) {
    const std::string option = options[i];
    if (option.rfind("-D", 0) == 0) Of(program).cubin += option + "\n";
    if (option.rfind("-DLATHE_ENTRY=", 0) != 0) continue;
    Of(program).log = "ptxas info    : Compiling entry function '" + option.substr(14) +
                      "' for 'sm_90a'\n    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
                      "ptxas info    : Used 32 registers, used 1 barriers\n";
  }
  return 0;
}

LATHE_FAKE_API_ int nvrtcDestroyProgram(void** program) {
  delete &Of(*program);
  return 0;
}

LATHE_FAKE_API_ int nvrtcGetCUBINSize(void* program, size_t* bytes) {
  *bytes = Of(program).cubin.size() + 1;
  return 0;
}

LATHE_FAKE_API_ int nvrtcGetCUBIN(void* program, char* cubin) {
  std::memcpy(cubin, Of(program).cubin.c_str(), Of(program).cubin.size() + 1);
  return 0;
}

LATHE_FAKE_API_ int nvrtcGetProgramLogSize(void* program, size_t* bytes) {
  *bytes = Of(program).log.size() + 1;
  return 0;
}

LATHE_FAKE_API_ int nvrtcGetProgramLog(void* program, char* log) {
  std::memcpy(log, Of(program).log.c_str(), Of(program).log.size() + 1);
  return 0;
}

LATHE_FAKE_API_ const char* nvrtcGetErrorString(int) { return "NVRTC_ERROR_COMPILATION"; }
