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
  # At -O2 clang takes five times as long over it.
  target_compile_options(ebb_options INTERFACE -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer
                                               -fno-sanitize-recover=all)
  target_link_options(ebb_options INTERFACE -fsanitize=address,undefined)
endif()

# Most of a build from nothing is reading headers and expanding templates, once per source: it takes half as long when
# many sources compile as one file, and when what computes little, tests among it, is optimised little and carries no
# debug information. After an edit that is the slower way, and a name that two sources of a batch come to keep to
# themselves is an error until CMake runs again. deploy/quickstart.sh and tests/run.sh turn it on where nothing was
# built yet.
option(EBB_FIRST_BUILD "compile the sources of a target in a few batches, and fully optimise only what computes" OFF)
set(EBB_BATCH_LINES 4000 CACHE STRING "lines of sources in a batch of EBB_FIRST_BUILD, about")
set(EBB_COMPUTES_LITTLE
  ebb_config ebb_models ebb_http ebb_control ebb_control_wire ebb_collective ebb_kvclient ebb_kvstore_lib
  ebb_coordinator_http ebb_coordinator_engine ebb_cli ebb_ctl_lib ebb_score_lib ebb_cuda_emulated)
if(EBB_FIRST_BUILD)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  string(REPLACE "-g1" "" CMAKE_CXX_FLAGS_RELWITHDEBINFO "${CMAKE_CXX_FLAGS_RELWITHDEBINFO}")
endif()
function(ebb_optimise_less name)
  if(EBB_FIRST_BUILD)
    target_compile_options(${name} PRIVATE -O1)
  endif()
endfunction()
function(ebb_batch name sources)
  list(FILTER sources INCLUDE REGEX "^[^$].*\\.cpp$")
  if(NOT EBB_FIRST_BUILD OR NOT sources)
    return()
  endif()
  execute_process(
    COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/cmake/unity_batches.py ${EBB_BATCH_LINES} ${sources}
    WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} OUTPUT_VARIABLE batches COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(batches UNIX_COMMAND "${batches}")
  while(batches)
    list(POP_FRONT batches source batch)
    set_source_files_properties(${source} PROPERTIES UNITY_GROUP "${name}_${batch}")
  endwhile()
  set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  # A class of a source holds types of its unnamed namespace; the compiler takes the source for a header here.
  target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endfunction()

function(ebb_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES;PRIVATE_USES" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ebb_options ${ARG_USES} PRIVATE ${ARG_PRIVATE_USES})
  if(name IN_LIST EBB_COMPUTES_LITTLE)
    ebb_optimise_less(${name})
  endif()
  ebb_batch(${name} "${ARG_SOURCES}")
endfunction()

function(ebb_executable name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ebb_options ${ARG_USES})
  ebb_optimise_less(${name})
  ebb_batch(${name} "${ARG_SOURCES}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
endfunction()

function(ebb_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ebb_options ebb_tree_paths ${ARG_USES}
                        GTest::gtest_main GTest::gmock)
  ebb_optimise_less(${name})
  ebb_batch(${name} "${ARG_SOURCES}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  # One process per test binary: a test's start-up would cost more than most tests.
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${EBB_TEST_TIMEOUT}
    ENVIRONMENT "UCX_MEM_EVENTS=n;UCX_HANDLE_ERRORS=none;UCX_WARN_UNUSED_ENV_VARS=n;OMP_WAIT_POLICY=passive")
endfunction()
