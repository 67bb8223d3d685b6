/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every interleaving of a reader that joins late (src/queue/join.c) with a writer
 * that reads the cursors anew (dcmi_queue_scan): the writer never overwrites what
 * the joiner has not read.  Reader 0 is there from the start, reader 1 joins.
 *
 * The writer's `published` is seen by others later than it is stored.  The test
 * shows that the model can fail: with NO_FENCE the writer does not wait for that
 * before it looks who is there, with NO_FRESH the joiner keeps the position that
 * it read first, and with FRESH_FIRST it reads the second one before it says
 * that it is there.
 */
#define SLOTS   2
#define RECORDS 5

byte seq[SLOTS];
byte published;
byte late; /* on its way to `published`; 0: nothing */
byte cursor[2];
bool is_active[2] = { true, false };

active proctype memory()
{
end:
    do
    :: d_step { late != 0 -> published = late; late = 0 }
    od
}

inline take(r)
{
    if
    :: is_active[r] ->
        c = cursor[r];
        if
        :: c < least -> least = c
        :: else
        fi
    :: else
    fi
}

active proctype writer()
{
    byte n = 0;
    byte least;
    byte known = 0; /* the floor that it goes by */
    byte c;

    do
    :: n < RECORDS ->
        do
        :: n < known + SLOTS -> break
        :: else ->
#ifndef NO_FENCE
            late == 0;
#endif
            least = n;
            take(0);
            take(1);
            known = least
        od;
        seq[n % SLOTS] = n + 1;
        n++;
        d_step { late == 0 -> late = n }
    :: else -> break
    od
}

inline read_all(me, n)
{
    do
    :: n < RECORDS ->
        seq[n % SLOTS] >= n + 1;
        /* Not overwritten, now and when it is done with it. */
        assert(seq[n % SLOTS] == n + 1);
        assert(seq[n % SLOTS] == n + 1);
        n++;
        cursor[me] = n
    :: else -> break
    od
}

active proctype reader()
{
    byte n = 0;

    read_all(0, n)
}

active proctype joiner()
{
    byte n;

    n = published;
    cursor[1] = n;
#ifdef FRESH_FIRST
    n = published;
#endif
    is_active[1] = true;
#ifndef NO_FRESH
#ifndef FRESH_FIRST
    n = published;
#endif
#endif
    cursor[1] = n;
    read_all(1, n)
}
