# Everything from Debian (docs/dependencies.md says why each). Archives are preferred over shared objects, so
# that the one binary runs on another Linux too (architecture, decision 1).
set(CMAKE_FIND_LIBRARY_SUFFIXES .a .so)
find_package(Threads REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(CLI11 REQUIRED)

# pkg-config would name -lxxhash and the linker would take the shared object: name the archive instead.
function(lathe_archive target library header)
  find_library(${target}_LIB NAMES ${library} REQUIRED)
  find_path(${target}_INCLUDE ${header} REQUIRED)
  add_library(${target} INTERFACE)
  target_link_libraries(${target} INTERFACE ${${target}_LIB})
  target_include_directories(${target} SYSTEM INTERFACE ${${target}_INCLUDE})
endfunction()

lathe_archive(lathe_xxhash xxhash xxhash.h)
lathe_archive(lathe_pcre2 pcre2-8 pcre2.h)
lathe_archive(lathe_utf8proc utf8proc utf8proc.h)
target_compile_definitions(lathe_utf8proc INTERFACE UTF8PROC_STATIC)

if(LATHE_TESTS)
  find_package(GTest REQUIRED)
  add_library(lathe_testing INTERFACE)
  target_link_libraries(lathe_testing INTERFACE GTest::gmock GTest::gtest_main)
  target_compile_definitions(lathe_testing INTERFACE LATHE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  # What a test itself does need not be fast to run, only to compile.
  target_compile_options(lathe_testing INTERFACE $<$<CONFIG:Release>:-O1>)

  # A second opinion on JSON schemas. Headers only.
  add_library(lathe_valijson INTERFACE)
  find_path(LATHE_VALIJSON_INCLUDE valijson/validator.hpp REQUIRED)
  target_include_directories(lathe_valijson SYSTEM INTERFACE ${LATHE_VALIJSON_INCLUDE})
endif()

# The server. Boost (Beast, Asio), spdlog and fmt are used as headers.
lathe_archive(lathe_ssl_archive ssl openssl/ssl.h)
lathe_archive(lathe_crypto_archive crypto openssl/evp.h)
add_library(lathe_openssl INTERFACE)
target_link_libraries(lathe_openssl INTERFACE lathe_ssl_archive lathe_crypto_archive ${CMAKE_DL_LIBS} Threads::Threads)

add_library(lathe_asio INTERFACE)
find_path(LATHE_BOOST_INCLUDE boost/beast.hpp REQUIRED)
target_include_directories(lathe_asio SYSTEM INTERFACE ${LATHE_BOOST_INCLUDE})
target_compile_definitions(lathe_asio INTERFACE BOOST_ASIO_NO_DEPRECATED BOOST_ERROR_CODE_HEADER_ONLY BOOST_ASIO_DISABLE_VISIBILITY)
if(LATHE_SANITIZE MATCHES "thread")
  # The sanitizer does not follow fences; what they order here is ordered by the queues' mutexes as well.
  target_compile_definitions(lathe_asio INTERFACE BOOST_ASIO_DISABLE_FENCED_BLOCK)
endif()
target_link_libraries(lathe_asio INTERFACE Threads::Threads)

add_library(lathe_spdlog INTERFACE)
find_path(LATHE_SPDLOG_INCLUDE spdlog/spdlog.h REQUIRED)
target_include_directories(lathe_spdlog SYSTEM INTERFACE ${LATHE_SPDLOG_INCLUDE})
target_compile_definitions(lathe_spdlog INTERFACE SPDLOG_FMT_EXTERNAL FMT_HEADER_ONLY)
target_link_libraries(lathe_spdlog INTERFACE Threads::Threads)

# Its archive is not for shared objects, of which the Python module is one.
if(LATHE_PYTHON)
  set(CMAKE_FIND_LIBRARY_SUFFIXES .so .a)
endif()
lathe_archive(lathe_yaml yaml-cpp yaml-cpp/yaml.h)
set(CMAKE_FIND_LIBRARY_SUFFIXES .a .so)
# Debian has no archive of prometheus-cpp.
lathe_archive(lathe_prometheus prometheus-cpp-core prometheus/registry.h)
# Where a library is a shared object: the file, and the name that programs ask for it by.
function(lathe_shared_object library file soname)
  set(${soname} "" PARENT_SCOPE)
  file(REAL_PATH "${library}" real)
  set(${file} "${real}" PARENT_SCOPE)
  if(NOT library MATCHES "\\.a$")
    execute_process(COMMAND readelf -d "${real}" OUTPUT_VARIABLE dynamic_section)
    string(REGEX MATCH "SONAME[^\n]*\\[([^]]+)\\]" soname_line "${dynamic_section}")
    set(${soname} "${CMAKE_MATCH_1}" PARENT_SCOPE)
  endif()
endfunction()
lathe_shared_object("${lathe_prometheus_LIB}" LATHE_PROMETHEUS_FILE LATHE_PROMETHEUS_SONAME)

# gzip, for the layers of images (src/package).
lathe_archive(lathe_zlib z zlib.h)
