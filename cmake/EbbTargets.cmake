# The few words every folder's CMakeLists.txt is written in.
#
#   ebb_library(NAME SOURCES a.cpp b.cpp USES ebb_base PRIVATE_USES RocksDB::rocksdb-shared)
#   ebb_executable(NAME SOURCES main.cpp USES ebb_worker)
#   ebb_test(NAME SOURCES x_test.cpp USES ebb_base LABELS unit)
#
# USES is part of a library's promise (its headers need it); PRIVATE_USES stays inside: vendor libraries
# belong there, so that their headers cannot leak. Sources are listed by name, never globbed.

# Seconds until a test counts as hung. Sanitized code is several times slower.
set(EBB_TEST_TIMEOUT 300)
if(EBB_SANITIZE)
  set(EBB_TEST_TIMEOUT 1800)
endif()

add_library(ebb_options INTERFACE)
target_compile_features(ebb_options INTERFACE cxx_std_20)
target_compile_options(ebb_options INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor
                                             -Woverloaded-virtual -Werror)
target_include_directories(ebb_options INTERFACE ${PROJECT_SOURCE_DIR})
if(EBB_SANITIZE STREQUAL "address")
  target_compile_options(ebb_options INTERFACE -fsanitize=address,undefined -fno-omit-frame-pointer
                                               -fno-sanitize-recover=undefined)
  # GCC sees uninitialised values in vendor headers that only its own instrumentation puts there.
  target_compile_options(ebb_options INTERFACE -Wno-maybe-uninitialized)
  target_link_options(ebb_options INTERFACE -fsanitize=address,undefined)
elseif(EBB_SANITIZE STREQUAL "thread")
  target_compile_options(ebb_options INTERFACE -fsanitize=thread -Wno-tsan -Wno-maybe-uninitialized)
  target_link_options(ebb_options INTERFACE -fsanitize=thread)
elseif(EBB_SANITIZE STREQUAL "fuzzer")
  target_compile_options(ebb_options INTERFACE -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer
                                               -fno-sanitize-recover=all)
  target_link_options(ebb_options INTERFACE -fsanitize=address,undefined)
endif()

# A first build is quicker with precompiled standard headers, but the compiler cache then misses in every other
# checkout, and GCC 12 warns of what is not there: deploy/quickstart.sh turns it on where nothing was built yet.
option(EBB_PCH "precompile the standard headers" OFF)
function(ebb_precompile name sources)
  list(LENGTH sources count)
  if(EBB_PCH AND count GREATER 3)
    target_precompile_headers(${name} PRIVATE
      <algorithm> <array> <atomic> <chrono> <condition_variable> <cstdint> <cstring> <functional> <map> <memory>
      <mutex> <optional> <set> <span> <string> <string_view> <thread> <unordered_map> <utility> <variant> <vector>)
    target_compile_options(${name} PRIVATE -w)
  endif()
endfunction()

function(ebb_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES;PRIVATE_USES" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ebb_options ${ARG_USES} PRIVATE ${ARG_PRIVATE_USES})
  ebb_precompile(${name} "${ARG_SOURCES}")
endfunction()

function(ebb_executable name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ebb_options ${ARG_USES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
endfunction()

function(ebb_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ebb_options ebb_tree_paths ${ARG_USES}
                        GTest::gtest_main GTest::gmock)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  # One process per test binary: a test's start-up would cost more than most tests.
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${EBB_TEST_TIMEOUT}
    ENVIRONMENT "UCX_MEM_EVENTS=n;UCX_HANDLE_ERRORS=none;UCX_WARN_UNUSED_ENV_VARS=n;OMP_WAIT_POLICY=passive")
endfunction()
