# SPDX-License-Identifier: Apache-2.0
# Bash completion of devcomm; goes to share/bash-completion/completions/devcomm.

# The long and short options of a sub-command, as its help lists them.
_devcomm_options()
{
    local word

    devcomm "$1" -h 2>/dev/null | while read -r word _; do
        case $word in
        -*) printf '%s\n' "${word%,}" ;;
        esac
    done
    devcomm "$1" -h 2>/dev/null | sed -n 's/^  -.*, \(--[a-z0-9-]*\).*/\1/p'
}

# The last of a comma-separated list is completed; what stands before is kept.
_devcomm_list()
{
    local cur=$1 before=
    shift

    case $cur in
    *,*) before=${cur%,*}, ;;
    esac
    mapfile -t COMPREPLY < <(compgen -P "$before" -W "$*" -- "${cur##*,}")
}

_devcomm_value()
{
    case $1 in
    -d | --dtype)
        _devcomm_list "$2" f64 f32 f16 bf16 f8e4m3 f8e5m2 i8 u8 i32 u32 i64 \
            u64 all
        ;;
    -o | --redop) _devcomm_list "$2" sum prod min max avg all ;;
    --backend) mapfile -t COMPREPLY < <(compgen -W "cpu peer" -- "$2") ;;
    --json | --csv | --plot | --compare)
        mapfile -t COMPREPLY < <(compgen -f -- "$2")
        ;;
    -n | --ranks | -b | --min | -e | --max | -f | --factor | --iters | \
        --algo | --tolerance | -t | --timeout | -g | --grace) ;;
    *) return 1 ;;
    esac
}

_devcomm()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]} i

    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W \
            "run info check bench inspect queue help --version --help" -- \
            "$cur")
        return
    fi
    if [ "$command" = run ]; then
        # Behind "--" stands another program's command line.
        for ((i = 2; i < COMP_CWORD; i++)); do
            [ "${COMP_WORDS[i]}" = -- ] || continue
            mapfile -t COMPREPLY < <(compgen -c -f -- "$cur")
            return
        done
    fi
    # -e and -t are flags or values, depending on the command.
    if { [ "$command" = bench ] || [ "$command" = run ]; } &&
        _devcomm_value "$prev" "$cur"; then
        return
    fi
    case $cur in
    -*)
        mapfile -t COMPREPLY < <(compgen -W "$(_devcomm_options "$command")" \
            -- "$cur")
        ;;
    *)
        case $command in
        bench)
            mapfile -t COMPREPLY < <(compgen -W "all_reduce all_gather all_to_all barrier broadcast gather reduce reduce_scatter scatter sendrecv exchange" -- "$cur")
            ;;
        help)
            mapfile -t COMPREPLY < <(compgen -W \
                "run info check bench inspect queue" -- "$cur")
            ;;
        inspect)
            # Names hold colons, at which bash splits words: offer what follows.
            mapfile -t COMPREPLY < <(compgen -W "$(devcomm inspect 2>/dev/null |
                sed -n 's/.* unix:\([^ ]*\)$/\1/p')" -- "$cur")
            ;;
        queue) mapfile -t COMPREPLY < <(compgen -W "bench stat" -- "$cur") ;;
        run) mapfile -t COMPREPLY < <(compgen -c -- "$cur") ;;
        esac
        ;;
    esac
}

complete -F _devcomm devcomm
