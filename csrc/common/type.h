// The number types that the kernels take.
#pragma once

namespace peclip_fast {

enum class Type : int { kFloat32 = 0, kBFloat16 = 1, kFloat16 = 2 };

}  // namespace peclip_fast
