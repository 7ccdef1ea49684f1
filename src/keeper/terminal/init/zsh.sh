# Read by zsh as it starts. 3 is what the keeper says, 4 what it is told, 5 closes with the keeper, 6 is this text.
# A process that only waits holds them, and the shell opens them when it speaks: no command inherits any.
__pf_k=start __pf_n=0 __pf_x= __pf_e=
__pf_h=$( (trap '' HUP INT QUIT TERM TSTP TTIN TTOU; while IFS= read -r __pf_w; do :; done) <&5 6<&- >/dev/null 2>&1 & echo $!)
exec 3<&- 4>&- 5<&- 6<&-
__pf_c=/proc/$__pf_h/fd/3 __pf_s=/proc/$__pf_h/fd/4

__pf_say() { builtin printf '%s %s %s\n' "$__pf_k" "$1" "$2" >|"$__pf_s"; }
# Before a command: it is here, and waits for its turn. `$?` is as the last one left it, unless that would end the shell.
__pf_go() {
    __pf_say A 0 && IFS= builtin read -r __pf_w <"$__pf_c"
    [[ -o errexit ]] || return $__pf_n
}
# After a command: the status, and the options that would show or change what follows. Tracing is switched off outside of
# this, since a function gives that option back.
__pf_done() {
    [[ -o allexport ]] && { set +a; __pf_x="set -a;" } || __pf_x=
    __pf_e=$1
    [[ -o xtrace ]] && __pf_x="${__pf_x}set -x;"
    return 0
}
# Before a prompt is drawn: how the last command ended, and what is to come.
__pf_next() {
    local last=$?
    builtin emulate -L zsh
    __pf_say R ${__pf_e:-$last}
    __pf_w= __pf_e=
    IFS=' ' builtin read -r __pf_w __pf_n __pf_k <"$__pf_c"
    case $__pf_w in
    run) IFS= builtin read -r -d '' __pf_t <"$__pf_c" ;;
    # The terminal's modes have been put back, and the shell sees them after a job.
    prompt) (:) ;;
    esac
}
# When a line is to be read: the next command is the line, unless a person is to have the prompt. It runs as if typed, for
# in a function `typeset` would be local. What is quoted is no alias.
zle-line-init() {
    [[ $CONTEXT == start && $__pf_w != prompt ]] || return 0
    [[ $__pf_w != run ]] ||
        BUFFER=' { \__pf_go; } 2>/dev/null; \builtin \eval "$__pf_x$__pf_t"; { \__pf_done $?; \builtin \set +x; } 2>/dev/null'
    zle .accept-line
}
precmd_functions=(__pf_next)
zle -N zle-line-init
setopt zle histignorespace
unsetopt prompt_cr prompt_sp
PROMPT='$ '
