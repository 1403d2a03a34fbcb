// avx2.cpp: every kernel body of cpp/kernels, compiled with this level's flags (cmake/isa.cmake), one table exported.
// Everything lives in this namespace's unnamed part: nothing here may be shared with another translation unit.
#define RB_ISA_NS avx2
#include "../kernels/all.inl"
