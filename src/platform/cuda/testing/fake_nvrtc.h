// A compiler that compiles nothing: its "cubin" is a word, its report what the entry's name asks for. For
// tests of host logic on machines without NVRTC. Thread-safe.
#pragma once

#include <cstring>
#include <string>
#include <string_view>

#include "platform/cuda/nvrtc.h"

namespace lathe::cuda::testing {

// Compiles whatever has -DLATHE_ENTRY=name; a source that holds "#error" fails, and so does a name that
// contains Refused().
class FakeNvrtc {
 public:
  // Empty: none. Not to be changed while something compiles.
  static std::string& Refused() {
    static std::string part;
    return part;
  }
  static Nvrtc Make() {
    abi::NvrtcTable t;
    t.version = [](int* major, int* minor) {
      *major = 13;
      *minor = 0;
      return 0;
    };
    t.create_program = [](abi::NvrtcProgram* program, const char* source, const char*, int,
                          const char* const*, const char* const*) {
      *program = new Program{std::strstr(source, "#error") != nullptr, {}};
      return 0;
    };
    t.compile_program = [](abi::NvrtcProgram handle, int n, const char* const* options) {
      Program& program = *static_cast<Program*>(handle);
      if (program.fails) {
        program.log = "it.cu(1): error: #error directive\n";
        return 6;
      }
      constexpr std::string_view kDefine = "-DLATHE_ENTRY=";
      for (int i = 0; i < n; ++i) {
        const std::string_view option = options[i];
        if (!option.starts_with(kDefine)) continue;
        if (!Refused().empty() && option.find(Refused()) != std::string_view::npos) {
          program.log = "ptxas fatal: too few registers\n";
          return 6;
        }
        program.log = "ptxas info    : Compiling entry function '" +
                      std::string(option.substr(kDefine.size())) +
                      "' for 'sm_90a'\n    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
                      "ptxas info    : Used 32 registers, used 1 barriers\n";
      }
      return 0;
    };
    t.destroy_program = [](abi::NvrtcProgram* program) {
      delete static_cast<Program*>(*program);
      return 0;
    };
    t.get_cubin_size = [](abi::NvrtcProgram, size_t* bytes) {
      *bytes = sizeof(kCubin);
      return 0;
    };
    t.get_cubin = [](abi::NvrtcProgram, char* cubin) {
      std::memcpy(cubin, kCubin, sizeof(kCubin));
      return 0;
    };
    t.get_log_size = [](abi::NvrtcProgram program, size_t* bytes) {
      *bytes = static_cast<Program*>(program)->log.size() + 1;
      return 0;
    };
    t.get_log = [](abi::NvrtcProgram program, char* log) {
      const std::string& text = static_cast<Program*>(program)->log;
      std::memcpy(log, text.c_str(), text.size() + 1);
      return 0;
    };
    t.get_error_string = [](abi::NvrtcResult) { return "NVRTC_ERROR_COMPILATION"; };
    return Nvrtc::FromTable(t, 13000);
  }

 private:
  static constexpr char kCubin[] = "cubin";
  struct Program {
    bool fails;
    std::string log;
  };
};

}  // namespace lathe::cuda::testing
