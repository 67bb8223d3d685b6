/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Minimum and maximum of every type as one signed integer maximum of keys.
 * Included after convert.h.
 *
 * 1. Floats: the lower bits of a negative number are inverted, which makes the
 *    order of the numbers the order of integers and puts -0 right below +0.
 * 2. Minimum: all bits are inverted, so the smaller number has the larger key.
 * 3. A constant is added, wrapping, that moves the least number (-infinity, or
 *    -448) to the least integer: the NaNs, which lay at both ends, are then
 *    all above the largest number.  So a NaN wins, and a comparison finds it.
 *
 * The steps are undone on the winner, so its own bits come back.  Integers need
 * step 2 only, and step 3 with the sign bit when they are unsigned.
 */
#ifndef DCMI_REDUCE_ORDER_H
#define DCMI_REDUCE_ORDER_H

DCMI_INLINE bool is_float(int type)
{
    return type <= DCM_F8E5M2;
}

/* Bits of an element. */
DCMI_INLINE int width_of(int type)
{
    switch (type) {
    case DCM_F64:
    case DCM_I64:
    case DCM_U64:
        return 64;
    case DCM_F32:
    case DCM_I32:
    case DCM_U32:
        return 32;
    case DCM_F16:
    case DCM_BF16:
        return 16;
    default:
        return 8;
    }
}

/* Code of infinity, or of the largest number where there is none. */
DCMI_INLINE uint64_t top_of(int type)
{
    switch (type) {
    case DCM_F64:
        return 0x7ff0000000000000u;
    case DCM_F32:
        return 0x7f800000u;
    default:
        return kind_of(type).top;
    }
}

DCMI_INLINE uint64_t canon_of(int type)
{
    switch (type) {
    case DCM_F64:
        return 0x7ff8000000000000u;
    case DCM_F32:
        return 0x7fc00000u;
    default:
        return kind_of(type).canon;
    }
}

/* What step 3 adds, in the lower bits. */
DCMI_INLINE uint64_t shift_of(int type)
{
    const uint64_t least = (uint64_t)1 << (width_of(type) - 1);

    if (is_float(type))
        return least + top_of(type) + 1;
    return type == DCM_U8 || type == DCM_U32 || type == DCM_U64 ? least : 0;
}

/* The key of the number at the top; NaNs lie above. */
DCMI_INLINE uint64_t limit_of(int type)
{
    return shift_of(type) + top_of(type);
}

/* Step 1; it is its own inverse, since it leaves the sign. */
#define VEC_FLIP(b)                                                            \
    DCMI_INLINE vec flip##b(int type, vec x)                                   \
    {                                                                          \
        const vec low = splat##b((uint##b##_t)(UINT##b##_MAX >> 1));           \
                                                                               \
        return is_float(type) ? x ^ (signs##b(x) & low) : x;                   \
    }

#define VEC_KEY(b)                                                             \
    DCMI_INLINE vec key##b(int type, int op, vec x)                            \
    {                                                                          \
        const vec shift = splat##b((uint##b##_t)shift_of(type));               \
        const vec y = flip##b(type, x);                                        \
                                                                               \
        return (vec)((u##b##v)(op == DCM_MIN ? ~y : y) + (u##b##v)shift);      \
    }

#define VEC_UNKEY(b)                                                           \
    DCMI_INLINE vec unkey##b(int type, int op, vec x)                          \
    {                                                                          \
        const vec shift = splat##b((uint##b##_t)shift_of(type));               \
        const vec y = (vec)((u##b##v)x - (u##b##v)shift);                      \
                                                                               \
        return flip##b(type, op == DCM_MIN ? ~y : y);                          \
    }

/* `x`, or the canonical NaN where `key` is one of a NaN. */
#define VEC_NAN_OF(b)                                                          \
    DCMI_INLINE vec nan_of##b(int type, vec key, vec x)                        \
    {                                                                          \
        const vec limit = splat##b((uint##b##_t)limit_of(type));               \
        const vec canon = splat##b((uint##b##_t)canon_of(type));               \
                                                                               \
        return is_float(type) ? pick##b(key, limit, canon, x) : x;             \
    }

#define VEC_ORDER(b)                                                           \
    VEC_FLIP(b)                                                                \
    VEC_KEY(b)                                                                 \
    VEC_UNKEY(b)                                                               \
    VEC_NAN_OF(b)

VEC_ORDER(8)
VEC_ORDER(16)
VEC_ORDER(32)
VEC_ORDER(64)

DCMI_INLINE vec to_key(int type, int op, vec x)
{
    switch (width_of(type)) {
    case 64:
        return key64(type, op, x);
    case 32:
        return key32(type, op, x);
    case 16:
        return key16(type, op, x);
    default:
        return key8(type, op, x);
    }
}

DCMI_INLINE vec from_key(int type, int op, vec key)
{
    switch (width_of(type)) {
    case 64:
        return nan_of64(type, key, unkey64(type, op, key));
    case 32:
        return nan_of32(type, key, unkey32(type, op, key));
    case 16:
        return nan_of16(type, key, unkey16(type, op, key));
    default:
        return nan_of8(type, key, unkey8(type, op, key));
    }
}

DCMI_INLINE vec larger_key(int type, vec a, vec b)
{
    switch (width_of(type)) {
    case 64:
        return max64(a, b);
    case 32:
        return max32(a, b);
    case 16:
        return max16(a, b);
    default:
        return max8(a, b);
    }
}

#endif /* DCMI_REDUCE_ORDER_H */
