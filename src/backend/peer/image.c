/* SPDX-License-Identifier: Apache-2.0 */
/* The image, embedded as data; the build says where it lies. */
#include "backend/peer/image.h"

#include <stddef.h>

#ifdef DCMI_PEER_IMAGE
__asm__(".section .rodata\n"
        ".balign 64\n"
        "dcmi_peer_image_begin:\n"
        ".incbin \"" DCMI_PEER_IMAGE "\"\n"
        ".previous\n");

extern const char dcmi_peer_image_begin[];

const void *dcmi_peer_image(void)
{
    return dcmi_peer_image_begin;
}
#else
const void *dcmi_peer_image(void)
{
    return NULL;
}
#endif
