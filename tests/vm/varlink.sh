# The control socket, asked by systemd's own client.
source "$(dirname "$0")/asserts.sh"
command -v varlinkctl >/dev/null || skip "no varlinkctl in $SUITE"

socket=/run/rsvc/io.rsvc
call() { expect 0 varlinkctl --json=short call "$@"; }

unit web <<'UNIT'
[unit]
description = "a service to be called"
[service]
exec = ["/bin/sleep", "infinity"]
UNIT

start_daemon
expect 0 varlinkctl info "$socket"
contains "info" io.rsvc.Manager "$out"
expect 0 varlinkctl list-interfaces "$socket"
contains "interfaces" io.rsvc.Manager "$out"
expect 0 varlinkctl introspect "$socket" io.rsvc.Manager
contains "introspection" "method Start" "$out"

call "$socket" io.rsvc.Manager.List '{}'
same "description in the list" "a service to be called" "$(jq -r '.units[] | select(.name == "web").description' <<<"$out")"
call "$socket" io.rsvc.Manager.Start '{"unit":"web"}'
call "$socket" io.rsvc.Manager.Status '{"unit":"web"}'
same "state" active "$(jq -r .status.state <<<"$out")"
pid=$(jq -r .status.main_pid <<<"$out")
[[ -e /proc/$pid ]] || fail "no process $pid"
expect 0 varlinkctl --json=short --more call "$socket" io.rsvc.Manager.List '{}'
contains "the list with more" '"web"' "$out"
call "$socket" io.rsvc.Manager.Stop '{"unit":"web"}'
call "$socket" io.rsvc.Manager.Status '{"unit":"web"}'
same "state" inactive "$(jq -r .status.state <<<"$out")"
[[ ! -e /proc/$pid ]] || fail "process $pid is still there"

expect 1 varlinkctl call "$socket" io.rsvc.Manager.Start '{"unit":"nosuch"}'
contains "the error" UnitNotFound "$out"
expect 1 setpriv --reuid=65534 --regid=65534 --clear-groups varlinkctl call "$socket" io.rsvc.Manager.Start '{"unit":"web"}'
contains "the error" PermissionDenied "$out"
expect 0 setpriv --reuid=65534 --regid=65534 --clear-groups varlinkctl call "$socket" io.rsvc.Manager.List '{}'
passed
