// What multiplies tiles in this file's compilation (PECLIP_UNIT, the namespace). A unit has
//
//     Unit          a guard, to be there while it multiplies
//     multiply      C (32, 32) = A B, or += where `add`, over `depth`: a0 and a1 are the tiles of the
//                   halves of A's rows, b those of B, two for each 32 of depth
//     multiply_rows C (32, columns) = A (32, depth) B, with `columns` and `depth` multiples of 32. B has
//                   its tiles one after the other, those of the same 32 rows together
#pragma once

#ifdef PECLIP_UNIT_AMX
#define PECLIP_UNIT cpu_amx
#include "cpu/amx.h"
#else
#define PECLIP_UNIT cpu_avx512_bf16
#include "cpu/avx512_bf16.h"
#endif
