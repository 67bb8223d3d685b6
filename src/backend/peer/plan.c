/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of the peer backend: pure functions of what all ranks agreed on.
 *
 * Thresholds and block sizes: the smallest time of a sweep over algorithm, grid and
 * block in a replayed graph, on two and four H100 with NVLink.
 */
#include "backend/peer/plan.h"

#include <stdio.h>

#include "backend/peer/exchange.h"
#include "base/compiler.h"

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)

enum {
    ALIGN = 4096, /* of regions */
    STAGED_BLOCK = 256
};

static const char *const algo_names[] = {
#define DCMI_X(NAME, name) #name,
    DCMI_PEER_ALGO_MAP(DCMI_X)
#undef DCMI_X
};

static const char *const what_names[] = {
    [DCMI_PEER_BF16] = "bf16",
    [DCMI_PEER_F16] = "f16",
    [DCMI_PEER_F32] = "f32",
    [DCMI_PEER_ANY] = "any",
};

const char *dcmi_peer_algo_name(dcmi_peer_algo algo)
{
    return algo_names[algo];
}

bool dcmi_peer_has_words(dcm_dtype dtype)
{
    return dtype == DCM_F32 || dtype == DCM_F16 || dtype == DCM_BF16 ||
           dtype == DCM_F8E4M3 || dtype == DCM_F8E5M2;
}

static uint64_t up(uint64_t x, uint64_t to)
{
    return (x + to - 1) / to * to;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool is_two_shot(dcmi_peer_algo algo)
{
    return algo == DCMI_PEER_LL128_TWO || algo == DCMI_PEER_PUSH_TWO;
}

static bool is_lines(dcmi_peer_algo algo)
{
    return algo == DCMI_PEER_LL128 || algo == DCMI_PEER_LL128_TWO;
}

/* Bytes in staging of `bytes` as lines. */
static uint64_t as_lines(uint64_t bytes)
{
    return up(bytes, DCMK_WARP_DATA) / DCMK_WARP_DATA * DCMK_WARP_LINES;
}

/* What `threads` threads carry, each once. */
static uint64_t carried(dcmi_peer_algo algo, uint64_t threads)
{
    return is_lines(algo) ? threads / DCMK_LANES * DCMK_WARP_DATA
                          : threads * 16;
}

static dcmi_peer_region put(uint64_t *at, uint64_t slot, int nranks)
{
    dcmi_peer_region r;

    r.at = *at;
    r.slot = up(slot, ALIGN);
    r.half = r.slot * (uint64_t)nranks;
    *at += 2 * r.half;
    return r;
}

/* As image.cu has it; sums of three ranks take the kernels for eight. */
uint32_t dcmi_peer_block(int nranks)
{
    if (nranks == 2 || nranks == 4)
        return 1024;
    return nranks <= 8 ? 512 : 256;
}

void dcmi_peer_lay_out(dcmi_peer_layout *lay, int nranks, uint64_t threads)
{
    const uint64_t n = (uint64_t)nranks;
    uint64_t at = 0;
    uint64_t line;
    uint64_t word;

    *lay = (dcmi_peer_layout){.nranks = nranks};
    lay->block = dcmi_peer_block(nranks);
    lay->most[DCMI_PEER_LL128] = nranks == 2   ? MIB
                                 : nranks <= 4 ? 512 * KIB
                                               : 128 * KIB;
    lay->most[DCMI_PEER_LL128_TWO] = 2 * MIB;
    lay->most[DCMI_PEER_PUSH] = nranks == 2 ? 2 * MIB : 0;
    lay->most[DCMI_PEER_PUSH_TWO] = 4 * MIB;
    for (int i = 0; i < DCMI_PEER_ALGOS; i++) {
        const uint64_t c = carried((dcmi_peer_algo)i, threads) /
                           DCMK_WARP_DATA * DCMK_WARP_DATA;

        lay->most[i] =
            least(lay->most[i], is_two_shot((dcmi_peer_algo)i) ? c * n : c);
    }
    line = lay->most[DCMI_PEER_LL128];
    if (lay->most[DCMI_PEER_LL128_TWO] / n > line)
        line = lay->most[DCMI_PEER_LL128_TWO] / n;
    word = lay->most[DCMI_PEER_PUSH];
    if (lay->most[DCMI_PEER_PUSH_TWO] / n > word)
        word = lay->most[DCMI_PEER_PUSH_TWO] / n;
    lay->lines[0] = put(&at, as_lines(line + DCMK_WARP_DATA), nranks);
    lay->lines[1] =
        put(&at, as_lines(lay->most[DCMI_PEER_LL128_TWO] / n + DCMK_WARP_DATA),
            nranks);
    lay->most_exchange = line / DCMK_WARP_DATA * DCMK_WARP_DATA;
    dcmi_peer_lay_out_exchange(lay, &at, threads);
    lay->words_at = at;
    lay->words[0] = put(&at, word + ALIGN, nranks);
    lay->words[1] = put(&at, lay->most[DCMI_PEER_PUSH_TWO] / n + ALIGN, nranks);
    lay->bytes = at;
}

void dcmi_peer_lay_out_staged(dcmi_peer_layout *lay, int nranks,
                              uint64_t threads)
{
    uint64_t at = 0;
    dcmi_peer_region *data = &lay->words[0];
    dcmi_peer_region *flags = &lay->words[1];

    *lay = (dcmi_peer_layout){.nranks = nranks, .is_staged = true};
    lay->block = STAGED_BLOCK;
    lay->most[DCMI_PEER_STAGED] =
        least(MIB, threads / STAGED_BLOCK * STAGED_BLOCK * 16);
    lay->lines[0] = put(&at, ALIGN, nranks);
    data->at = at;
    data->half = up(lay->most[DCMI_PEER_STAGED], ALIGN);
    if (data->half < (uint64_t)nranks * ALIGN)
        data->half = (uint64_t)nranks * ALIGN; /* a slot a rank: exchange.c */
    at += 2 * data->half;
    flags->at = at;
    flags->half = up((uint64_t)DCMK_GRID * DCMK_LINE, ALIGN);
    at += 2 * flags->half;
    dcmi_peer_lay_out_exchange(lay, &at, threads);
    lay->words_at = at;
    lay->bytes = at;
}

bool dcmi_peer_serves(const dcmi_peer_layout *lay, dcmi_peer_algo algo,
                      dcm_dtype dtype)
{
    return lay->most[algo] != 0 &&
           (is_lines(algo) || algo == DCMI_PEER_STAGED ||
            dcmi_peer_has_words(dtype));
}

dcmi_peer_algo dcmi_peer_choose(const dcmi_peer_layout *lay, dcm_dtype dtype,
                                uint64_t bytes)
{
    const bool has_words = dcmi_peer_has_words(dtype);

    if (lay->is_staged)
        return DCMI_PEER_STAGED;
    if (lay->nranks == 2) {
        if (bytes <=
            least(has_words ? 512 * KIB : MIB, lay->most[DCMI_PEER_LL128]))
            return DCMI_PEER_LL128;
        if (!has_words)
            return DCMI_PEER_LL128_TWO;
        return bytes <= lay->most[DCMI_PEER_PUSH] ? DCMI_PEER_PUSH
                                                  : DCMI_PEER_PUSH_TWO;
    }
    if (bytes <= least(lay->nranks <= 4 ? 190 * KIB : 96 * KIB,
                       lay->most[DCMI_PEER_LL128]))
        return DCMI_PEER_LL128;
    if (!has_words)
        return DCMI_PEER_LL128_TWO;
    /* Lines win here by little, words above and below. */
    if (bytes >= 768 * KIB && bytes <= 1536 * KIB &&
        bytes <= lay->most[DCMI_PEER_LL128_TWO])
        return DCMI_PEER_LL128_TWO;
    return DCMI_PEER_PUSH_TWO;
}

/* Arithmetic of its own moves whole words of 8 bytes, or 16. */
static bool is_even(dcmi_peer_algo algo, uint64_t bytes, uint32_t align)
{
    const uint32_t unit = is_lines(algo) ? 8 : 16;

    return bytes % unit == 0 && align % unit == 0;
}

static dcmi_peer_what what_of(const dcmi_peer_layout *lay, dcm_dtype dtype,
                              dcm_op op)
{
    if (lay->is_staged || op != DCM_SUM || lay->nranks > 8)
        return DCMI_PEER_ANY;
    if (dtype == DCM_BF16)
        return DCMI_PEER_BF16;
    if (dtype == DCM_F16)
        return DCMI_PEER_F16;
    return dtype == DCM_F32 ? DCMI_PEER_F32 : DCMI_PEER_ANY;
}

/* `bytes` of a message, or of a part where there are two shots. */
static uint32_t threads_of(dcmi_peer_algo algo, uint64_t bytes)
{
    switch (algo) {
    case DCMI_PEER_LL128:
        return bytes <= 8 * KIB ? 64 : bytes <= 128 * KIB ? 128 : 256;
    case DCMI_PEER_LL128_TWO:
        return bytes <= 256 * KIB ? 128 : 512;
    case DCMI_PEER_PUSH:
        return bytes <= MIB ? 256 : 512;
    case DCMI_PEER_STAGED:
        return STAGED_BLOCK;
    case DCMI_PEER_PUSH_TWO:
    case DCMI_PEER_ALGOS:
    default:
        return bytes <= MIB ? 128 : 256;
    }
}

dcmi_peer_shape dcmi_peer_shape_of(const dcmi_peer_layout *lay,
                                   dcmi_peer_algo algo, dcm_dtype dtype,
                                   dcm_op op, uint64_t bytes, uint32_t align)
{
    dcmi_peer_shape s = {
        .algo = algo,
        .what = is_even(algo, bytes, align) ? what_of(lay, dtype, op)
                                            : DCMI_PEER_ANY,
    };
    uint64_t part = bytes;
    uint64_t needed;

    if (is_two_shot(algo)) {
        part =
            up((bytes + (uint64_t)lay->nranks - 1) / (uint64_t)lay->nranks, 16);
        part = part == 0 ? 16 : part;
        s.shard = part;
    }
    s.threads = threads_of(algo, part);
    if (s.threads > lay->block)
        s.threads = lay->block;
    needed = is_lines(algo) ? as_lines(part) / 16 : up(part, 16) / 16;
    while (needed > (uint64_t)s.threads * DCMK_GRID)
        s.threads *= 2;
    s.grid = (uint32_t)((needed + s.threads - 1) / s.threads);
    s.grid = s.grid == 0 ? 1 : s.grid;
    return s;
}

void dcmi_peer_fill(dcmk_args *a, const dcmi_peer_layout *lay,
                    const dcmi_peer_shape *shape, dcm_dtype dtype, dcm_op op,
                    uint64_t bytes)
{
    const dcmi_peer_region *r = is_lines(shape->algo) ? lay->lines : lay->words;

    a->bytes = (uint32_t)bytes;
    a->shard = (uint32_t)shape->shard;
    a->first = (uint32_t)r[0].at;
    a->first_slot = (uint32_t)r[0].slot;
    a->first_half = (uint32_t)r[0].half;
    a->second = (uint32_t)r[1].at;
    a->second_slot = (uint32_t)r[1].slot;
    a->second_half = (uint32_t)r[1].half;
    a->header = (uint32_t)lay->lines[0].at;
    a->header_slot = (uint32_t)lay->lines[0].slot;
    a->header_half = (uint32_t)lay->lines[0].half;
    a->nranks = lay->nranks;
    a->dtype = (int32_t)dtype;
    a->op = (int32_t)op;
}

bool dcmi_peer_kernel_name(char *name, size_t bytes,
                           const dcmi_peer_layout *lay, dcmi_peer_algo algo,
                           dcmi_peer_what what)
{
    const int n = lay->nranks;
    const bool is_just = n == 2 || n == 4 || n == 8;
    const char *most = n <= 4 ? "most4" : n <= 8 ? "most8" : "most16";
    char ranks[8];

    if ((algo == DCMI_PEER_PUSH && n != 2) ||
        (algo == DCMI_PEER_STAGED && what != DCMI_PEER_ANY) ||
        (what != DCMI_PEER_ANY && n > 8))
        return false;
    if (what == DCMI_PEER_ANY)
        (void)snprintf(ranks, sizeof(ranks), "%s", most);
    else if (is_just)
        (void)snprintf(ranks, sizeof(ranks), "%d", n);
    else
        (void)snprintf(ranks, sizeof(ranks), "most8");
    (void)snprintf(name, bytes, "dcmk_k_%s_%s_%s", algo_names[algo], ranks,
                   what_names[what]);
    return true;
}

uint32_t dcmi_peer_sign(int kind, dcm_dtype dtype, dcm_op op, uint64_t count,
                        uint64_t piece)
{
    uint64_t h = count * 0x9e3779b97f4a7c15ull;

    h ^= piece * 0xc2b2ae3d27d4eb4full;
    h ^= (uint64_t)kind << 48 | (uint64_t)dtype << 52 | (uint64_t)op << 56;
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9ull;
    return (uint32_t)(h >> 48);
}
