# Read by bash as it starts. 3 is what the keeper says, 4 what it is told, 5 closes with the keeper, 6 is this text.
# A process that only waits holds them, and the shell opens them when it speaks: no command inherits any.
__pf_k=start __pf_n=0 __pf_x=
__pf_h=$( (trap '' HUP INT QUIT TERM TSTP TTIN TTOU; while IFS= read -r __pf_w; do :; done) <&5 6<&- >/dev/null 2>&1 & echo $!)
exec 3<&- 4>&- 5<&- 6<&-
__pf_c=/proc/$__pf_h/fd/3 __pf_s=/proc/$__pf_h/fd/4

__pf_say() { builtin printf '%s %s %s\n' "$__pf_k" "$1" "$2" >|"$__pf_s"; }
# Says how the last command ended and gets the next; false when a person is to have the prompt.
__pf_next() {
    case $- in *a*) set +a; __pf_x="set -a;" ;; *) __pf_x= ;; esac
    case $- in *x*) set +x; __pf_x="${__pf_x}set -x;" ;; esac
    __pf_stay=
    builtin jobs >/dev/null
    __pf_say R "$1" && IFS=' ' builtin read -r __pf_w __pf_n __pf_k <"$__pf_c"
    # The terminal's modes have been put back, and the shell sees them after a job.
    if [ "$__pf_w" != run ]; then (:); __pf_stay=1; eval "$__pf_x"; return 1; fi
    IFS= builtin read -r -d '' __pf_t <"$__pf_c"
    __pf_say A 0 && IFS= builtin read -r __pf_w <"$__pf_c"
}
# `$?` as the last command left it, unless that would end the shell.
__pf_last() { case $- in *e*) ;; *) return "$__pf_n" ;; esac; }
# Twice a loop, so that a `break` in a command leaves one of them only. Not in a function, where `declare` is local.
# What is quoted is no alias.
__pf_loop='until while { \__pf_next "$?"; } 2>/dev/null; do { \__pf_last; } 2>/dev/null; \eval "$__pf_x$__pf_t"; done; { \[ "$__pf_stay" ]; } 2>/dev/null; do :; done'
PROMPT_COMMAND='\eval "$__pf_loop"'
PS1='$ '
unset HISTFILE
