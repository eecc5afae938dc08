# lathe_module(PATH DEPS a b/c ... [STRICT] [ISA_KERNELS])
#
# A static library `lathe_PATH` (slashes become underscores) of src/PATH/*.cc, or an interface library where
# the folder has headers only. src/PATH/*_test.cc become one GoogleTest program, `PATH_test`. DEPS that are
# folders are given by path, others as targets. STRICT adds -Wconversion (parsers of foreign bytes).
# SUBDIRS names folders inside src/PATH whose *.cc belong to the same library (model families).
# TEST_DEPS are folders that only the tests need (an oracle, say).
# ISA_KERNELS compiles src/PATH/isa/*.cc once per instruction set (see lathe_add_isa_kernels).
enable_testing()

add_library(lathe_options INTERFACE)
target_include_directories(lathe_options INTERFACE ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
target_compile_options(lathe_options INTERFACE -Wall -Wextra -Werror -fno-math-errno -ffp-contract=off)
if(LATHE_SANITIZE)
  target_compile_options(lathe_options INTERFACE -fsanitize=${LATHE_SANITIZE} -fno-sanitize-recover=all
                                                 -fno-omit-frame-pointer -g1)
  target_link_options(lathe_options INTERFACE -fsanitize=${LATHE_SANITIZE})
endif()
# gcc 12 reports these inside its own headers at -O2 with no fault in ours.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(lathe_options INTERFACE -Wno-restrict -Wno-maybe-uninitialized)
endif()

find_program(LATHE_CCACHE ccache)
if(LATHE_CCACHE)
  # The first two let it look through precompiled headers (ccache's manual, "Precompiled headers").
  set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros ${LATHE_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${LATHE_CCACHE})
endif()

# Tests. A sanitizer build names its own with a suffix, so that one ctest run can show both, and builds only
# those that LATHE_TEST_FILTER asks for (target lathe_tests: all that were registered).
set(LATHE_TEST_FILTER "" CACHE STRING "Regular expression: build and register only these tests")
set(LATHE_TEST_SUFFIX "")
if(LATHE_SANITIZE MATCHES "thread")
  set(LATHE_TEST_SUFFIX ".tsan")
elseif(LATHE_SANITIZE MATCHES "address")
  set(LATHE_TEST_SUFFIX ".asan")
endif()
add_custom_target(lathe_tests)

function(lathe_test_wanted name out)
  set(${out} OFF PARENT_SCOPE)
  if(LATHE_TESTS AND (LATHE_TEST_FILTER STREQUAL "" OR name MATCHES "${LATHE_TEST_FILTER}"))
    set(${out} ON PARENT_SCOPE)
  endif()
endfunction()

# lathe_add_test(NAME COMMAND ...): add_test from the root of the repository, under the build's suffix.
# What takes longest begins first, so that none of it runs alone at the end: ctest learns that, but not before its second run.
set(LATHE_LONG_TESTS repo_docs_examples gpu_faults runtime_sched_test runtime_exec_cuda_test kernels_cpu_test e2e_golden_test
                     e2e_determinism_test cli_test)
function(lathe_add_test name)
  add_test(NAME ${name}${LATHE_TEST_SUFFIX} ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  if(name IN_LIST LATHE_LONG_TESTS)
    set_tests_properties(${name}${LATHE_TEST_SUFFIX} PROPERTIES COST 100)
  endif()
  if(TARGET ${name})
    add_dependencies(lathe_tests ${name})
  endif()
endfunction()

# GoogleTest, precompiled once: a quarter of what a test takes to compile. Tests are compiled with -O1, which takes a
# fifth less time than -O2 and does not show in how long they run.
set(LATHE_TEST_OPTIMIZE $<$<CONFIG:Release>:-O1>)
function(lathe_use_testing target)
  target_link_libraries(${target} PRIVATE lathe_testing)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    if(NOT TARGET lathe_test_headers)
      file(WRITE ${CMAKE_BINARY_DIR}/test_headers.cc "")
      add_library(lathe_test_headers OBJECT ${CMAKE_BINARY_DIR}/test_headers.cc)
      target_link_libraries(lathe_test_headers PRIVATE lathe_options lathe_testing)
      target_compile_options(lathe_test_headers PRIVATE -fpch-preprocess ${LATHE_TEST_OPTIMIZE})
      # As the test programs are compiled, not as an object library would be: gcc refuses headers of other settings.
      if(CMAKE_POSITION_INDEPENDENT_CODE)
        set_target_properties(lathe_test_headers PROPERTIES POSITION_INDEPENDENT_CODE OFF)
        target_compile_options(lathe_test_headers PRIVATE -fPIE)
      endif()
      target_precompile_headers(lathe_test_headers PRIVATE <gmock/gmock.h> <gtest/gtest.h> <string> <vector>)
    endif()
    # Warnings about the standard library's own code, which gcc 12 keeps to itself only outside of such headers.
    target_compile_options(${target} PRIVATE -fpch-preprocess ${LATHE_TEST_OPTIMIZE} -Wno-array-bounds -Wno-stringop-overflow
                                             -Wno-stringop-overread)
    target_precompile_headers(${target} REUSE_FROM lathe_test_headers)
  endif()
endfunction()

function(lathe_target_name path out)
  string(REPLACE "/" "_" name "${path}")
  set(${out} "lathe_${name}" PARENT_SCOPE)
endfunction()

# With LATHE_UNITY (sanitizer builds, where it halves the compiling) the sources of a module are compiled
# together; SEPARATE keeps those apart whose files have local names in common.
function(lathe_module path)
  cmake_parse_arguments(ARG "STRICT;ISA_KERNELS;SEPARATE" "" "DEPS;SUBDIRS;TEST_DEPS" ${ARGN})
  lathe_target_name(${path} target)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${path}/*.cc)
  foreach(subdir ${ARG_SUBDIRS})
    file(GLOB more CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${path}/${subdir}/*.cc)
    list(APPEND sources ${more})
  endforeach()
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")

  set(links lathe_options)
  foreach(dep ${ARG_DEPS})
    if(TARGET ${dep})
      list(APPEND links ${dep})
    else()
      lathe_target_name(${dep} dep_target)
      list(APPEND links ${dep_target})
    endif()
  endforeach()

  if(sources)
    add_library(${target} STATIC ${sources})
    target_link_libraries(${target} PUBLIC ${links})
    if(LATHE_UNITY AND NOT ARG_SEPARATE)
      set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
    endif()
    if(ARG_STRICT)
      target_compile_options(${target} PRIVATE -Wconversion)
    endif()
  else()
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE ${links})
  endif()
  if(ARG_ISA_KERNELS)
    lathe_add_isa_kernels(${target} ${path})
  endif()

  string(REPLACE "/" "_" test_name "${path}_test")
  lathe_test_wanted(${test_name} wanted)
  if(wanted AND tests)
    add_executable(${test_name} ${tests})
    target_link_libraries(${test_name} PRIVATE ${target})
    lathe_use_testing(${test_name})
    foreach(dep ${ARG_TEST_DEPS})
      lathe_target_name(${dep} dep_target)
      target_link_libraries(${test_name} PRIVATE ${dep_target})
    endforeach()
    lathe_add_test(${test_name} COMMAND ${test_name})
  endif()
endfunction()

# Compiles every src/PATH/isa/*.cc once per instruction set, with LATHE_ISA=<name> defined (the namespace of
# its symbols). Adding an ISA: one vector header (src/PATH/isa/vec_NAME.h) and one line here.
function(lathe_add_isa_kernels target path)
  file(GLOB kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${path}/isa/*.cc)
  set(isas portable)
  set(flags_portable "")
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(APPEND isas avx2 avx512 avx512bf16)
    set(flags_avx2 -mavx2 -mfma -mf16c)
    set(flags_avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c -mprefer-vector-width=512)
    set(flags_avx512bf16 ${flags_avx512} -mavx512bf16)
  endif()
  foreach(isa ${isas})
    if(kernels)
      add_library(${target}_${isa} OBJECT ${kernels})
      target_link_libraries(${target}_${isa} PRIVATE lathe_options)
      target_compile_definitions(${target}_${isa} PRIVATE LATHE_ISA=${isa})
      target_compile_options(${target}_${isa} PRIVATE ${flags_${isa}} -ffp-contract=off $<$<CONFIG:Release>:-O3>)
      target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${isa}>)
    endif()
  endforeach()
endfunction()

# lathe_embed(TARGET FOLDER HEADER NAMESPACE FUNCTION): puts the files below src/FOLDER into TARGET as bytes, named by
# their paths from there. HEADER declares NAMESPACE::FUNCTION(), which lists them (base/embedded_file.h).
function(lathe_embed target folder header namespace function)
  get_filename_component(root ${CMAKE_SOURCE_DIR}/src/${folder} ABSOLUTE)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS ${root}/*)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/${target}_embedded.cc)
  add_custom_command(
    OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} -DHEADER=${header} -DNAMESPACE=${namespace} -DFUNCTION=${function}
            -DROOT=${root} "-DFILES=${files}" -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${files} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
    VERBATIM)
  target_sources(${target} PRIVATE ${out})
endfunction()
