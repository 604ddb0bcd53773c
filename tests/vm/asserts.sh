# Sourced by the scripts beside it: what they say, ask and wait for. They run as root inside a throwaway Debian machine.
#
# A script that gets to its end says "all passed". Everything else is a failure, with the state of things printed.
set -uo pipefail

scenario=$(basename "$0" .sh)
rsvc=/usr/bin/rsvc

skip() {
	echo "skipped: $*"
	echo "all passed"
	exit 0
}

fail() {
	echo "FAILED: $scenario: $*"
	echo "--- rsvc list";   timeout 20 "$rsvc" list 2>&1 | tail -n 30
	echo "--- groups";      find /sys/fs/cgroup -path '*rsvc*' -type d | head -n 50
	echo "--- journal";     journalctl --no-pager -n 80 -o short-precise 2>/dev/null
	exit 1
}

passed() { echo "all passed"; exit 0; }

say() { echo "ok: $SECONDS s: $*"; }

# expect CODE COMMAND...: runs it; its output is in $out, what went to stderr included.
expect() {
	local want=$1 got
	shift
	out=$("$@" 2>&1)
	got=$?
	[[ $got == "$want" ]] || fail "\`$*\` ended with $got, not $want: $out"
	say "$* -> $got"
}

# same WHAT WANTED FOUND
same() { [[ $2 == "$3" ]] || fail "$1: wanted '$2', found '$3'"; say "$1: $3"; }

# contains WHAT PART TEXT
contains() { [[ $3 == *"$2"* ]] || fail "$1: no '$2' in: $3"; say "$1 names '$2'"; }

# eventually WHAT COMMAND...: again and again until it succeeds; patience for a slow machine.
eventually() {
	local what=$1 deadline=$((SECONDS + 180))
	shift
	while ((SECONDS < deadline)); do
		if "$@" >/dev/null 2>&1; then say "$what"; return 0; fi
		sleep 0.1
	done
	fail "waited in vain: $what"
}

# unit NAME: a unit file from standard input.
unit() {
	mkdir -p /etc/rsvc/units
	cat >"/etc/rsvc/units/$1.toml"
}

# field NAME FILTER: a field of `status -o json`, by a jq filter.
field() { "$rsvc" status -o json "$1" 2>/dev/null | jq -r "$2"; }

# look NAME: what status says now, for `seen` and `wanted`: one call for many questions, as a fork costs 30 ms here.
look() { status=$("$rsvc" status -o json "$1" 2>/dev/null); }

# seen FILTER: of the last look.
seen() { jq -r "$1" <<<"$status"; }

# wanted FILTER...: each is true of the last look.
wanted() {
	local filter wrong
	wrong=$(jq -r "$(for filter in "$@"; do echo "(if $filter then empty else $(jq -Rn --arg f "$filter" '$f') end),"; done) empty" \
		<<<"$status")
	[[ -z $wrong ]] || fail "not so: $wrong in $status"
	say "status: $*"
}

# is NAME FILTER VALUE: for `eventually`.
is() { [[ $(field "$1" "$2") == "$3" ]]; }

# at_least NAME FILTER NUMBER
at_least() {
	local found
	found=$(field "$1" "$2")
	[[ $found =~ ^[0-9]+$ ]] && ((found >= $3))
}

# group NAME: directory of its control group.
group() { echo "/sys/fs/cgroup$(field "$1" .cgroup)"; }

# start_daemon [OPTION...]: the daemon as a service of its own, with a delegated group.
start_daemon() {
	systemd-run --quiet --unit=rsvc-daemon -p Type=exec -p Delegate=yes -p KillMode=mixed "$rsvc" daemon "$@" ||
		fail "systemd-run cannot start the daemon"
	eventually "the daemon answers" "$rsvc" list
}

# nothing_left GROUP PID...: the group is gone or empty, and so are the processes.
nothing_left() {
	local directory=$1 pid
	shift
	for pid in "$@"; do
		[[ ! -e /proc/$pid ]] || fail "process $pid is still there: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
	done
	[[ ! -e $directory/cgroup.events ]] || same "the group of a stopped unit" "populated 0" \
		"$(head -n 1 "$directory/cgroup.events")"
}
