//! The chapter about the arguments of system calls.

pub(super) const CALLS: &str = r#".SH SYSTEM CALLS
An entry of \fBsyscalls.allow\fR or \fBsyscalls.deny\fR is a name, a group, or a call with conditions on its arguments:
.PP
.nf
[syscalls]
deny.append = [
    "ioctl(1 == TIOCSTI)",
    "clone(0 & CLONE_NEWUSER|CLONE_NEWNET != 0)",
    "mmap(2 & PROT_WRITE|PROT_EXEC == PROT_WRITE|PROT_EXEC)",
]
allow.append = ["kcmp(2 == 0)"]
.fi
.PP
A condition is an argument, 0 to 5, with or without a mask (\fB&\fR, and \fB~\fR for all other bits), then \fB==\fR or
\fB!=\fR and a number: decimal, 0x, 0o, or a constant such as AF_ALG, CLONE_NEWUSER, PROT_EXEC, PR_SET_MM, S_ISUID or
TIOCSTI; several are joined by \fB|\fR.
Conditions of one entry, with commas between them, must all hold; of several entries for one call one is enough.
\fBdeny\fR wins over \fBallow\fR, and what \fB[security]\fR and \fBnetwork.address_families\fR restrict stays restricted.
An entry with conditions for a call that a plain entry allows or denies anyway is refused, as it would have no effect.
Drop-ins append and remove such entries like others; `rsvc plan` prints them.
.PP
Arguments that the kernel takes as an int, a flag word or a file mode are compared in as many bits as it looks at.
Where the width of an argument is not known, an entry of \fBdeny\fR refuses what matches in 32 or in 64 bits, and one of
\fBallow\fR allows what matches in both.
What a pointer points to cannot be seen: a condition on \fBclone\fR makes \fBclone3\fR answer ENOSYS, one on \fBopen\fR or
\fBopenat\fR does so with \fBopenat2\fR, and on i386 \fBsocketcall\fR, \fBipc\fR and the old \fBmmap\fR and \fBselect\fR are
denied as a whole when a call that can be made through them has a condition. One on \fBmmap\fR or \fBfcntl\fR holds for
\fBmmap2\fR and \fBfcntl64\fR.
A condition says nothing about other calls that do the same: to forbid set-user-id files use
\fBsecurity.restrict_suid_sgid\fR, which knows all of them. io_uring_setup(2), which is denied unless a unit allows it,
does many things without a system call that a filter could see.
.PP
With \fBon_deny = "notify\-errno"\fR a process beside the service answers denied calls, with the errno that the filter would
have given, and keeps which they were; \fBrsvc status\fR shows them with their numbers and with the key that would allow
them, and the log has a line for each new one.
Up to four of one call with different arguments are kept, 127 in all; of the others it is counted how many.
So are those of commands beside the service (\fBrsvc exec\fR, reloads, checks), up to 31 at a time; more of them get ENOSYS.
This goes on without a daemon, and ends with the service.
If that process is killed, denied calls answer ENOSYS.
A denied call takes longer than with \fBerrno\fR, one that is allowed does not.
ENOSYS for unknown numbers, for other ABIs, and for \fBclone3\fR and \fBopenat2\fR is answered by the kernel and not kept: a
library only asks.
A service with such a filter cannot load one with a listener itself (EBUSY).
.PP
With \fBon_deny = "kill\-process"\fR whoever waits for the service is told SIGSYS and no more.
The call is in the kernel's log, when no auditd takes its records: where \fBrsvc\fR can read that, \fBstatus\fR names the call and
the key that would allow it, else how to find out.
"#;
