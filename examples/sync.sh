#!/bin/sh
# A sync client in shell and curl, for one file:  sync.sh MD5 URL [SIZE]
#
# It does what p2p-fetch does, in brief: asks the agent, takes from URL what no other device has, verifies, renames into place.
# Every byte goes into <md5>.part in the content directory, wherever it comes from, because the agent serves that file to others
# while it grows. Exit: 0 the file is there, 64 wrong usage, 65 URL delivers something else, 69 not to be had now, 74 disk, 75 busy.
# docs/api.md explains the requests. Needs curl 7.63 or later, flock and md5sum.
set -u
[ $# -ge 2 ] || { echo "usage: sync.sh MD5 URL [SIZE]" >&2; exit 64; }
case "${#1} $1" in "32 "*[!0-9a-f]*) exit 64 ;; "32 "*) ;; *) exit 64 ;; esac
md5=$1 url=$2 known=${3:+&size=$3}
content=${P2P_CONTENT:-/var/lib/p2p/content}
socket=${P2P_SOCKET:-/run/p2p-agent/agent.sock}
part=$content/$md5.part
download=
trap '[ -z "$download" ] || kill "$download" 2>/dev/null' EXIT
trap 'exit 143' INT TERM

# One writer for each .part: p2p-fetch takes the same lock.
begin() {
	(: >>"$part") || exit 74 # a redirection that fails ends a shell by itself, with another code
	exec 9>>"$part"
	flock -n 9 || exit 75
}
size() { wc -c <"$part"; }
# With --fail the sentence of a refusal is not written anywhere.
get() { curl -s --fail --no-buffer --connect-timeout 15 --speed-limit 1 --speed-time 20 "$@"; }

# Appends what the agent has; prints the HTTP status, 000 without an agent.
from_agent() {
	# shellcheck disable=SC2069 # the status to the caller, the bytes to the file
	get --unix-socket "$socket" --range "$(($(size)))-" --write-out '%{stderr}%{http_code}' \
		"http://p2p/v1/content/$md5?verify=client$known" 2>&1 >>"$part"
}

# Tells the agent EVENT, and what came from the internet since the last report. Its advice is in $advice.
report() { # EVENT FILE
	end=$(wc -c <"$2")
	new=$((end > told ? end - told : 0))
	advice=$(curl -s --max-time 2 --unix-socket "$socket" http://p2p/v1/report \
		--data "content=$md5&event=$1&offset=$((end))&internet=$new$known")
	told=$end
}

# Appends what URL has, and reports meanwhile. Succeeds at its end, fails when another device is ahead or the download breaks.
from_internet() {
	get --location --continue-at - --output "$part" "$url" &
	download=$!
	while report fetching "$part" && kill -0 "$download" 2>/dev/null; do
		case $advice in
		*follow*)
			kill "$download"
			wait "$download"
			download=
			return 1
			;;
		esac
		sleep 1
	done
	wait "$download"
	code=$?
	download=
	# Also what came since the last look is counted.
	[ "$code" = 0 ] && report fetching "$part" && return 0
	report gone-wrong "$part"
	# 33: the origin cannot resume. From the beginning, in a new file: a .part never shrinks.
	[ "$code" != 33 ] || { rm "$part" && begin; }
	return 1
}

[ ! -e "$content/$md5" ] || exit 0
begin
in_vain=0 busy=0 wrong=0
while [ "$in_vain" -lt 5 ]; do
	before=$(size)
	status=$(from_agent)
	status="$? $status"
	told=$(size)
	case "$status" in
	"0 "* | *" 416") ended=yes ;; # all of it; 416: there was nothing left to get
	*" 20"?) ended=no ;;          # cut in the middle: the agent is asked again and says why
	*" 503") ended=no busy=$((busy + 1)) ;; # four local transfers are running
	*) busy=60 ;;                 # 404, or no agent
	esac
	if [ "$busy" -ge 60 ]; then
		ended=no busy=0
		from_internet && ended=yes
	fi
	if [ "$ended" = no ]; then
		[ "$busy" -gt 0 ] || in_vain=$((in_vain + 1))
		[ "$(size)" -le "$before" ] || in_vain=0
		sleep 1
		continue
	fi
	if [ "$(md5sum <"$part" | cut -d ' ' -f 1)" = "$md5" ]; then
		sync
		mv "$part" "$content/$md5" || exit 74
		report fetched "$content/$md5"
		exit 0
	fi
	# First the file, so that no other device gets any more of it; then the report.
	rm "$part"
	begin
	report verify-failed "$part"
	wrong=$((wrong + 1))
	[ "$wrong" -lt 3 ] || { rm "$part" && exit 65; }
done
[ -s "$part" ] || rm "$part"
exit 69
