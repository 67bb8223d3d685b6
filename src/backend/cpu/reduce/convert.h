/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 16- and 8-bit floats as the vector kernels see them: their constants, and
 * conversion to and from fp32 in 32-bit lanes with integer operations and one
 * exact subtraction or addition.  Included after gnu.h.
 */
#ifndef DCMI_REDUCE_CONVERT_H
#define DCMI_REDUCE_CONVERT_H

#include <devcomm/devcomm.h>

typedef struct float_kind {
    int bits;         /* of the whole type */
    int man;          /* bits of mantissa */
    int bias;         /* of the exponent */
    uint32_t top;     /* largest code that is no NaN, without sign */
    uint32_t canon;   /* the canonical NaN */
    uint32_t ceiling; /* fp32 bits: what is larger becomes as this */
    bool has_inf;     /* then `top` is infinity */
} float_kind;

/* `type` is a constant at every call, so all of this folds. */
DCMI_INLINE float_kind kind_of(int type)
{
    switch (type) {
    case DCM_F16: /* 65536 rounds to infinity */
        return (float_kind){16, 10, 15, 0x7c00, 0x7e00, 0x47800000, true};
    case DCM_F8E5M2: /* as f16 */
        return (float_kind){8, 2, 15, 0x7c, 0x7e, 0x47800000, true};
    case DCM_F8E4M3: /* 448, the largest number */
        return (float_kind){8, 3, 7, 0x7e, 0x7f, 0x43e00000, false};
    default: /* bf16 has an exponent as fp32 and needs no ceiling */
        return (float_kind){16, 7, 127, 0x7f80, 0x7fc0, 0x7f800000, true};
    }
}

/* Codes in the low bits of 32-bit lanes, other bits zero, to fp32. */
DCMI_INLINE vec decode(int type, vec code)
{
    const float_kind k = kind_of(type);
    const vec abs = code & ((1u << (k.bits - 1)) - 1);
    const vec sign = (code ^ abs) << (32 - k.bits);
    const vec wide = (abs << (23 - k.man)) + ((uint32_t)(127 - k.bias) << 23);
    const uint32_t smallest = (uint32_t)(128 - k.bias) << 23;
    /* Subnormal: a leading one is put in front, and taken off as a number. */
    const f32v low = (f32v)(wide + (1u << 23)) - (f32v)splat32(smallest);
    vec x = pick32(splat32(1u << k.man), abs, (vec)low, wide);

    if (k.has_inf)
        x = pick32(abs, splat32(k.top - 1), x | 0x7f800000u, x);
    else
        x = pick32(abs, splat32(k.top), splat32(0x7fc00000u), x);
    return x | sign;
}

/* fp32 to codes in the low bits of 32-bit lanes, to nearest, ties to even. */
DCMI_INLINE vec encode(int type, vec x)
{
    const float_kind k = kind_of(type);
    const int drop = 23 - k.man;
    const uint32_t smallest = (uint32_t)(128 - k.bias) << 23;
    /* Its last bit is the last bit of a subnormal: the addition rounds. */
    const uint32_t anchor = (uint32_t)(127 - k.bias + drop + 1) << 23;
    const vec abs = x & 0x7fffffffu;
    const vec sign = (x ^ abs) >> (32 - k.bits);
    const vec held = pick32(abs, splat32(k.ceiling), splat32(k.ceiling), abs);
    const vec odd = (held >> drop) & 1u;
    const vec high = (held - ((uint32_t)(127 - k.bias) << 23) +
                      ((1u << (drop - 1)) - 1) + odd) >>
                     drop;
    const vec low = (vec)((f32v)held + (f32v)splat32(anchor)) - anchor;
    const vec code = pick32(splat32(smallest), held, low, high) | sign;

    return pick32(abs, splat32(0x7f800000u), splat32(k.canon), code);
}

#ifndef VEC_OWN_ROUND_BF16
/* Half a unit less one is added, and one more if the last bit kept is odd. */
DCMI_INLINE vec round_bf16(vec x)
{
    return x + 0x7fffu + ((x >> 16) & 1u);
}
#endif

#ifndef VEC_OWN_BF16
/*
 * bf16 is the upper half of fp32.  Even elements of a vector lie in the lower
 * half of a 32-bit lane, odd ones in the upper half.
 */
DCMI_INLINE void widen_bf16(vec wide[2], vec x)
{
    wide[0] = x << 16;
    wide[1] = x & 0xffff0000u;
}

DCMI_INLINE vec narrow_bf16(const vec wide[2])
{
    vec even = wide[0], odd = wide[1];

    canon_pair(&even, &odd); /* rounding could carry a NaN over */
    return (round_bf16(even) >> 16) | (round_bf16(odd) & 0xffff0000u);
}
#endif

#ifndef VEC_OWN_F16
DCMI_INLINE void widen_f16(vec wide[2], vec x)
{
    wide[0] = decode(DCM_F16, x & 0xffffu);
    wide[1] = decode(DCM_F16, x >> 16);
}

DCMI_INLINE void load_f16(vec wide[2], const void *p)
{
    widen_f16(wide, load_vec(p));
}

DCMI_INLINE vec narrow_f16(const vec wide[2])
{
    return encode(DCM_F16, wide[0]) | (encode(DCM_F16, wide[1]) << 16);
}
#endif

DCMI_INLINE void widen_f8(int type, vec wide[4], vec x)
{
    wide[0] = decode(type, x & 0xffu);
    wide[1] = decode(type, (x >> 8) & 0xffu);
    wide[2] = decode(type, (x >> 16) & 0xffu);
    wide[3] = decode(type, x >> 24);
}

DCMI_INLINE vec narrow_f8(int type, const vec wide[4])
{
    return encode(type, wide[0]) | (encode(type, wide[1]) << 8) |
           (encode(type, wide[2]) << 16) | (encode(type, wide[3]) << 24);
}

#endif /* DCMI_REDUCE_CONVERT_H */
