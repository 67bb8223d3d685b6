/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every interleaving of the broadcast queue (src/queue/layout.h): one writer and
 * two readers that publish, consume, sleep and wake; reader 0 may die anywhere.
 *
 * A store is seen by others later than it is made, as on x86 and as release
 * allows: with LATE_WRITER the writer's go through a buffer, in order; without it
 * the readers' cursors wait in one each.  A heavy fence empties them.  Sleep has
 * no clock here, so that a lost wake-up is a process that never ends; only for
 * a reader's death does the writer look again, as it does by its clock.
 *
 * A bell is a count that a sleeper compares with what it read before it slept.
 * Here it says only whether it rang since then: that is all that the comparison
 * tells, and it keeps apart no states that differ in how often it rang before.
 *
 * Death is looked at behind each store of reader 0's that others act on: what
 * it does in between is seen by nobody.
 *
 * The test shows that the model can fail: with NO_FENCE a sleeper does not make
 * the fence, with NO_LOOK it does not look again behind it, with NO_CURSOR the
 * writer does not wait for readers, with EARLY_SEQ it publishes first, and with
 * KEEP_DEAD it does not drop the dead.
 */
#define SLOTS 2
#ifndef RECORDS
#define RECORDS 3
#endif
#define READERS 2

byte seq[SLOTS];
byte data[SLOTS];
byte cursor[READERS];
bool counted[READERS] = true;
bool dead;
bool rang[READERS];
bool parked[READERS];
byte n_parked; /* of the readers */
bool writer_rang;
bool writer_parked;

#define SEQ  0
#define DATA 1

#ifdef LATE_WRITER
chan buffer = [2] of { bit, byte, byte };
#define WRITER_HAS_LANDED empty(buffer)
#else
#define WRITER_HAS_LANDED true
#endif

#ifdef LATE_WRITER
#define READER_HAS_LANDED(r) true
#else
byte late[READERS]; /* a cursor on its way; 0: none */
#define READER_HAS_LANDED(r) (late[r] == 0)
#endif

/* What was stored reaches memory at any time. */
active proctype memory()
{
    bit what;
    byte at;
    byte v;

end:
    do
#ifdef LATE_WRITER
    :: d_step {
        buffer?what, at, v;
        if
        :: what == SEQ -> seq[at] = v
        :: else -> data[at] = v
        fi;
        what = 0;
        at = 0;
        v = 0
    }
#else
    :: d_step { late[0] != 0 -> cursor[0] = late[0]; late[0] = 0 }
    :: d_step { late[1] != 0 -> cursor[1] = late[1]; late[1] = 0 }
#endif
    od
}

inline store(what, at, v)
{
#ifdef LATE_WRITER
    buffer!what, at, v
#else
    d_step {
        if
        :: what == SEQ -> seq[at] = v
        :: else -> data[at] = v
        fi
    }
#endif
}

inline store_cursor(r, v)
{
#ifdef LATE_WRITER
    cursor[r] = v
#else
    late[r] = v /* takes the place of one that has not landed yet */
#endif
}

inline heavy_fence()
{
#ifndef NO_FENCE
    WRITER_HAS_LANDED && READER_HAS_LANDED(0) && READER_HAS_LANDED(1)
#else
    skip
#endif
}

/* The bell's store is a release: what was stored before has landed. */
inline ring(r)
{
    if
    :: parked[r] -> atomic { WRITER_HAS_LANDED; rang[r] = true }
    :: else
    fi
}

/* Room for record n: every counted reader is past the record in its slot. */
#ifdef NO_CURSOR
#define PASSED true
#else
#define PASSED                                                                 \
    ((!counted[0] || cursor[0] + SLOTS > n) &&                                 \
     (!counted[1] || cursor[1] + SLOTS > n))
#endif

active proctype writer()
{
    byte n = 0;

    do
    :: n < RECORDS ->
        if
        :: PASSED
        :: else ->
            writer_rang = false;
            writer_parked = true;
            heavy_fence();
            do
#ifndef NO_LOOK
            :: PASSED -> break
            :: !PASSED ->
#else
            :: true ->
#endif
#ifdef KEEP_DEAD
                writer_rang;
#else
                (writer_rang || (dead && counted[0]));
                d_step {
                    if
                    :: dead -> counted[0] = false
                    :: else
                    fi
                };
#endif
                writer_rang = false;
                if
                :: PASSED -> break
                :: else
                fi
            od;
            writer_parked = false
        fi;
#ifdef EARLY_SEQ
        store(SEQ, n % SLOTS, n + 1);
        store(DATA, n % SLOTS, n + 1);
#else
        store(DATA, n % SLOTS, n + 1);
        store(SEQ, n % SLOTS, n + 1);
#endif
        n++;
        if
        :: n_parked != 0 ->
            ring(0);
            ring(1)
        :: else
        fi
    :: else -> break
    od
}

inline may_die()
{
    if
    :: me == 0 -> dead = true; goto end_dead
    :: true
    fi
}

#define HERE (seq[n % SLOTS] == n + 1)

proctype reader(bit me)
{
    byte n = 0;

    do
    :: n < RECORDS ->
        may_die();
        if
        :: HERE
        :: else ->
            rang[me] = false;
            parked[me] = true;
            may_die();
            /* A locked operation: it lands what was stored before. */
            atomic { READER_HAS_LANDED(me); n_parked++ };
            heavy_fence();
            may_die();
            do
#ifndef NO_LOOK
            :: HERE -> break
            :: !HERE ->
#else
            :: true ->
#endif
                rang[me];
                rang[me] = false;
                if
                :: HERE -> break
                :: else
                fi
            od;
            parked[me] = false;
            may_die();
            n_parked--
        fi;
        assert(data[n % SLOTS] == n + 1);
        /* Still there: nobody overwrites what a counted reader holds. */
        assert(HERE);
        n++;
        store_cursor(me, n);
        may_die();
        if
        :: writer_parked ->
            atomic { READER_HAS_LANDED(me); writer_rang = true }
        :: else
        fi
    :: else -> break
    od;
end_dead:
    skip
}

init
{
    atomic {
        run reader(0);
        run reader(1)
    }
}
