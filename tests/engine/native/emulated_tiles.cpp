// AMX's tile instructions on processors without them: they end in SIGILL, whose handler reads what
// the instruction is, does it in plain C++, and goes on behind it. So the very object that is shipped
// can be tested anywhere. What is no such instruction, or breaks a rule of the manual (Intel 64 and
// IA-32 Architectures Software Developer's Manual, volume 2), ends the process.
#include <signal.h>
#include <ucontext.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int TILES = 8, MOST_ROWS = 16, MOST_BYTES = 64;

struct Tile {
    int rows, bytes;  // of a row; 0: not configured
    uint8_t data[MOST_ROWS][MOST_BYTES];
};

thread_local bool configured = false;
thread_local Tile tiles[TILES];
std::atomic<long> emulated{0};
struct sigaction before;

void require(bool kept, const char* rule) {
    if (kept) return;
    std::fprintf(stderr, "emulated tiles: broken rule: %s\n", rule);
    std::abort();
}

void release() {
    configured = false;
    std::memset(tiles, 0, sizeof tiles);
}

void configure(const uint8_t* from) {
    release();
    require(from[0] == 1, "the palette is 1");
    for (int i = 1; i < 16; ++i) require(from[i] == 0, "no row to start at, reserved bytes are 0");
    for (int i = 0; i < 16; ++i) {
        uint16_t bytes;
        std::memcpy(&bytes, from + 16 + 2 * i, 2);
        const int rows = from[48 + i];
        require(i < TILES || (rows == 0 && bytes == 0), "there are eight tiles");
        require(rows <= MOST_ROWS && bytes <= MOST_BYTES, "a tile has 16 rows of 64 bytes");
        require((rows == 0) == (bytes == 0), "rows and bytes are both 0, or neither");
        if (i < TILES) tiles[i].rows = rows, tiles[i].bytes = bytes;
    }
    configured = true;
}

Tile& existing(int number) {
    require(configured && number < TILES && tiles[number].rows > 0, "the tile is configured");
    return tiles[number];
}

void zero(int to) { std::memset(existing(to).data, 0, sizeof tiles[to].data); }

void load(int to, const uint8_t* from, long stride) {
    zero(to);
    for (int r = 0; r < tiles[to].rows; ++r) {
        std::memcpy(tiles[to].data[r], from + r * stride, tiles[to].bytes);
    }
}

void store(int from, uint8_t* to, long stride) {
    const Tile& tile = existing(from);
    for (int r = 0; r < tile.rows; ++r) std::memcpy(to + r * stride, tile.data[r], tile.bytes);
}

// TDPBSUD: bytes of a are signed, those of b unsigned.
void add_products(int to, int a_number, int b_number) {
    Tile& sums = existing(to);
    const Tile &a = existing(a_number), &b = existing(b_number);
    require(to != a_number && to != b_number && a_number != b_number, "three different tiles");
    require(sums.bytes % 4 == 0 && a.bytes % 4 == 0 && b.bytes % 4 == 0, "rows of whole words");
    require(sums.rows == a.rows, "as many sums as rows of A");
    require(sums.bytes == b.bytes, "as many sums as columns of B");
    require(a.bytes / 4 == b.rows, "a row of B for four columns of A");
    for (int m = 0; m < sums.rows; ++m) {
        for (int n = 0; n < sums.bytes / 4; ++n) {
            int32_t sum;
            std::memcpy(&sum, sums.data[m] + 4 * n, 4);
            for (int k = 0; k < a.bytes; ++k) {
                sum += int32_t(int8_t(a.data[m][k])) * int32_t(b.data[k / 4][4 * n + k % 4]);
            }
            std::memcpy(sums.data[m] + 4 * n, &sum, 4);
        }
    }
    std::memset(sums.data + sums.rows, 0, (MOST_ROWS - sums.rows) * MOST_BYTES);
}

// An instruction: VEX prefix of three bytes, opcode, ModR/M, and what an address takes.
class Instruction {
public:
    Instruction(const uint8_t* code, const greg_t* registers) : code_(code), registers_(registers) {}

    // All have map 0F38, W = 0, L = 0.
    bool known() const { return code_[0] == 0xc4 && (code_[1] & 31) == 2 && !(code_[2] & 0x84); }
    int opcode() const { return code_[3] << 4 | (code_[2] & 3); }  // with the prefix it stands for
    int reg() const { return (code_[4] >> 3 & 7) | (code_[1] & 0x80 ? 0 : 8); }
    int rm() const { return code_[4] & 7; }
    int third() const { return ~(code_[2] >> 3) & 15; }
    bool in_memory() const { return code_[4] >> 6 != 3; }
    bool has_index() const { return in_memory() && rm() == 4; }
    int length() const {
        if (!in_memory()) return 5;
        const int mode = code_[4] >> 6, address = 5 + has_index();
        if (mode == 1) return address + 1;
        return address + (mode == 2 || base() == 5 ? 4 : 0);
    }
    uint8_t* address() const {
        const int mode = code_[4] >> 6, at = 5 + has_index();
        long result = 0;
        if (mode == 1) result = int8_t(code_[at]);
        if (mode == 2 || (mode == 0 && base() == 5)) {
            int32_t distance;
            std::memcpy(&distance, code_ + at, 4);
            result = distance;
        }
        if (mode != 0 || base() != 5) {
            result += value(base() | (code_[1] & 0x20 ? 0 : 8));
        } else if (!has_index()) {
            result += long(code_ + length());  // relative to the next instruction
        }
        return reinterpret_cast<uint8_t*>(result);
    }
    long stride() const {
        require(has_index(), "an address with a stride");
        const int index = (code_[5] >> 3 & 7) | (code_[1] & 0x40 ? 0 : 8);
        return index == 4 ? 0 : value(index) << (code_[5] >> 6);
    }

private:
    int base() const { return has_index() ? code_[5] & 7 : rm(); }
    long value(int number) const {
        static constexpr int ORDER[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                          REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                          REG_R12, REG_R13, REG_R14, REG_R15};
        return registers_[ORDER[number]];
    }

    const uint8_t* code_;
    const greg_t* registers_;
};

// Whether it was one of them. Opcodes end with what the prefix stands for: 1: 66, 2: F3, 3: F2.
bool done(const Instruction& it) {
    if (!it.known()) return false;
    switch (it.opcode()) {
        case 0x490:
            it.in_memory() ? configure(it.address()) : release();
            return true;
        case 0x493:
            zero(it.reg());
            return true;
        case 0x4b3:
            load(it.reg(), it.address(), it.stride());
            return true;
        case 0x4b2:
            store(it.reg(), it.address(), it.stride());
            return true;
        case 0x5e2:
            add_products(it.reg(), it.rm(), it.third());
            return true;
        default:
            return false;
    }
}

void handle(int, siginfo_t*, void* context) {
    greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    const Instruction it(reinterpret_cast<const uint8_t*>(registers[REG_RIP]), registers);
    require(done(it), "the instruction is one of AMX's");
    registers[REG_RIP] += it.length();
    ++emulated;
}

}  // namespace

extern "C" {

void start_emulation() {
    struct sigaction action = {};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGILL, &action, &before);
}

// How many instructions were emulated since the object was loaded.
long stop_emulation() {
    sigaction(SIGILL, &before, nullptr);
    return emulated;
}

}  // extern "C"
