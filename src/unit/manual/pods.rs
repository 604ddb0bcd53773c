//! The chapters of rsvc.toml(5) about units that belong together, in roff.

pub(super) const PODS: &str = r#".SH PODS
\fBnetwork.mode\fR, \fBnamespaces.ipc\fR, \fBnamespaces.uts\fR and \fBnamespaces.pid\fR can be \fBunit:\fINAME\fR: then
this unit lives in that namespace of \fINAME\fR, its owner, and whoever shares all four is on one small machine with
it.
They talk over 127.0.0.1, which nobody else can reach, and see one host name, the same System V objects and message
queues, and each other's processes.
Files, devices, users, limits, capabilities and system\-call filters stay each unit's own; /dev/shm does too.
.PP
Naming an owner implies \fBbinds_to\fR and \fBafter\fR, which \fBrsvc show\fR lists with the line that asked for it: the
owner is up and ready first, members are stopped before it, an owner that ends takes its members down, and they come
back with it.
The last thing a member does, \fBexec_stop_post\fR, may come after the owner has gone: it runs in empty namespaces of
its own.
A member of a member is allowed and lives with the first owner; a circle is refused at the start.
.PP
A start is refused when the owner has no process (a oneshot service that is done), when it lives in the host's namespace
itself (give it a private one, or this unit the host's), and when owner or member has a user namespace of its own:
either would have no rights over the other, or too many.
\fBrsvc run\fR knows no other units and refuses such a unit.
.PP
In a shared pid namespace pid 1 is the owner's.
Processes that a member leaves behind become its children, and end with the member all the same, as they stay in the
member's control group; when the owner's pid 1 ends the kernel ends the members at once, without a stop signal.
\fBtype = "forking"\fR and MAINPID= do not go with it.
Processes of the same user can send signals to each other across units, and trace each other where
\fBsyscalls.allow\fR has \fBptrace\fR: give the units different users.
A member has no more rights over what it shares than its own unit gives it: the host name and /proc/sys are as closed as
in a private namespace, and with CAP_NET_ADMIN in its \fBcapabilities\fR it administers the shared network.
.EX
# /etc/rsvc/units/exporter.toml
[service]
exec = ["/usr/bin/exporter", "\-\-target", "127.0.0.1:9000"]
user = "exporter"

[network]
mode = "unit:app"
.EE
"#;

pub(super) const SLICES: &str = r#".SH SLICES
A slice is a control group that several units are in, with a limit for all of them together.
It has a file \fINAME\fR.slice.toml in any of the three directories, with drop\-ins in \fINAME\fR.slice.d, and units
name it by \fBresources.slice\fR.
The file has two tables: \fB[slice]\fR with a \fBdescription\fR, and \fB[resources]\fR with the keys of a unit but
for delegate, hugetlb, slice and rlimits.
What it does not say is not limited: \fBtasks_max\fR has no default here, and \fBmemory_oom_group = true\fR, which
is not the default either, ends all units of the slice when one runs out.
.PP
A unit that names a slice without a file is refused: a misspelt name is no way around a limit.
So is one whose slice this host cannot hold.
The limits are in place before the first unit is.
A changed file applies at the next start of any unit of the slice and at \fBrsvc reload\-config\fR, to those that run as
well; CPUs and memory nodes that are no longer named are given back when the last unit has left.
The limits of each unit count as before, inside the common one.
\fBrsvc status\fR shows the slice of a unit with what all of its units use; a unit that the kernel killed for the common
limit says so.
\fBrsvc check \fINAME\fR.slice checks the file.
Slices do not nest.
.EX
# /etc/rsvc/units/shop.slice.toml
[slice]
description = "everything of the shop"

[resources]
memory_max = "2G"
cpu_max = "150%"
.EE
"#;
