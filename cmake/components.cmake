# lathe_components(TARGET): what a lathe is made of, for SBOMs and licence notices: build/components/components.json and
# the licence texts beside it, embedded into TARGET (with the model.py of a Truss). Versions, sources and licence texts are those of the Debian packages
# that this machine builds with; where there is no dpkg, versions stay empty and texts are left out.
#
# One line a component: name | Debian package | SPDX licence | how it is in a lathe | file that stands for it
# static: an archive linked in; headers: code compiled in; shared: a library beside it, known by the start of its name.
set(LATHE_COMPONENTS
  "nlohmann-json|nlohmann-json3-dev|MIT|headers|/usr/include/nlohmann/json.hpp"
  "CLI11|libcli11-dev|BSD-3-Clause|headers|/usr/include/CLI/App.hpp"
  "PCRE2|libpcre2-dev|BSD-3-Clause|static|${lathe_pcre2_LIB}"
  "utf8proc|libutf8proc-dev|MIT AND Unicode-DFS-2016|static|${lathe_utf8proc_LIB}"
  "xxHash|libxxhash-dev|BSD-2-Clause|static|${lathe_xxhash_LIB}"
  "Boost|libboost1.74-dev|BSL-1.0|headers|/usr/include/boost/version.hpp"
  "OpenSSL|libssl-dev|Apache-2.0|static|${lathe_crypto_archive_LIB}"
  "yaml-cpp|libyaml-cpp-dev|MIT|static|${lathe_yaml_LIB}"
  "spdlog|libspdlog-dev|MIT|headers|/usr/include/spdlog/spdlog.h"
  "fmt|libfmt-dev|MIT|headers|/usr/include/fmt/core.h"
  "zlib|zlib1g-dev|Zlib|static|${lathe_zlib_LIB}"
  "prometheus-cpp|libprometheus-cpp-core1.0|MIT|shared|libprometheus-cpp-core."
  "libstdc++|libstdc++6|GPL-3.0-or-later WITH GCC-exception-3.1|shared|libstdc++."
  "libgcc|libgcc-s1|GPL-3.0-or-later WITH GCC-exception-3.1|shared|libgcc_s."
  "glibc|libc6|LGPL-2.1-or-later|shared|libc. libm. libdl. librt. libresolv. libpthread. ld-linux")

function(lathe_components target)
  set(folder ${CMAKE_BINARY_DIR}/components)
  file(MAKE_DIRECTORY ${folder}/licences)
  find_program(LATHE_DPKG_QUERY dpkg-query)
  set(distribution "")
  if(EXISTS /etc/os-release)
    file(STRINGS /etc/os-release id REGEX "^ID=")
    string(REGEX REPLACE "^ID=\"?([a-z0-9._-]*)\"?$" "\\1" distribution "${id}")
  endif()
  set(rows "")
  foreach(component ${LATHE_COMPONENTS})
    string(REPLACE "|" ";" fields "${component}")
    list(GET fields 0 name)
    list(GET fields 1 package)
    list(GET fields 2 licence)
    list(GET fields 3 kind)
    list(GET fields 4 file)
    set(version "")
    set(source "")
    if(LATHE_DPKG_QUERY)
      execute_process(COMMAND ${LATHE_DPKG_QUERY} -W -f "\${Version};\${source:Package};" ${package}
                      OUTPUT_VARIABLE known ERROR_QUIET)
      if(known)
        list(GET known 0 version)
        list(GET known 1 source)
      endif()
    endif()
    set(sha256 "")
    if(EXISTS ${file})
      file(REAL_PATH ${file} real)
      file(SHA256 ${real} sha256)
      get_filename_component(file ${file} NAME)
      set_property(DIRECTORY ${CMAKE_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${real})
    endif()
    # Boost's list of 2 MB is of many libraries, and its licence asks for nothing in a binary.
    set(text /usr/share/doc/${package}/copyright)
    if(EXISTS ${text} AND NOT name STREQUAL "Boost")
      configure_file(${text} ${folder}/licences/${name}.txt COPYONLY)
    endif()
    list(APPEND rows "{\"name\": \"${name}\", \"version\": \"${version}\", \"source\": \"${source}\", \"license\": \"${licence}\", \"kind\": \"${kind}\", \"file\": \"${file}\", \"sha256\": \"${sha256}\"}")
  endforeach()
  foreach(common Apache-2.0 GPL-3 LGPL-2.1)
    if(EXISTS /usr/share/common-licenses/${common})
      configure_file(/usr/share/common-licenses/${common} ${folder}/licences/common/${common}.txt COPYONLY)
    endif()
  endforeach()
  configure_file(${CMAKE_SOURCE_DIR}/LICENSE ${folder}/licences/lathe.txt COPYONLY)
  configure_file(${CMAKE_SOURCE_DIR}/NOTICE ${folder}/licences/lathe-NOTICE.txt COPYONLY)
  configure_file(${CMAKE_SOURCE_DIR}/src/package/truss_model.py ${folder}/truss_model.py COPYONLY)
  list(JOIN rows ",\n  " rows)
  # Written only when it changed, so that to configure again compiles nothing.
  file(CONFIGURE OUTPUT ${folder}/components.json @ONLY
       CONTENT "{\"distribution\": \"${distribution}\", \"components\": [\n  ${rows}\n]}\n")
  file(RELATIVE_PATH relative ${CMAKE_SOURCE_DIR}/src ${folder})
  lathe_embed(${target} ${relative} package/embedded.h lathe::package ComponentFiles)
endfunction()
