#!/usr/bin/env bash
# CPU seconds per GB for one pair of devices on an unshaped link (loopback), next to nginx + curl + md5sum in the same run.
#
#   benches/pair.sh [MiB]        default 512; needs nginx, curl and python3; no root
set -euo pipefail
cd "$(dirname "$0")/.."
mib=${1:-512}
cargo build -q --release
dir=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$dir"' EXIT
mkdir -p "$dir"/{a,b,cfg,www,out}
chmod 755 "$dir"
head -c $((mib * 1048576)) /dev/urandom >"$dir/file"
md5=$(md5sum "$dir/file" | cut -d' ' -f1)
ln "$dir/file" "$dir/a/$md5"
ln "$dir/file" "$dir/www/$md5"
ticks=$(getconf CLK_TCK)
cpu() { # pid: user + system seconds so far, with its children's
    awk -v t="$ticks" '{ sub(/.*\) /, ""); print ($12 + $13) / t }' "/proc/$1/stat"
}
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
start_agent() { # name address
    target/release/p2p-agent run --content "$dir/$1" --socket "$dir/$1.sock" --address "$2" --port "$port" \
        --config-dir "$dir/cfg" --user "$(id -un)" --priority low --log warn &
    pids+=($!)
}
start_agent a 127.0.0.41; sender=$!
start_agent b 127.0.0.42; receiver=$!
sleep 2
row() { # what, wall, cpu of each
    printf '%-34s %7.2f s wall %8.2f %8.2f %8.2f   CPU s/GB\n' "$1" "$2" "$3" "$4" "$5"
}
per_gb() { awk -v a="$1" -v b="$2" -v m="$mib" 'BEGIN { print (b - a) / (m * 1.048576 / 1000) }'; }
timed() { # command...: prints wall and CPU seconds
    python3 - "$@" <<'PY'
import resource, subprocess, sys, time
start = time.monotonic()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.monotonic() - start, used.ru_utime + used.ru_stime)
PY
}
printf '%-34s %14s %8s %8s %8s\n' "$mib MiB over loopback" "" sender receiver client
measure() { # title command...
    local title=$1 s0 r0 wall used
    shift
    s0=$(cpu "$sender") r0=$(cpu "$receiver")
    read -r wall used < <(timed "$@")
    row "$title" "$wall" "$(per_gb "$s0" "$(cpu "$sender")")" "$(per_gb "$r0" "$(cpu "$receiver")")" "$(per_gb 0 "$used")"
}
url=http://localhost/v1/content/$md5
measure "p2p, agent hashes, curl to /dev/null" curl -sSf --unix-socket "$dir/b.sock" "$url" -o /dev/null
measure "p2p, client hashes (p2p-fetch)" target/release/p2p-fetch -q --socket "$dir/b.sock" --content "$dir/out" "$md5" "http://127.0.0.1:9/$md5"

cat >"$dir/nginx.conf" <<EOF
daemon off; worker_processes 1; pid $dir/nginx.pid; error_log /dev/null;
events {} http { access_log off; sendfile on; client_body_temp_path $dir/t1; proxy_temp_path $dir/t2; fastcgi_temp_path $dir/t3;
uwsgi_temp_path $dir/t4; scgi_temp_path $dir/t5; server { listen 127.0.0.41:$((port + 1)); root $dir/www; } }
EOF
nginx -c "$dir/nginx.conf" 2>/dev/null &
pids+=($!)
sleep 1
sender=$(pgrep -P $! | head -n1)
sender=${sender:-$!}
measure "nginx + curl + md5sum" sh -c "curl -sSf http://127.0.0.41:$((port + 1))/$md5 -o '$dir/out/plain' && md5sum '$dir/out/plain'"
