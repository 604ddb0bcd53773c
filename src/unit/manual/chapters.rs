//! Chapters of rsvc.toml(5) that no table writes, in roff.

pub(super) const HEAD: &str = r#".SH NAME
rsvc.toml \- unit files of rsvc
.SH SYNOPSIS
/etc/rsvc/units/\fINAME\fR.toml
.br
/run/rsvc/units/\fINAME\fR.toml
.br
/usr/lib/rsvc/units/\fINAME\fR.toml
.SH DESCRIPTION
A unit file describes one service: what is run, what it sees of the host, what it may do and how much of it.
The first file of a name in the order above is the unit; a symbolic link to /dev/null there masks the name.
Only \fBservice.exec\fR is required, and what is not said has a secure value.
.PP
The file is TOML 1.0 in UTF\-8, at most 1 MiB.
A unit with an unknown key, a wrong type or an impossible value is refused as a whole; nothing is ignored.
A key of this page that is marked as not supported yet is refused by name.
Tables whose names begin with \fBx\-\fR are free for other tools.
.PP
A changed file is used at the next start, without any reload.
For the system daemon the file, its directory and the directories above must belong to root and be writable by root
alone.
.PP
An editor that knows JSON schemas (taplo, Even Better TOML) completes keys, shows their meaning and marks mistakes while
one writes, when the first line of the file is
.PP
.EX
#:schema file:///usr/share/rsvc/unit.schema.json
.EE
.PP
.B rsvc schema
prints that schema; \fBrsvc check\fR sees more than it can say.
.PP
The name of a unit has letters, digits and _ \- . : +, no sign first; an instance of a template has two such names with
an @ between them.
.SH EXAMPLE
.EX
[unit]
description = "redis cache (socket only)"

[service]
type = "notify"
exec = ["/usr/bin/redis\-server", "/etc/redis/redis.conf"]
user = "redis"

[directories]
runtime = ["redis"]
state = ["redis"]
logs = ["redis"]

[network]
mode = "loopback"
address_families = ["AF_UNIX"]

[resources]
memory_max = "1G"
.EE
"#;

pub(super) const DROP_INS: &str = r#".SH DROP\-INS
Files \fINAME\fR.d/*.toml in any of the three directories change the unit \fINAME\fR, \fITEMPLATE\fR@.d/*.toml change
all instances of a template, and service.d/*.toml change all units (so that no unit can have the name \fBservice\fR).
They are unit files that need not be complete, and what makes a unit file refused makes a drop\-in, and with it the
unit, refused.
.PP
All drop\-ins apply in the order of their file names, whatever directory they are in.
Of several with one file name only one applies: \fINAME\fR.d before \fITEMPLATE\fR@.d before service.d, and of one
directory's name the one in the higher of /etc, /run and /usr/lib.
A symbolic link to /dev/null in its place takes a drop\-in away.
Hidden files and those that end in ~ are passed over, other names that do not end in .toml get a warning.
.TP
.B key = value
replaces what earlier files said, lists as a whole; \fBkey = []\fR empties one.
.TP
.B key.append = [...]
adds to the inherited list, be it an earlier file's, the profile's or the default.
Arguments and commands are added as they are, of everything else what is in the list already is not added again.
.TP
.B key.remove = [...]
takes elements out of the inherited list, before anything is added.
It is a warning when one is not there.
.TP
.B environment, hugetlb, credentials.load, credentials.set
merge name by name: names that the later file does not have stay.
.TP
.B [[mounts]]
are added; one with the same destination as an earlier one replaces that.
\fBmounts = []\fR at the top of a drop\-in takes the earlier ones away.
.PP
A unit file itself may change the lists of its profile and the defaults in the same way.
.EX
# /etc/rsvc/units/redis.d/50\-local.toml
[service]
exec.append = ["\-\-loglevel", "verbose"]
environment.TZ = "Europe/Berlin"

[syscalls]
allow.append = ["ptrace"]

[resources]
memory_max = "2G"
.EE
.PP
\fBrsvc cat\fR prints a unit with its drop\-ins, \fBrsvc show\fR says which file made which value, and
\fBrsvc diff\fR compares what a unit runs with to what is on disk.
A daemon that takes over a running unit knows the files as it finds them then.
"#;

pub(super) const TEMPLATES: &str = r#".SH TEMPLATES
A file \fITEMPLATE\fR@.toml describes any number of units that differ by one word: \fBrsvc start web@blue web@green\fR
starts two instances of web@.toml.
A file web@blue.toml in any of the three directories is that instance instead, and a symbolic link to /dev/null of this
name masks it.
.PP
An instance is a unit in every respect: other units name it in after, wants and the like, \fBrsvc enable web@blue\fR
puts it into the boot set, it has drop\-ins, a log, groups and limits of its own.
Instances that are neither up nor failed nor enabled are not listed.
A template itself can be shown, printed and checked (as an instance \fBexample\fR, or \fB1\fR where it has replicas),
and not be started.
.EX
# /etc/rsvc/units/web@.toml
[unit]
requires = ["session\-store@${instance}"]

[service]
exec = ["/usr/bin/web", "\-\-socket", "${runtime_dir}/web/${instance}.sock"]
user = "web\-${instance}"

[directories]
runtime = ["web"]
state = ["web/${instance}"]
.EE
"#;

pub(super) const REPLICAS: &str = r#".SH REPLICAS
With \fBreplicas = 3\fR below [unit] of web@.toml the instances web@1, web@2 and web@3 are the \fIset\fR web, unless there
is a file web.toml: that comes first, and \fBrsvc check\fR warns.
Each replica is a unit with the number as \fB${instance}\fR; other instances, such as web@blue, are not of the set.
.PP
\fBrsvc start web\fR starts the replicas, all at once, and returns when all of them are ready; when some failed it says
which and why, and the others stay.
\fBrsvc stop web\fR stops them all.
\fBrsvc scale web=5\fR changes their number, from 0 to 1000: more are started, or the highest stopped; the set is started
if it was down.
That number counts until the set is stopped or the host is booted, over restarts of the daemon; then the file's does.
A changed number in the file counts from the next start, restart or scaling, unless the set was scaled.
.PP
A replica that ends by itself, well or not, or fails is started again: as its [restart] says, and beyond that after a wait
that grows in the same way and is at least 1 s; \fBlimit_burst\fR holds.
One that was stopped by request (by its name, or with a unit that it requires), or whose condition is not met, stays down
until the set is started or scaled, or it is started by its name; status says so.
An instance above the number that somebody starts by its name runs until the next start, restart or scaling of the set.
.PP
\fBrsvc restart web\fR restarts one replica after the other, each only when the one before is ready.
Those that are not up come first, so that a version that cannot start is found out before it costs anything.
The first that does not get ready, or that ends again before the roll is over, ends the roll: the rest stay as they are, and
the command says which one it was and why, which were restarted and which not.
A roll outlives the daemon; a stop, or another restart, ends it.
.PP
Other units name the set in any of their lists and mean all of its replicas: \fBafter\fR waits until all are ready, or one
has failed; \fBrequires\fR refuses the start in that case, and starts the unit when all are ready.
Once all have been ready the set counts as up as long as one of them is.
A stop of the set by request stops who requires it; a scaling, a rolling restart and the stop of one replica do not.
\fBafter\fR, \fBrequires\fR and the other lists in the template are each replica's own.
.PP
reload, kill, freeze, thaw and reset\-failed reach each replica that is up; logs shows the output of all; set and diff take
one replica by its name.
"#;

pub(super) const VARIABLES: &str = r#".SH VARIABLES
These names are replaced in every text value of every key, and in no name of a key:
"#;

pub(super) const LITERALS: &str = r#".PP
Any other name of small letters, digits and _ in \fB${\fR...\fB}\fR is an error.
.TP
.B $${
stands for \fB${\fR itself, everywhere.
.PP
All other dollars are passed on: $HOME, $1, $$ and $(date) mean to rsvc what they look like, and so does %.
In commands and in \fBservice.environment\fR this is also true of what cannot be one of the names above, such as
${HOME}, ${1} or ${list:\-none}, as shells have a use for it; elsewhere it is an error.
No shell runs unless the command is one.
.PP
A script in a command keeps its own variables: written $name or with capitals they need nothing, and in braces with
small letters they are written \fB$${name}\fR.
A script that seems to set a variable which has one of the names above, and uses that name in single\-dollar braces, is
refused.
The environment of the service has nothing to do with these names, and they are not set there.
"#;

pub(super) const PROFILES: &str = r#".SH PROFILES
.B security.profile
gives all keys that the unit does not set their values.
.TP
.B standard
The values in the list above.
.TP
.B strict
Nothing is writable but declared directories and paths, /proc shows processes only, nothing can be executed outside /usr,
/bin, /sbin and /lib*, no memory is writable and executable, umask is 0077, there are no capabilities, no AF_NETLINK, and
no privileged or resource system calls and no memfd_create(2).
The service needs a user other than root.
A call that syscalls.allow names is not denied by the profile.
.TP
.B login
Accounting, restarts and logs only; the host's processes and homes are visible, and new privileges can be gained.
For sshd and cron.
.TP
.B host
Only the control group and the log.
.PP
Forced from outside (\fBrsvc start web \-\-profile host\fR), \fBlogin\fR and \fBhost\fR win over the unit's own lines
about isolation.
"#;

pub(super) const VALUES: &str = r#".SH VALUES
.TP
.B size
Bytes as an integer, or a string with K, M, G, T, P or E: powers of 1024.
.TP
.B duration
Seconds as an integer, or a string such as "90s", "1min 30s", "1m30s", "200ms"; the units are us, ms, s, m or min, h, d
and w.
.TP
.B file mode
Octal digits in a string, such as "0750", or an octal integer such as 0o750.
.TP
.B signal
"SIGHUP", "HUP", a number, or "SIGRTMIN+3".
.TP
.B command
An array of strings, a string split by the quoting rules of a shell, or a table of \fBargv\fR and \fBignore_failure\fR.
.TP
.B account
A name of the host's data base, or a number up to 4294967294 without leading zeros.
.TP
.B errno
A name of errno(3), or a number from 1 to 4095.
"#;

pub(super) const USERS: &str = r#".SH USERS
Names and numbers in \fBservice.user\fR, \fBservice.group\fR and \fBservice.supplementary_groups\fR are the host's, whatever
the user namespace.
.PP
With \fBuser = "auto"\fR in \fB[service]\fR a unit runs as a user, and a group of the same number, from 61184 to 65519 that
only this unit has.
It is in no data base: USER and LOGNAME are the unit's name (other characters than letters, digits, \- and _ replaced, at
most 31), HOME is /, and \fBid\fR(1) shows a number.
The number stays the unit's, and is never given to another one, so what it keeps in its directories stays its own.
Unless written otherwise no_new_privileges, restrict_suid_sgid, remove_ipc and private_tmp are on, protect_system is
"strict", and state_mode, cache_mode and logs_mode are 0700.
.SH USER NAMESPACES
With \fBuser = "auto"\fR in \fB[namespaces]\fR a unit has 65536 ids of the host that no other unit has, from 524288 to
1879048191: 0 to 65535 inside are these outside.
Ranges in which a user or a group has a number, that stand in subuid(5) or subgid(5), or that a process on the host has in
its user namespace when one is given, are passed over.
A process of www\-data (33) in the unit is 33 inside and a stranger outside: it can neither signal nor look into processes
of the host's www\-data, nor read files of that user that the unit does not see.
.PP
What the unit sees of the host keeps its numbers, as every mount is mapped (mount_setattr(2), MOUNT_ATTR_IDMAP): a file of
33 on the disk is one of 33 inside, what the service makes belongs to 33 on the disk, and nothing is changed on the disk.
Files of ids above 65535 belong to nobody.
Not every file system can be mapped: ext4, xfs, btrfs and others since Linux 5.12 to 5.19, tmpfs since 6.3; not an overlay,
nor those of the kernel (/proc, /sys).
Files of such a one belong to nobody inside, which is reported as degraded; a bind of it that is not read\-only is refused.
.PP
Mounts, network and host name of the container belong to the host's user namespace. So no capability inside has power over
them, CAP_SYS_ADMIN included, and low ports cannot be bound, in a network namespace of the unit's own either.
Peers on the host see the outer number (SO_PEERCRED).
.PP
An ordinary user (\fBrsvc run\fR, \fBrsvc daemon \-\-user\fR) may map the own id alone, and others by newuidmap(1) and newgidmap(1),
as far as subuid(5) and subgid(5) give some to that user, in the files /etc/subuid and /etc/subgid.
They are mapped with \fBuser = "auto"\fR, and where \fBservice.user\fR is somebody else and the unit has a root file system of
its own (\fB[rootfs]\fR).
Inside, 0 is then the user who runs rsvc, whatever account of the unit is meant by it, and 1 and the following are the ids
of those files, in their order.
All units of the user have the same ids: they are protected from the host's users, and from each other only by different
numbers.
Files of the host belong to nobody inside, except those of the user; nothing is mapped on a mount.
\fB[directories]\fR, but for configuration, are refused where the service does not run as 0, as the user cannot give them away.
Where no ids are given, or the tools are not installed, the unit is refused with what is missing.
.PP
The range is shown by \fBrsvc status\fR. Ranges and users stand in the file \fIids\fR of the state directory, and stay a unit's
as long as they stand there.
When that file is damaged, entries of it that are whole count, and units that run keep what they have, also when they are
started again; others are refused, until it is restored or removed.
While the file of another instance on the host is damaged, nobody gets anything new.
"#;

pub(super) const CREDENTIALS: &str = r#".SH CREDENTIALS
Keys and passwords belong neither into the environment, which every process of the user reads and hands on, nor into
directories that the service can write.
With \fB[credentials]\fR they are files in /run/credentials/\fIUNIT\fR, which the environment variable
CREDENTIALS_DIRECTORY names inside and \fB${credentials_dir}\fR in the unit file.
.EX
[service]
exec = ["/usr/bin/web", "\-\-key", "${credentials_dir}/tls.key"]
user = "web"

[credentials]
load = { "tls.key" = "/etc/ssl/private/web.key", "db" = "\-/etc/web/db.password" }
.EE
.PP
The directory has mode 0500 and each file 0400, and they belong to the service's user: other users in the container are
refused, and other services and the host do not see them at all.
It is a file system of its own in memory (ramfs, which is never written to swap), mounted nosuid, nodev, noexec and
read\-only; it is part of the container and is gone with it.
Around it, /run/credentials is an empty directory of the container's own, so that what a service manager keeps there is
hidden.
On the host there is only the empty directory /run/credentials, made if need be; an instance with other directories, and
an ordinary user, who find none there, get an empty /run inside, which status shows as degraded.
.PP
The files are read at each start, with the rights of the daemon (or of the caller of \fBrsvc run\fR): a restart sees
what has changed meanwhile, a service that runs keeps what it has, also under the next daemon.
One that is missing, is no regular file or cannot be read refuses the start; with a leading `\-` it may be missing.
If the path is a directory, each regular file in it becomes \fINAME\fR_\fIFILE\fR; hidden files and directories in
it are passed over.
Who runs as the same user in the same pid namespace can look into the container of the service, and so at its credentials:
give it a user of its own.
.PP
Symbolic links are followed where they, and the directories that they lie in, belong to root (or to who runs the daemon)
and nobody else can write there; else the start is refused, as somebody could have any file of the host read.
So is a file in a directory that others can write which has a second name (a hard link).
.PP
A name is a file name without control characters, of at most 255 bytes.
All credentials of a unit together have at most 1 MiB and come from at most 128 files.
.PP
Commands that run in the container of the service (exec_start_post, exec_reload, exec_stop, ready and health commands)
see the same files.
Those with a container of their own (exec_start_pre, exec_stop_post, hooks) get theirs, loaded when they start: where a file is missing by then, the command fails.
.PP
A text in \fBcredentials.set\fR is written as it is (but for variables).
It is shown by its length only; the unit file itself, which everybody can read, is no place for secrets, and
\fBrsvc check\fR says so.
"#;

pub(super) const NOTIFICATION: &str = r#".SH NOTIFICATION
A unit with \fBservice.notify_access\fR other than none has a datagram socket of its own, named by NOTIFY_SOCKET, which
can be reached from inside its sandbox.
It takes the messages of
.BR sd_notify (3),
several assignments in one datagram, at most 4096 bytes.
.TP
.B READY=1
The service is ready, or has reloaded.
.TP
.B RELOADING=1
A reload has begun.
With \fBtype = "notify\-reload"\fR the same datagram must say when, as \fBMONOTONIC_USEC=\fR; an answer that is older than
the request, or says nothing of it, does not count.
.TP
.B STOPPING=1
The service ends by itself.
It has \fBtimeout_stop\fR for that and is killed then; watchdog, \fBruntime_max\fR and health do not count any more.
.TP
.BR STATUS= ", " ERRNO= ", " BUSERROR= ", " VARLINKERROR=
Shown by status: one line without control characters, at most 1024 bytes.
.TP
.B MAINPID=
Another main process, as it counts in the service's pid namespace.
Only a process of the unit's control group is believed, and not the container's PID 1; for \fBforking\fR the pid file
decides; without a resident init it is not supported.
.TP
.BR WATCHDOG=1 ", " WATCHDOG=trigger ", " WATCHDOG_USEC=
The service lives; wants to be treated as if it did not; changes the interval for this run, where 0 turns the watchdog off.
.TP
.B EXTEND_TIMEOUT_USEC=
The present step (start, reload, stop, or \fBruntime_max\fR) may take at least so long from now on.
.TP
.B RESTART_RESET=1
The restart counter and the delay begin anew; \fBlimit_burst\fR is not touched.
.TP
.B FDSTORE=1
The descriptors that come along are kept, at most \fBservice.file_descriptor_store_max\fR of the unit, and passed to the
next run behind the sockets, in the order in which they came. FDNAME= gives them a name for LISTEN_FDNAMES, 1 to 255 ASCII
characters without `:`, else it is `stored`; with another they are closed. One that hangs up is dropped, unless FDPOLL=0
stands beside it. Of several descriptors of one open file the first is kept, and so are those that were passed on: they
need not be sent again.
They survive a killed daemon at the latest from the moment at which a BARRIER=1 that follows is answered.
What is too much, or stored already under another name, is closed with a line in the daemon's log. All units together may
store one in four of the descriptors that the daemon may have (its hard limit of open files).
The environment names the maximum in FDSTORE.
.TP
.B FDSTOREREMOVE=1
With FDNAME=: those of that name are dropped.
.TP
.B BARRIER=1
Alone in its datagram, with one descriptor, which is closed when all that was sent before has been heard.
.PP
Unknown assignments are passed over.
NOTIFYACCESS= is refused with a line in the daemon's log, as are malformed datagrams; descriptors that come along with
anything but FDSTORE=1 are closed.
After ten such lines within half a minute the rest is only counted.
"#;

pub(super) const TAIL: &str = r#".SH SEE ALSO
.BR rsvc (1),
.BR rsvcd (8),
.BR capabilities (7),
.BR namespaces (7),
.BR syscalls (2),
.BR setrlimit (2)
"#;
