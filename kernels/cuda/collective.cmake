# The collective among GPUs, which is part of the plugin. NCCL is loaded where a machine has it, never linked; its
# header says what to load, and without it the build does without.
set(here ${CMAKE_CURRENT_LIST_DIR})
target_sources(ebb_cuda_emulated PRIVATE
  ${here}/nccl_collective.cu ${here}/nccl_absent.cu ${here}/emulation/environment.cpp)
set_source_files_properties(${here}/nccl_collective.cu ${here}/nccl_absent.cu
  TARGET_DIRECTORY ebb_cuda_emulated PROPERTIES LANGUAGE CXX)
if(EBB_CUDA_BUILD)
  find_path(EBB_NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} ENV NCCL_HOME PATH_SUFFIXES include)
  target_sources(ebb_cuda PRIVATE ${here}/nccl_collective.cu)
  if(EBB_NCCL_INCLUDE_DIR)
    target_sources(ebb_cuda PRIVATE ${here}/nccl_library.cu)
    target_include_directories(ebb_cuda PRIVATE ${EBB_NCCL_INCLUDE_DIR})
  else()
    target_sources(ebb_cuda PRIVATE ${here}/nccl_absent.cu)
  endif()
  # What is missing at the end is an error here, not where the plugin is loaded.
  target_link_options(ebb_cuda PRIVATE -Wl,-z,defs)
endif()
