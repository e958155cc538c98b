// RMSNorm and LayerNorm, as models/layers/norms.py has them.
#pragma once

#include "vectors.h"
#include "weights.h"

namespace lmw {

// x (size,) -> out (size,), which may be x itself.
void normalize(const NormWeights& norm, const float* x, int size, float* out);

}  // namespace lmw
