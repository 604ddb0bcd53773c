# `rsvc run` without a daemon: root in a group of its own and in one that is shared, an ordinary user with and without a
# delegated group.
source "$(dirname "$0")/asserts.sh"

mkdir /srv/run && chmod 755 /srv/run
cat >/srv/run/limited.toml <<'UNIT'
[service]
type = "oneshot"
exec = ["/bin/sh", "-c", "echo pid $$ of uid $(id -u) in $(cat /proc/self/cgroup); exit 7"]
[restart]
policy = "no"
[resources]
memory_max = "64M"
tasks_max = 16
UNIT
cat >/srv/run/hungry.toml <<'UNIT'
[service]
exec = ["/usr/bin/perl", "-e", "my @eaten; push @eaten, 'x' x 4194304 for 1..64; sleep 1000"]
[restart]
policy = "no"
[resources]
memory_max = "32M"
memory_swap_max = "0"
UNIT
cat >/srv/run/plain.toml <<'UNIT'
[service]
type = "oneshot"
exec = ["/bin/sh", "-c", "echo pid $$ of uid $(id -u)"]
[restart]
policy = "no"
UNIT

# As a program that systemd was asked to run with a group of its own, it takes what it needs from that.
alone() { systemd-run --quiet --wait --pipe -p Delegate=yes -p WorkingDirectory=/srv/run "$@"; }
expect 7 alone "$rsvc" run limited.toml
contains "the view from inside" "pid 2 of uid 0 in 0::/" "$out"
expect 137 alone "$rsvc" run hungry.toml
contains "the cause" "limit 32" "$out"

# A scope, as the hint says.
expect 7 systemd-run --quiet --scope -p Delegate=yes "$rsvc" run /srv/run/limited.toml

# An ordinary user whose group was delegated has the limits too.
expect 7 alone -p User=nobody --setenv=XDG_RUNTIME_DIR= "$rsvc" run limited.toml
contains "the view from inside" "of uid 0 in 0::/" "$out"
expect 137 alone -p User=nobody "$rsvc" run hungry.toml
contains "the cause" "limit 32" "$out"

# In a group that others share controllers stay off: the limit is refused, and the message says the way out.
crowded() { systemd-run --quiet --wait --pipe -p Delegate=yes sh -c 'sleep 1000 & "$@"; code=$?; kill $!; exit $code' - "$@"; }
expect 125 crowded "$rsvc" run /srv/run/limited.toml
contains "the refusal" "other processes share" "$out"
contains "the refusal" "systemd-run --scope -p Delegate=yes" "$out"
contains "the refusal" "limited.toml:7" "$out"
expect 0 crowded "$rsvc" run /srv/run/plain.toml
contains "the degraded default" "degraded: resources.tasks_max" "$out"

# An ordinary user without a group: the same by name.
expect 125 setpriv --reuid=65534 --regid=65534 --clear-groups "$rsvc" run /srv/run/limited.toml
contains "the refusal" "systemd-run --user --scope" "$out"
expect 0 setpriv --reuid=65534 --regid=65534 --clear-groups "$rsvc" run /srv/run/plain.toml
contains "the view from inside" "pid 2 of uid 0" "$out"

same "groups that are left" "" "$(find /sys/fs/cgroup -type d -name 'rsvc-run*')"
same "directories that are left" "" "$(find /run /tmp /var/tmp -maxdepth 2 -name 'rsvc-run*')"
passed
