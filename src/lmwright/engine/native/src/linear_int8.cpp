#include "linear_integer.h"

namespace lmw {

void int8_tile(const LinearWeights& w, const Rows& x, int row, int count, int panel, int panels,
               float* tile) {
    if (w.format == INT8_ROWS) {
        return integer_tile<IntegerPanel<8, GROUP, false>>(w, x, row, count, panel, panels, tile);
    }
    integer_tile<IntegerPanel<8, GROUP, true>>(w, x, row, count, panel, panels, tile);
}

}  // namespace lmw
