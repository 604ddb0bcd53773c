//! The chapter of rsvc.toml(5) about Landlock, in roff.

pub(super) const LANDLOCK: &str = r#".SH LANDLOCK
What is read\-only is read\-only because of mounts.
Behind them stands a second wall, landlock(7), which a mount that somebody changes, from inside or from outside, does
not open: with \fBsecurity.landlock\fR the service's processes may write, make and remove files only where something is
writable by the unit (\fBread_write_paths\fR, \fBdirectories\fR, writable \fBmounts\fR, /run, /var, the private /tmp,
/dev/shm), write to what exists in /dev and /proc, and, where \fBno_exec_paths\fR has /, execute only in
\fBexec_paths\fR.
\fBrsvc plan\fR lists the places.
Where this wall refuses, the answer is EACCES; a read\-only mount, which is asked first, answers EROFS.
.PP
Its rules add rights from a place downwards and cannot take them away below it.
So what is closed inside a writable place (\fBread_only_paths\fR in /var, /proc/sys, hidden directories in /run) is
closed by the mounts alone, and so is all of a tree that is writable as a whole (\fBprotect_system\fR "off" or "full",
\fBreadonly\fR = false).
Reading is not restricted, nor is the execution of a memfd.
.PP
There are no rules about files, and status says \fBdegraded\fR, for a unit that keeps CAP_SYS_ADMIN or may make mount
namespaces: such rules forbid every mount.
A process that is bound cannot look into one that is not (ptrace(2), and with \fBprotect_proc\fR all of /proc/\fIPID\fR).
Therefore nothing but written ports binds a command that runs in the container of the main process: \fBexec_start_post\fR, \fBexec_reload\fR, \fBexec_stop\fR, \fBready.command\fR, \fBhealth.command\fR, \fBrsvc exec\fR.
With written ports, such a command of an ordinary user does not see the main process in /proc.
A unit that lives in the pid namespace of another one, and one that has CAP_SYS_PTRACE in that of the host, is left
alone altogether, which is \fBdegraded\fR as well.
.PP
What a kernel must have: Linux 5.19 for rules about files, 6.2 for truncating, 6.7 for ports, 6.12 for abstract sockets
and signals.
What the kernel lacks of a default is \fBdegraded\fR; what is written is refused, unless \fBsecurity.optional\fR names
it.
\fBrsvc features\fR shows the interface.
"#;
