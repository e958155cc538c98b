// Products with weights of 8 bits by the tiles of AMX, in the object that is built for it.
#pragma once

#include "linear.h"
#include "tiles.h"

#if LMW_TILES

namespace lmw {

// For the whole process; off until Python has found that they are allowed, right and fast.
void use_tiles(bool wanted);
bool uses_tiles();

// As int8_tile in linear.h, of any group.
void int8_by_tiles(const LinearWeights&, const Rows& x, int row, int count, int panel, int panels,
                   float* tile);

}  // namespace lmw

#endif
