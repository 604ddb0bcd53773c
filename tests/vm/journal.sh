# Output in the real journal: identifier, credentials and group of the writer; a restarted and a stopped journald.
source "$(dirname "$0")/asserts.sh"

unit talker <<'UNIT'
[service]
exec = ["/bin/sh", "-c", "echo to-stdout; echo to-stderr >&2; logger -t other via-syslog; i=0; while :; do i=$((i+1)); echo tick-$i; sleep 1; done"]
user = "nobody"
UNIT
unit quiet <<'UNIT'
[service]
exec = ["/bin/sleep", "infinity"]
UNIT

start_daemon
expect 0 "$rsvc" start talker
journal() { journalctl --no-pager -q "$@"; }
entry() { journal -t talker -o json | jq -r "select(.MESSAGE == \"$1\") | $2"; }
has() { journal -t "$1" -o cat | grep -qx -- "$2"; }
for word in to-stdout to-stderr tick-1; do
	eventually "the journal has $word" has talker "$word"
done
eventually "syslog() arrives through the private /dev/log" has other via-syslog
same "_UID" 65534 "$(entry to-stdout ._UID)"
contains "_SYSTEMD_CGROUP" /talker "$(entry to-stdout ._SYSTEMD_CGROUP)"
same "the writer's pid is a host pid" "$(field talker .main_pid)" "$(entry to-stdout ._PID)"
same "log target in status" journald "$(field talker .log.target)"
# Both readers tell the same, and following goes on telling.
newest=$(journal -t talker -o cat -n 1)
listed() { "$rsvc" logs talker >/tmp/listed && grep -q "$newest\$" /tmp/listed; }
eventually "rsvc logs has what the journal has" listed
for word in to-stdout to-stderr tick-1; do
	grep -q "$word\$" /tmp/listed || fail "rsvc logs lacks $word: $(</tmp/listed)"
done
same "lines that rsvc logs -n 2 shows" 2 "$("$rsvc" logs talker -n 2 | wc -l)"
"$rsvc" logs -f talker >/tmp/followed 2>&1 &
follower=$!
eventually "rsvc logs -f begins" test -s /tmp/followed
before=$(wc -l </tmp/followed)
more() { (($(wc -l </tmp/followed) > before)); }
eventually "rsvc logs -f goes on" more
kill "$follower"

# The daemon's own events carry the unit and the invocation.
invocation=$(field talker .invocation_id)
own_event() { [[ -n $(journal RSVC_UNIT=talker "RSVC_INVOCATION_ID=$invocation" -o cat) ]]; }
eventually "the daemon's events carry RSVC_UNIT and RSVC_INVOCATION_ID" own_event

# A restarted journald is found again by the stream.
systemctl restart systemd-journald
mark=$(journal -t talker -o cat -n 1)
newer() { [[ $(journal -t talker -o cat -n 1) != "$mark" ]]; }
eventually "the output goes on after a restart of journald" newer

# A journald that does not answer holds up a start at most, never the daemon.
stuck=$(pidof systemd-journald)
kill -STOP "$stuck"
timeout 20 "$rsvc" start quiet >/dev/null 2>&1
timeout 20 "$rsvc" list >/dev/null || { kill -CONT "$stuck"; fail "list does not answer while journald is stopped"; }
timeout 20 "$rsvc" status talker >/dev/null || { kill -CONT "$stuck"; fail "status does not answer"; }
timeout 30 "$rsvc" stop talker || { kill -CONT "$stuck"; fail "stop does not work while journald is stopped"; }
kill -CONT "$stuck"
say "the daemon answers while journald is stopped"
eventually "the start that waited for journald is done" is quiet .state active

expect 0 "$rsvc" stop --all
systemctl stop rsvc-daemon
passed
