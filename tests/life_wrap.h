/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between a look at what a rank has said and a look at its life word much may
 * happen; linked with --wrap=dcmi_life_look it often does.
 */
#ifndef DCM_TEST_LIFE_WRAP_H
#define DCM_TEST_LIFE_WRAP_H

#include <stdatomic.h>

#include "group/life.h"
#include "os/wait.h"

static atomic_int life_delay;

dcmi_life_state __real_dcmi_life_look(const dcmi_life_slot *slot);
dcmi_life_state __wrap_dcmi_life_look(const dcmi_life_slot *slot);

dcmi_life_state __wrap_dcmi_life_look(const dcmi_life_slot *slot)
{
    for (int i = atomic_load(&life_delay); i > 0; i--)
        dcmi_relax();
    return __real_dcmi_life_look(slot);
}

#endif /* DCM_TEST_LIFE_WRAP_H */
