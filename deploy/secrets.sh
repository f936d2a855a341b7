#!/bin/sh
# Make the secrets that docker-compose.yml reads and that can be generated. Safe to run again:
# existing secrets stay. Exits with 1 while a secret is missing that only you have.
#
#   deploy/secrets.sh [DIRECTORY]        (deploy/secrets, where docker-compose.yml looks)
set -eu

directory=${1:-$(dirname "$0")/secrets}

# Containers see a secret as a file with the owner and mode it has here, and each container
# runs as a user of its own: so all may read the files, and the directory keeps other users
# of this machine out.
mkdir -p "$directory"
chmod 700 "$directory"

keep() { # NAME VALUE: writes the secret unless it is there
    [ -s "$directory/$1" ] && return
    rm -f "$directory/$1"
    printf '%s' "$2" >"$directory/$1"
}

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

keep postgres_password "$(random)"
keep database_url "postgresql://linkpool:$(cat "$directory/postgres_password")@postgres:5432/linkpool"
keep redis_config "requirepass $(random)"
keep redis_url "redis://:$(sed -n 's/^requirepass //p' "$directory/redis_config")@redis:6379/0"
keep admin_key "$(random)"
keep metrics_key "$(random)"
keep secret_key "$(random)"
keep grafana_password "$(random)"
# For a Redis with a standby (deploy/compose.sentinel.yml): each may become the other's replica.
password=$(sed -n 's/^requirepass //p' "$directory/redis_config")
keep redis_standby_config "requirepass $password
masterauth $password"
keep sentinel_config "sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel monitor linkpool redis 6379 2
sentinel auth-pass linkpool $password
sentinel down-after-milliseconds linkpool 5000
sentinel failover-timeout linkpool 15000
sentinel parallel-syncs linkpool 1"
keep redis_sentinel_url "redis+sentinel://:$password@sentinel-1:26379,sentinel-2:26379,sentinel-3:26379/linkpool/0"
# These may be empty. Without a webhook secret, webhooks are refused, because linkpool accepts no
# unsigned ones; without a broker of its own, Celery uses the same Redis.
for name in neetocal_webhook_secret neetocal_webhook_secret_previous notify_url broker_url; do
    [ -e "$directory/$name" ] || : >"$directory/$name"
done
chmod 444 "$directory"/*

if [ ! -s "$directory/neetocal_api_key" ]; then
    echo "put your NeetoCal API key into $directory/neetocal_api_key, and run this again" >&2
    exit 1
fi
if [ ! -s "$directory/neetocal_webhook_secret" ]; then
    echo "webhooks will be refused, because $directory/neetocal_webhook_secret is empty" >&2
fi
