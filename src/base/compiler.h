/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler's extensions that the library uses, each behind one name. */
#ifndef DCMI_COMPILER_H
#define DCMI_COMPILER_H

#define DCMI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define DCMI_ALIGNED(n)        __attribute__((aligned(n)))
#define DCMI_COLD              __attribute__((cold, noinline))
#define DCMI_INLINE            static inline __attribute__((always_inline))

#define DCMI_LIKELY(x)   __builtin_expect(!!(x), 1)
#define DCMI_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define DCMI_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/*
 * Two lines: the adjacent-line prefetcher of x86 moves them in pairs, so words
 * of different writers are kept this far apart.
 */
#define DCMI_LINE   64
#define DCMI_SECTOR 128

#if defined(__SANITIZE_THREAD__)
#define DCMI_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DCMI_TSAN 1
#endif
#endif
#ifndef DCMI_TSAN
#define DCMI_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define DCMI_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DCMI_ASAN 1
#endif
#endif
#ifndef DCMI_ASAN
#define DCMI_ASAN 0
#endif

#endif /* DCMI_COMPILER_H */
