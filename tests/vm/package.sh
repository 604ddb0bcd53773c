# The package on a real host: installed by apt, it starts; services outlive the daemon's death, its restart and an upgrade;
# the unit in which they live ends them in order; a purge leaves nothing. `package.sh FIRST.deb SECOND.deb`
source "$(dirname "$0")/asserts.sh"

first=$1
second=$2
payload=/system.slice/rsvc-payload.service
export DEBIAN_FRONTEND=noninteractive

# What the machine got for the other scripts would be in the way.
rm -f /usr/bin/rsvc
# It forbids daemons to start, as long as the image is built.
rm -f /usr/sbin/policy-rc.d

# Files that were there before; what differs at the end, rsvc has left.
# What the manager, apt and the journal write on their own is not of interest.
survey() {
	find /etc /usr /var /run -xdev \( -path /var/log/journal -o -path /run/log -o -path '/run/systemd/*' -o -path /var/cache -o \
		-path /var/lib/apt -o -path '/var/lib/dpkg/*-old' -o -path /var/lib/dpkg/triggers -o -path '/var/log/apt*' -o -path /var/log/dpkg.log -o \
		-path '/run/udev/*' -o -path /run/adduser -o -path '/run/credentials*' -o -path '/run/user*' \) -prune -o -print | sort
}
survey >/root/before
getent group rsvc && fail "there is a group rsvc already"

install_deb() { apt-get install -y --no-install-recommends --allow-downgrades -o Dpkg::Use-Pty=0 "$1"; }

# --- installed, it runs, with the right rights -----------------------------------------------------------------------
expect 0 install_deb "$first"
eventually "the daemon is active" systemctl is-active rsvc.service
eventually "the daemon answers" "$rsvc" list
same "rsvc.service" enabled "$(systemctl is-enabled rsvc.service)"
same "the payload" active "$(systemctl is-active rsvc-payload.service)"
same "the group" rsvc "$(getent group rsvc | cut -d: -f1)"
same "rsvcd" rsvc "$(readlink /usr/bin/rsvcd)"
contains "the keeper's group" "$payload/keeper" "$(cat "/proc/$(systemctl show -P MainPID rsvc-payload)/cgroup")"
same "processes beside the groups" "" "$(cat "/sys/fs/cgroup$payload/cgroup.procs")"
same "shipped units that run" "" "$("$rsvc" list -o name)"
expect 0 "$rsvc" check nginx

# --- a unit of the administrator -------------------------------------------------------------------------------------
unit web <<'UNIT'
[service]
exec = ["/bin/sh", "-c", "trap 'sleep 1; echo told >/var/lib/web/told; exit 0' TERM; while :; do sleep 1 & wait; done"]
[directories]
state = ["web"]
[resources]
memory_max = "64M"
[install]
wanted_by = ["default"]
UNIT
expect 0 "$rsvc" enable web
expect 0 "$rsvc" start web
same "the group of web" "$payload/web" "$(field web .cgroup)"
same "memory.max" 67108864 "$(cat "$(group web)/memory.max")"
same "degraded for want of groups" 0 "$(field web '[.degraded[] | select(startswith("resources."))] | length')"
pid=$(field web .main_pid)
keeps() {
	eventually "$1: the daemon answers" "$rsvc" list
	same "$1: state" active "$(field web .state)"
	same "$1: main_pid" "$pid" "$(field web .main_pid)"
	same "$1: the payload" active "$(systemctl is-active rsvc-payload)"
}

# --- the daemon dies, is restarted, reloaded, stopped: nothing happens to the service -----------------------------------
daemon=$(systemctl show -P MainPID rsvc)
kill -KILL "$daemon"
another() { local now; now=$(systemctl show -P MainPID rsvc); [[ $now != 0 && $now != "$daemon" ]]; }
eventually "systemd starts another daemon" another
keeps "kill -9"
expect 0 systemctl restart rsvc
keeps "systemctl restart rsvc"
daemon=$(systemctl show -P MainPID rsvc)
expect 0 systemctl reload rsvc
keeps "systemctl reload rsvc"
same "the daemon's pid after a reload" "$daemon" "$(systemctl show -P MainPID rsvc)"
expect 0 systemctl stop rsvc
expect 150 "$rsvc" list
[[ -e /proc/$pid ]] || fail "systemctl stop rsvc ended the service"
expect 0 systemctl start rsvc
keeps "systemctl stop and start"
systemctl daemon-reexec
keeps "systemctl daemon-reexec"

# --- an upgrade by apt: the same daemon process, the same service ---------------------------------------------------------
daemon=$(systemctl show -P MainPID rsvc)
program=$(stat -L -c %i "/proc/$daemon/exe")
expect 0 install_deb "$second"
keeps "upgrade"
same "the daemon's pid after the upgrade" "$daemon" "$(systemctl show -P MainPID rsvc)"
[[ $(stat -L -c %i "/proc/$daemon/exe") != "$program" ]] || fail "the daemon runs on the program that was replaced"
same "the program that runs" "$(stat -c %i /usr/bin/rsvc)" "$(stat -L -c %i "/proc/$daemon/exe")"

# One that is stopped is not started by an upgrade, and its services are left alone.
expect 0 systemctl stop rsvc
expect 0 install_deb "$first"
same "a stopped daemon after an upgrade" inactive "$(systemctl is-active rsvc)"
[[ -e /proc/$pid ]] || fail "the upgrade ended the service"
expect 0 systemctl start rsvc
keeps "upgrade without a daemon"

# --- the keeper is killed: systemd ends the services with it, and all begins anew ----------------------------------------
systemctl kill --signal=KILL --kill-whom=main rsvc-payload
eventually "the service of the killed payload is gone" test ! -e "/proc/$pid"
eventually "there is another keeper" grep -q . "/sys/fs/cgroup$payload/keeper/cgroup.procs"
eventually "what is enabled begins" is web .state active
same "the payload" active "$(systemctl is-active rsvc-payload)"
same "the daemon" active "$(systemctl is-active rsvc)"
same "the group of web" "$payload/web" "$(field web .cgroup)"

# --- all stops in order, and begins like a boot ---------------------------------------------------------------------------
rm -f /var/lib/web/told
pid=$(field web .main_pid)
expect 0 systemctl stop rsvc-payload
same "the daemon" inactive "$(systemctl is-active rsvc)"
[[ ! -e /proc/$pid ]] || fail "systemctl stop rsvc-payload left $pid"
same "the service was asked to end" told "$(cat /var/lib/web/told 2>/dev/null)"
same "the payload" inactive "$(systemctl is-active rsvc-payload)"
[[ ! -d /sys/fs/cgroup$payload ]] || fail "groups are left: $(find "/sys/fs/cgroup$payload" -type d)"
expect 0 systemctl start rsvc
eventually "after the payload's stop a start is a boot" is web .state active

# --- removal stops everything, a purge leaves nothing but what is the service's -----------------------------------------
pid=$(field web .main_pid)
expect 0 apt-get remove -y -o Dpkg::Use-Pty=0 rsvc
[[ ! -e /proc/$pid ]] || fail "the removal left $pid"
same "the payload" inactive "$(systemctl is-active rsvc-payload)"
[[ -f /etc/rsvc/units/web.toml && -f /etc/rsvc/rsvc.toml ]] || fail "the removal took the administrator's files"
expect 0 apt-get purge -y -o Dpkg::Use-Pty=0 rsvc
rm -rf /var/lib/web
survey >/root/after
left=$(comm -13 /root/before /root/after)
same "files that are left" "" "$left"
getent group rsvc && fail "the group rsvc is left"
same "groups that are left" "" "$(find /sys/fs/cgroup -type d -path '*rsvc-payload*')"
same "processes that are left" "" "$(pgrep -a rsvc | grep -v testvm)"
passed
