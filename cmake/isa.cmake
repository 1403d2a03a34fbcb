# isa.cmake: the only place with instruction-set flags. Each level is one object file from cpp/isa/.
# -ffp-contract=off everywhere: a multiply-add is fused only where the source says so (same bits in every path).
set(RB_COMMON_FLAGS -ffp-contract=off -fno-math-errno -fno-trapping-math -fvisibility=hidden -fno-semantic-interposition
    -Wall -Wextra -Wno-unused-function)
set(RB_KERNEL_FLAGS ${RB_COMMON_FLAGS} -O3 -fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-lto
    -fno-asynchronous-unwind-tables)

set(RB_ISA_SOURCES cpp/isa/base.cpp)
set(RB_ISA_DEFINES "")
set_source_files_properties(cpp/isa/base.cpp PROPERTIES COMPILE_OPTIONS "${RB_KERNEL_FLAGS}")

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(RB_BASELINE_FLAGS -march=x86-64-v2 -mtune=generic)
  list(APPEND RB_ISA_SOURCES cpp/isa/avx2.cpp cpp/isa/avx512.cpp)
  list(APPEND RB_ISA_DEFINES RB_HAVE_AVX2 RB_HAVE_AVX512)
  set_source_files_properties(cpp/isa/avx2.cpp PROPERTIES COMPILE_OPTIONS
    "${RB_KERNEL_FLAGS};-march=x86-64-v3;-mtune=generic;-mprefer-vector-width=256")
  set_source_files_properties(cpp/isa/avx512.cpp PROPERTIES COMPILE_OPTIONS
    "${RB_KERNEL_FLAGS};-march=x86-64-v4;-mtune=generic;-mprefer-vector-width=512")
else()
  set(RB_BASELINE_FLAGS "")
endif()
