/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layout of public structs on 64-bit machines: whoever inserts a field in the
 * middle, where programs that are built already do not expect it, stops here.
 */
#include <devcomm/backend.h>
#include <devcomm/queue.h>

#if defined(__LP64__)

#define AT(type, field, offset)                                                \
    _Static_assert(offsetof(type, field) == (offset), "public layout")
#define ENDS(type, bytes)                                                      \
    _Static_assert(sizeof(type) == (bytes), "append only, and say so here")

AT(dcm_group_opts, name, 8);
AT(dcm_group_opts, token, 16);
AT(dcm_group_opts, host, 24);
AT(dcm_group_opts, timeout_ms, 32);
AT(dcm_group_opts, flags, 36);
ENDS(dcm_group_opts, 40);

AT(dcm_comm_opts, backend, 8);
AT(dcm_comm_opts, algo, 16);
AT(dcm_comm_opts, timeout_ms, 24);
AT(dcm_comm_opts, flags, 28);
ENDS(dcm_comm_opts, 32);

AT(dcm_failure, status, 8);
AT(dcm_failure, rank, 12);
AT(dcm_failure, pid, 16);
AT(dcm_failure, reporter, 20);
AT(dcm_failure, epoch, 24);
AT(dcm_failure, waited_ns, 32);
AT(dcm_failure, op, 40);
AT(dcm_failure, phase, 56);
AT(dcm_failure, message, 72);
ENDS(dcm_failure, 328);

AT(dcm_comm_info, rank, 8);
AT(dcm_comm_info, nranks, 12);
AT(dcm_comm_info, backend, 16);
AT(dcm_comm_info, shared_bytes, 24);
AT(dcm_comm_info, reserve_bytes, 32);
AT(dcm_comm_info, operations, 40);
ENDS(dcm_comm_info, 48);

AT(dcm_call, name, 8);
AT(dcm_call, src, 16);
AT(dcm_call, dst, 24);
AT(dcm_call, count, 32);
AT(dcm_call, dtype, 40);
AT(dcm_call, op, 44);
AT(dcm_call, root, 48);
AT(dcm_call, inner, 56);
AT(dcm_call, counts, 64);
AT(dcm_call, recv_counts, 72);
ENDS(dcm_call, 80);

AT(dcm_backend_env, group, 8);
AT(dcm_backend_env, rank, 16);
AT(dcm_backend_env, nranks, 20);
AT(dcm_backend_env, timeout_ms, 24);
AT(dcm_backend_env, algo, 32);
AT(dcm_backend_env, team, 40);
ENDS(dcm_backend_env, 48);

AT(dcm_coll, src, 8);
AT(dcm_coll, dst, 16);
AT(dcm_coll, count, 24);
AT(dcm_coll, dtype, 32);
AT(dcm_coll, op, 36);
AT(dcm_coll, stream, 40);
AT(dcm_coll, kind, 48);
AT(dcm_coll, root, 52);
AT(dcm_coll, inner, 56);
AT(dcm_coll, counts, 64);
AT(dcm_coll, displs, 72);
AT(dcm_coll, recv_counts, 80);
AT(dcm_coll, recv_displs, 88);
ENDS(dcm_coll, 96);

AT(dcm_backend_ops, size, 4);
AT(dcm_backend_ops, name, 8);
AT(dcm_backend_ops, probe, 16);
AT(dcm_backend_ops, open, 24);
AT(dcm_backend_ops, close, 32);
AT(dcm_backend_ops, all_reduce, 40);
AT(dcm_backend_ops, barrier, 48);
AT(dcm_backend_ops, explain, 56);
AT(dcm_backend_ops, footprint, 64);
AT(dcm_backend_ops, arena_new, 72);
AT(dcm_backend_ops, arena_free, 80);
AT(dcm_backend_ops, collective, 88);
AT(dcm_backend_ops, messages, 96);
AT(dcm_backend_ops, check, 104);
ENDS(dcm_backend_ops, 112);

AT(dcm_queue_opts, name, 8);
AT(dcm_queue_opts, bytes, 16);
AT(dcm_queue_opts, max_record, 24);
AT(dcm_queue_opts, timeout_ms, 32);
AT(dcm_queue_opts, flags, 36);
AT(dcm_queue_opts, nremote, 40);
AT(dcm_queue_opts, address, 48);
ENDS(dcm_queue_opts, 56);

AT(dcm_queue_part, bytes, 8);
ENDS(dcm_queue_part, 16);

AT(dcm_queue_reader, pid, 4);
AT(dcm_queue_reader, state, 8);
AT(dcm_queue_reader, lag, 16);
AT(dcm_queue_reader, seen_ns, 24);
ENDS(dcm_queue_reader, 32);

AT(dcm_queue_info, name, 8);
AT(dcm_queue_info, writer_pid, 56);
AT(dcm_queue_info, nreaders, 60);
AT(dcm_queue_info, places, 64);
AT(dcm_queue_info, is_alive, 68);
AT(dcm_queue_info, records, 72);
AT(dcm_queue_info, bytes, 80);
AT(dcm_queue_info, max_record, 88);
AT(dcm_queue_info, max_piece, 96);
AT(dcm_queue_info, nremote, 104);
AT(dcm_queue_info, refused, 108);
ENDS(dcm_queue_info, 112);

#endif

/* A file of C must declare something. */
extern int dcmi_layout_is_checked;
