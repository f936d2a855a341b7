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
# It may be empty: webhooks are then refused, because linkpool accepts no unsigned ones.
[ -e "$directory/neetocal_webhook_secret" ] || : >"$directory/neetocal_webhook_secret"
chmod 444 "$directory"/*

if [ ! -s "$directory/neetocal_api_key" ]; then
    echo "put your NeetoCal API key into $directory/neetocal_api_key, and run this again" >&2
    exit 1
fi
if [ ! -s "$directory/neetocal_webhook_secret" ]; then
    echo "webhooks will be refused, because $directory/neetocal_webhook_secret is empty" >&2
fi
