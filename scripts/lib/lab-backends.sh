# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
#
# The lab's backends: three nginx in the backend namespace, each a process of its own. Sourced by ./scripts/lab, which
# sets $name (the lab's) and $dir (its run directory).
#
#     backend-1  10.77.0.11:8080  [fd77::11]:8080      Each keeps everything in $dir/backend-N (nginx.conf, nginx.pid, error.log) and
#     backend-2  10.77.0.12:8080  [fd77::12]:8080      is found by nothing but that folder: an nginx of the machine's own, running or
#     backend-3  10.77.0.13:8080  [fd77::13]:8080      not, is neither used nor disturbed. Files (big, and what is uploaded) are shared.

readonly backends=(1 2 3)
# Random, so that a part that is missing or in the wrong place shows in its hash.
readonly big_bytes=$((64 << 20))

need_nginx() {
    command -v nginx >/dev/null || die "nginx is missing, and the backends are nginx" \
        "apt-get install --no-install-recommends nginx-light" "or leave them out: --no-backends"
}

start_backends() {
    local n
    mkdir -p "$dir/files/upload"
    head -c "$big_bytes" /dev/urandom >"$dir/files/big"
    for n in "${backends[@]}"; do
        mkdir -p "$dir/backend-$n"
        write_nginx_conf "$n" >"$dir/backend-$n/nginx.conf"
        start_backend "$n"
    done
}

# Comes back once its sockets listen: nginx goes to the background only then.
start_backend() { # N
    local folder=$dir/backend-$1
    ip netns exec "$(ns_of backend)" nginx -p "$folder/" -e "$folder/error.log" -c "$folder/nginx.conf" \
        </dev/null >"$folder/start.log" 2>&1 9>&- || {
        cat "$folder/start.log" >&2
        die "backend-$1 does not start" "what nginx says is above; its log is $folder/error.log"
    }
}

# Its connections end at once, and its port refuses from then on.
stop_backend() { # N
    local pid deadline=$((SECONDS + 10))
    pid=$(backend_pid "$1") || return 0
    kill -TERM "$pid" 2>/dev/null || true
    while backend_pid "$1" >/dev/null; do
        if ((SECONDS >= deadline)); then
            warn "backend-$1 does not end 10 s after SIGTERM; killing it"
            kill -KILL "$pid" 2>/dev/null || true
            break
        fi
        sleep 0.02
    done
}

stop_backends() {
    local n
    for n in "${backends[@]}"; do stop_backend "$n"; done
}

# Of the process in its pid file, if that is still the one: nginx shows its command line, with our folder in it, as its title.
backend_pid() { # N
    local pid file=$dir/backend-$1/nginx.pid
    # nginx removes it as it ends, perhaps between a look and a read.
    pid=$(cat "$file" 2>/dev/null) || return 1
    [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] || return 1
    grep -qaF -- "$dir/backend-$1/" "/proc/$pid/cmdline" 2>/dev/null || return 1
    echo "$pid"
}

write_nginx_conf() { # N
    local n=$1 three_hundred
    printf -v three_hundred '%0299d' 0
    cat <<NGINX
# Who it is, and what it has received; files in both directions.
user root;                      # whatever accounts this system has
worker_processes 1;
worker_rlimit_nofile 65536;
pid $dir/backend-$n/nginx.pid;
error_log $dir/backend-$n/error.log warn;
events { worker_connections 16384; }
http {
    access_log off;
    server_tokens off;
    sendfile on;
    tcp_nodelay on;
    default_type application/octet-stream;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;      # the default of 1000 would measure handshakes
    client_max_body_size 0;
    client_body_temp_path $dir/backend-$n/body;
    proxy_temp_path $dir/backend-$n/proxy;
    fastcgi_temp_path $dir/backend-$n/fastcgi;
    uwsgi_temp_path $dir/backend-$n/uwsgi;
    scgi_temp_path $dir/backend-$n/scgi;
    server {
        listen 10.77.0.1$n:8080 backlog=4096;
        listen [fd77::1$n]:8080 backlog=4096;
        root $dir/files;
        add_header x-backend backend-$n always;
        location / {
            default_type text/plain;
            return 200 "backend-$n\n";
        }
        location = /300 {
            default_type text/plain;
            return 200 "$three_hundred\n";
        }
        # As it came in.
        location = /headers {
            default_type text/plain;
            return 200 "request: \$request\nhost: \$http_host\nx-forwarded-for: \$http_x_forwarded_for\nx-forwarded-proto: \$http_x_forwarded_proto\nforwarded: \$http_forwarded\nvia: \$http_via\nconnection: \$http_connection\nx-env: \$http_x_env\nfrom: \$remote_addr\n";
        }
        location = /big { }
        # PUT, then GET from any of the three.
        location /upload/ {
            dav_methods PUT DELETE;
        }
        # Reads all of a request's body, whatever the method, before it answers.
        location = /sink {
            proxy_pass http://unix:$dir/backend-$n/sink.sock:/;
        }
    }
    server {
        listen unix:$dir/backend-$n/sink.sock;
        default_type text/plain;
        location / { return 200 "received \$http_content_length\n"; }
    }
}
NGINX
}
