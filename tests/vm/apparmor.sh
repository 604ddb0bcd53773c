# `security.apparmor_profile` on a kernel that enforces it. The first argument is tests/vm/apparmor.profile, compiled.
source "$(dirname "$0")/asserts.sh"

[[ $(cat /sys/module/apparmor/parameters/enabled 2>/dev/null) == Y ]] || skip "AppArmor is not at work in this machine"
mountpoint -q /sys/kernel/security || mount -t securityfs securityfs /sys/kernel/security
cat "$1" >/sys/kernel/security/apparmor/.load || skip "this kernel does not take the compiled profile"

for name in confined plain absent; do
	profile=
	case $name in
	confined) profile='apparmor_profile = "rsvc-test"' ;;
	absent) profile='apparmor_profile = "rsvc-absent"' ;;
	esac
	unit $name <<UNIT
[service]
exec = ["/bin/sleep", "infinity"]
[restart]
policy = "no"
[security]
$profile
UNIT
done
systemd-run --quiet --unit=rsvc-daemon -p Type=exec -p Delegate=yes "$rsvc" daemon || fail "systemd-run cannot start the daemon"
eventually "the daemon answers" "$rsvc" list

expect 0 "$rsvc" start confined plain
same "the label" "rsvc-test (enforce)" "$(cat "/proc/$(field confined .main_pid)/attr/current")"
same "the label without a profile" "unconfined" "$(cat "/proc/$(field plain .main_pid)/attr/current")"
# A command beside it is confined as it is: the profile denies one file.
expect 0 "$rsvc" exec plain -- cat /etc/hostname
expect 1 "$rsvc" exec confined -- cat /etc/hostname
contains "the refusal of the kernel" "Permission denied" "$out"
expect 0 "$rsvc" exec confined -- cat /etc/passwd

# The init beside it is ours and needs no profile.
expect 0 "$rsvc" stop confined plain

expect 1 "$rsvc" start absent
contains "the failure" "failed at step APPARMOR" "$out"
contains "the failure" "no profile \`rsvc-absent\` is loaded" "$out"
contains "the failure" "absent.toml:6" "$out"
passed
