// philox.hpp: the counter-based random stream, Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as
// easy as 1, 2, 3", SC 2011), and what its words mean. Pure functions of (key, block): any part of the stream can be
// computed anywhere, in any order, and gives the same bits on every level and device.
//
// Include it INSIDE a namespace that sees rb's u32, u64, i64 and Seed (each kernel level has its own copy: nothing here
// may be shared between translation units); it has no include guard for that reason.

constexpr u32 kPhiloxM0 = 0xD2511F53u, kPhiloxM1 = 0xCD9E8D57u;  // round multipliers
constexpr u32 kPhiloxW0 = 0x9E3779B9u, kPhiloxW1 = 0xBB67AE85u;  // key increments

// One block: the four words of `ctr` [4] under `key` [2] after ten rounds, in place.
static inline void philox4x32(u32* ctr, const u32* key) {
    u32 k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; ++round) {
        u64 p0 = u64(kPhiloxM0) * ctr[0], p1 = u64(kPhiloxM1) * ctr[2];
        u32 c0 = u32(p1 >> 32) ^ ctr[1] ^ k0, c2 = u32(p0 >> 32) ^ ctr[3] ^ k1;
        ctr[1] = u32(p1);
        ctr[3] = u32(p0);
        ctr[0] = c0;
        ctr[2] = c2;
        k0 += kPhiloxW0;
        k1 += kPhiloxW1;
    }
}

// Block `block` after the position `seed`: key = (low, high) of seed.key, counter = (low, high of counter + block, 0,
// 0).
static inline void philox_block(const Seed& seed, u64 block, u32* words) {
    u64 c = seed.counter + block;
    u32 key[2] = {u32(seed.key), u32(seed.key >> 32)};
    words[0] = u32(c);
    words[1] = u32(c >> 32);
    words[2] = 0;
    words[3] = 0;
    philox4x32(words, key);
}

// Words to numbers. f32: the top 24 bits of one word; f64: the top 53 bits of (second word, first word).
static inline float uniform_from(u32 w) {
    return float(int(w >> 8)) * 0x1p-24f;
}  // [0, 1)
static inline double uniform_from(u32 lo, u32 hi) {  // [0, 1)
    return double(i64((u64(hi) << 32 | lo) >> 11)) * 0x1p-53;
}
// The Box-Muller radius needs (0, 1]: 31 bits of a word, 53 bits of a pair, plus one.
static inline float open_uniform_from(u32 w) {
    return (float(int(w >> 1)) + 1.0f) * 0x1p-31f;
}
static inline double open_uniform_from(u32 lo, u32 hi) {
    return uniform_from(lo, hi) + 0x1p-53;
}
