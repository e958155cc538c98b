#include "linear_integer.h"

namespace lmw {

void int4_tile(const LinearWeights& w, const Rows& x, int row, int count, int panel, int panels,
               float* tile) {
    integer_tile<IntegerPanel<4, GROUP, true>>(w, x, row, count, panel, panels, tile);
}

}  // namespace lmw
