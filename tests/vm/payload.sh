# Two units, as on a packaged system: a delegated group with a keeper in a leaf of it, and a daemon elsewhere that puts
# its services there. The daemon is killed and started again; the service does not notice.
source "$(dirname "$0")/asserts.sh"

payload=/system.slice/rsvc-payload.service
systemd-run --quiet --unit=rsvc-payload -p Type=exec -p Delegate=yes bash -c '
	own=/sys/fs/cgroup$(sed -n "s/^0:://p" /proc/self/cgroup)
	mkdir "$own/keeper"
	echo 0 >"$own/keeper/cgroup.procs"
	exec sleep infinity' || fail "no delegated group"
eventually "the keeper has stepped aside" grep -q . "/sys/fs/cgroup$payload/keeper/cgroup.procs"

unit web <<'UNIT'
[service]
exec = ["/bin/sleep", "infinity"]
[resources]
memory_max = "64M"
UNIT

daemon() {
	systemd-run --quiet --unit=rsvc-daemon -p Type=exec -p KillMode=process "$rsvc" daemon --cgroup-root "$payload" ||
		fail "systemd-run cannot start the daemon"
	eventually "the daemon answers" "$rsvc" list
}

daemon
expect 0 "$rsvc" start web
same "the group" "$payload/web" "$(field web .cgroup)"
same "memory.max" 67108864 "$(cat "$(group web)/memory.max")"
pid=$(field web .main_pid)

systemctl kill --signal=KILL --kill-whom=main rsvc-daemon
eventually "the daemon is gone" sh -c '! systemctl is-active --quiet rsvc-daemon'
[[ -e /proc/$pid ]] || fail "the service died with the daemon"
systemctl reset-failed rsvc-daemon 2>/dev/null
daemon
same "state after the crash" active "$(field web .state)"
same "main_pid after the crash" "$pid" "$(field web .main_pid)"
same "copies of the service" 1 "$(pgrep -c -f '^/bin/sleep infinity')"

directory=$(group web)
expect 0 "$rsvc" stop web
nothing_left "$directory" "$pid"
systemctl stop rsvc-daemon
systemctl is-active --quiet rsvc-payload || fail "the keeper was hit"
systemctl stop rsvc-payload
passed
