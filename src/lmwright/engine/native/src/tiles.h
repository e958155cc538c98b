// The tile instructions of AMX (Intel 64 and IA-32 Architectures Software Developer's Manual, volume
// 1, chapter 18): eight registers of up to 16 rows of up to 64 bytes, and products of two of them.
//
// As assembly, since the compilers' own functions take numbers of registers only as literals, and
// some say too little of the memory that they read. No compiler uses tiles by itself.
#pragma once

#if defined(__AMX_INT8__)
#define LMW_TILES 1

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace lmw {

// What LDTILECFG reads.
struct alignas(64) TileShapes {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes[16] = {};  // of a row
    uint8_t rows[16] = {};

    void set(int tile, int its_rows, int its_bytes) {
        rows[tile] = uint8_t(its_rows);
        bytes[tile] = uint16_t(its_bytes);
    }
};

// This thread's tiles have shapes while this lives; what is released costs no saving at a switch of
// threads.
class Tiles {
public:
    explicit Tiles(const TileShapes& shapes) { __asm__ volatile("ldtilecfg %0" : : "m"(shapes)); }
    ~Tiles() { __asm__ volatile("tilerelease"); }
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;
};

template <int TILE>
inline void zero_tile() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(TILE));
}

// Rows are `stride` bytes apart.
template <int TILE>
inline void load_tile(const void* from, long stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(TILE) : "memory");
}

template <int TILE>
inline void store_tile(void* to, long stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(TILE) : "memory");
}

// SUM (M, N) int32 += A (M, K) signed bytes times B, whose row k holds for each n the unsigned bytes
// of rows 4 k .. 4 k + 3 of a (K, N) matrix.
template <int SUM, int A, int B>
inline void add_products() {
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(SUM), "i"(A), "i"(B));
}

// Ask the kernel for room to save this process's tiles in (Linux 5.16; Documentation/arch/x86/
// xstate.rst). Without its leave the first instruction would end the process.
inline bool request_tiles() {
    constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

}  // namespace lmw

#else
#define LMW_TILES 0
#endif
