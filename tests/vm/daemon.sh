# The daemon under systemd: limits that v2 enforces, failures that name themselves, stops that leave nothing.
source "$(dirname "$0")/asserts.sh"

unit plain <<'UNIT'
[service]
exec = ["/bin/sleep", "infinity"]
[resources]
memory_max = "64M"
memory_high = "48M"
memory_swap_max = "0"
tasks_max = 20
cpu_max = "50%"
cpu_weight = 200
cpuset_cpus = "0"
io_weight = 50
UNIT

unit hungry <<'UNIT'
[service]
exec = ["/usr/bin/perl", "-e", "my @eaten; push @eaten, 'x' x 1048576 for 1..256; sleep 1000"]
[restart]
policy = "no"
[resources]
memory_max = "32M"
memory_swap_max = "0"
UNIT

unit bomb <<'UNIT'
[service]
exec = ["/usr/bin/perl", "-e", "for (1..50) { my $p = fork; last unless defined $p; if (!$p) { sleep 1000; exit } } sleep 1000"]
[resources]
tasks_max = 10
UNIT

unit busy <<'UNIT'
[service]
exec = ["/usr/bin/perl", "-e", "1 while 1"]
[resources]
cpu_max = "20%"
UNIT

unit forker <<'UNIT'
[service]
exec = ["/usr/bin/perl", "-MPOSIX", "-e", "if (!fork) { POSIX::setsid; exit if fork; $SIG{TERM} = 'IGNORE'; sleep 1000 } sleep 1000"]
timeout_stop = "5s"
UNIT

unit typo <<'UNIT'
[service]
exec = ["/bin/true"]
usr = "nobody"
UNIT

start_daemon

# --- limits are in the files of the kernel, and nothing is degraded -------------------------------------------------
expect 0 "$rsvc" start plain
same "state" active "$(field plain .state)"
directory=$(group plain)
pid=$(field plain .main_pid)
for line in "memory.max 67108864" "memory.high 50331648" "memory.swap.max 0" "memory.oom.group 1" "pids.max 20" \
	"cpu.max 50000 100000" "cpu.weight 200" "cpuset.cpus 0"; do
	same "${line%% *}" "${line#* }" "$(cat "$directory/${line%% *}")"
done
contains "the process's group" "$(field plain .cgroup)" "$(cat "/proc/$pid/cgroup")"
for key in memory_max memory_high tasks_max cpu_max cpu_weight cpuset_cpus io_weight; do
	same "degraded for resources.$key" "" "$(field plain ".degraded[] | select(startswith(\"resources.$key\"))")"
done
same "memory_max in status" 67108864 "$(field plain .memory_max)"
same "tasks_max in status" 20 "$(field plain .tasks_max)"
at_least plain .memory_current 1 || fail "no memory_current"
at_least plain .io_read_bytes 0 || fail "no io_read_bytes"
expect 0 "$rsvc" status plain
contains "the page" plain "$out"
expect 0 "$rsvc" stop plain
nothing_left "$directory" "$pid"
expect 3 "$rsvc" status plain
expect 3 "$rsvc" is-active plain

# --- restart keeps the group and changes the process ---------------------------------------------------------------
expect 0 "$rsvc" start plain
first=$(field plain .main_pid)
kill -KILL "$first"
another() { local now; now=$(field plain .main_pid); [[ $now =~ ^[0-9]+$ && $now != "$first" ]]; }
eventually "killed, it is started again" another
same "restarts" 1 "$(field plain .restarts)"
same "memory.max after the restart" 67108864 "$(cat "$(group plain)/memory.max")"
expect 0 "$rsvc" stop plain

# --- out of memory is recognised and told with the limit -----------------------------------------------------------
"$rsvc" start hungry >/dev/null 2>&1 # it may be dead before or after the answer
eventually "hungry has failed" is hungry .state failed
same "result" oom-kill "$(field hungry .result)"
at_least hungry .oom_kills 1 || fail "no oom_kills in status: $(field hungry .)"
expect 3 "$rsvc" status hungry
contains "status" "32" "$out"
contains "cause" memory "$(field hungry .cause | tr '[:upper:]' '[:lower:]')"
expect 0 "$rsvc" reset-failed hungry
same "state after reset-failed" inactive "$(field hungry .state)"

# --- a fork bomb stops at tasks_max --------------------------------------------------------------------------------
expect 0 "$rsvc" start bomb
eventually "a fork was refused" at_least bomb .tasks_refused 1
(($(field bomb .tasks_current) <= 10)) || fail "more than 10 tasks"
directory=$(group bomb)
mapfile -t inside <"$directory/cgroup.procs"
expect 0 "$rsvc" stop bomb
nothing_left "$directory" "${inside[@]}"

# --- the CPU quota holds -------------------------------------------------------------------------------------------
expect 0 "$rsvc" start busy
eventually "it is throttled" at_least busy .cpu_nr_throttled 3
expect 0 "$rsvc" stop busy

# --- a double-forked process with a session of its own that ignores SIGTERM goes too ---------------------------------
expect 0 "$rsvc" start forker
directory=$(group forker)
eventually "its orphan is there" sh -c "[ \$(wc -l <$directory/cgroup.procs) -ge 3 ]"
mapfile -t inside <"$directory/cgroup.procs"
expect 0 "$rsvc" stop forker
nothing_left "$directory" "${inside[@]}"

# --- what cannot start says why ------------------------------------------------------------------------------------
expect 5 "$rsvc" start nosuch
expect 4 "$rsvc" status nosuch
expect 6 "$rsvc" start typo
contains "the refusal" "did you mean" "$out"
contains "the refusal" "typo.toml:3" "$out"

# --- the end -------------------------------------------------------------------------------------------------------
expect 0 "$rsvc" start plain
pid=$(field plain .main_pid)
expect 0 "$rsvc" stop --all
[[ ! -e /proc/$pid ]] || fail "stop --all left $pid"
systemctl stop rsvc-daemon
expect 150 "$rsvc" start plain
same "groups that are left" "" "$(find /sys/fs/cgroup -type d -path '*rsvc-daemon*')"
passed
