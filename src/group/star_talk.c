/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the records of a star's handshake prove.
 *
 * A seal is HMAC-SHA-256, with the token as its key, over the role of who made
 * it, both sides' nonces and the record.  The role keeps a seal from being sent
 * back to its maker, the nonces from being used twice.  Without a token the key
 * is empty: then a seal proves nothing but that the record is whole.
 */
#include "group/star.h"

#include <ctype.h>
#include <string.h>

static void make_seal(dcmi_star_seal *seal, const dcmi_star_talk *talk,
                      const char *role, const void *record, size_t bytes)
{
    dcmi_hmac m;

    dcmi_hmac_init(&m, talk->token, strlen(talk->token));
    dcmi_hmac_add(&m, role, strlen(role) + 1);
    dcmi_hmac_add(&m, &talk->joiner, sizeof(talk->joiner));
    dcmi_hmac_add(&m, &talk->leader, sizeof(talk->leader));
    dcmi_hmac_add(&m, record, bytes);
    dcmi_hmac_end(&m, seal->bytes);
}

static void proof_seal(dcmi_star_seal *seal, const dcmi_star_talk *talk,
                       const dcmi_star_proof *proof)
{
    make_seal(seal, talk, "devcomm joiner", proof,
              offsetof(dcmi_star_proof, seal));
}

static void verdict_seal(dcmi_star_seal *seal, const dcmi_star_talk *talk,
                         const dcmi_star_answer *verdict)
{
    dcmi_star_answer bare = *verdict;

    memset(&bare.seal, 0, sizeof(bare.seal));
    make_seal(seal, talk, "devcomm leader", &bare, sizeof(bare));
}

void dcmi_star_seal_proof(const dcmi_star_talk *talk, dcmi_star_proof *proof)
{
    proof_seal(&proof->seal, talk, proof);
}

bool dcmi_star_check_proof(const dcmi_star_talk *talk,
                           const dcmi_star_proof *proof)
{
    dcmi_star_seal want;

    proof_seal(&want, talk, proof);
    return dcmi_equal_secret(&want, &proof->seal, sizeof(want));
}

void dcmi_star_seal_verdict(const dcmi_star_talk *talk,
                            dcmi_star_answer *verdict)
{
    dcmi_star_seal seal;

    verdict_seal(&seal, talk, verdict);
    verdict->seal = seal;
}

bool dcmi_star_check_verdict(const dcmi_star_talk *talk,
                             const dcmi_star_answer *verdict)
{
    dcmi_star_seal want;

    verdict_seal(&want, talk, verdict);
    return dcmi_equal_secret(&want, &verdict->seal, sizeof(want));
}

void dcmi_star_clean(char *text, size_t bytes)
{
    text[bytes - 1] = '\0';
    for (; *text != '\0'; text++) {
        if (!isprint((unsigned char)*text))
            *text = '?';
    }
}

dcm_status dcmi_star_status(int32_t status)
{
    switch (status) {
#define DCM_X(name, value, text) case DCM_##name:
        DCM_STATUS_MAP(DCM_X)
#undef DCM_X
        return status == DCM_OK ? DCM_E_PEER : (dcm_status)status;
    default:
        return DCM_E_PEER;
    }
}
