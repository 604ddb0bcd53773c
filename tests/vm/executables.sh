# Runs each test executable (the arguments, with filters behind `=`) in a service with a delegated group, so that real controllers can be
# switched on below it. See asserts.sh.
source "$(dirname "$0")/asserts.sh"

# Tests that start several daemons cannot have them all alone in one group: they may put root groups here, each daemon
# its own, with all controllers handed down.
parent=rsvc-tests
systemd-run --quiet --unit=$parent -p Type=exec -p Delegate=yes bash -c '
	own=/sys/fs/cgroup$(sed -n "s/^0:://p" /proc/self/cgroup)
	mkdir "$own/waiting"
	echo 0 >"$own/waiting/cgroup.procs"
	for controller in $(cat "$own/cgroup.controllers"); do echo "+$controller"; done |
		while read -r word; do echo "$word" >"$own/cgroup.subtree_control"; done
	exec sleep infinity' || fail "no delegated group"
groups=/system.slice/$parent.service
eventually "controllers for groups of tests" grep -q memory "/sys/fs/cgroup$groups/cgroup.subtree_control"

# check COMMAND...: what real controllers allow may not be skipped.
check() {
	local code
	echo "--- $*"
	"$@" </dev/null 2>&1 | tee /tmp/output
	code=${PIPESTATUS[0]}
	((code == 0)) || fail "$* ended with $code"
	! grep -E 'skipped: no (memory|pids|cpu|cpuset) controller' /tmp/output || fail "a controller was not to be had"
}

# service OPTION... COMMAND...: as a service that may do what it likes below its own group.
service() {
	systemd-run --quiet --wait --pipe -p Delegate=yes -p TasksMax=infinity --setenv=HOME=/root \
		--setenv=RSVC_TEST_CGROUPS="$groups" "$@"
}

# Executed from the machine's own disk: a share keeps no pages, each exec would read them from the host again.
own=/opt/rsvc-tests
mkdir -p $own
own_copy() {
	built=$(dirname "$(dirname "$1")")/rsvc # what the executable has as the program under test
	if [[ -f $built ]] && ! mountpoint -q "$built"; then
		mount --bind $rsvc "$built" || fail "no bind mount on $built"
	fi
	executable=$own/$(basename "$1")
	cp "$1" "$executable" || fail "no copy of $1"
}

for argument in "$@"; do
	# PATH, or PATH=FILTER,FILTER
	own_copy "${argument%%=*}"
	filters=()
	[[ $argument != *=* ]] || IFS=, read -ra filters <<<"${argument#*=}"
	check service "$executable" --nocapture "${filters[@]}"
	case $(basename "$executable") in
	cgroup-*)
		# An ordinary user who was handed a group; a scope; a container's view, where our own group is `/`; and the
		# real root, which may have processes and children with controllers.
		check service -p User=nobody "$executable" --nocapture
		check systemd-run --quiet --scope -p Delegate=yes "$executable" --nocapture
		check service unshare -C -m sh -c 'umount /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$0" --nocapture' "$executable"
		check sh -c 'echo 0 >/sys/fs/cgroup/cgroup.procs && exec "$0" --nocapture' "$executable"
		;;
	esac
done

left=$(find /sys/fs/cgroup -mindepth 1 -type d -name 'rsvc*' ! -name 'rsvc-testvm.service' ! -name "$parent.service")
same "groups that are left" "" "$left"
systemctl stop $parent
passed
