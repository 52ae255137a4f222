#!/bin/sh
# Makes the cluster, its role and its database once, then runs PostgreSQL on it.
set -eu

as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }

# All is made beside its place and moved there when done: a first start that is killed halfway starts afresh.
create() {
    new=$PGDATA.new
    rm -rf "$new"
    printf '%s' "$POSTGRES_PASSWORD" >/run/postgresql/password
    as_postgres initdb -D "$new" --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256 \
        --pwfile=/run/postgresql/password
    rm /run/postgresql/password
    echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
    as_postgres postgres --single -D "$new" postgres >/dev/null <<SQL
CREATE ROLE $POSTGRES_USER LOGIN PASSWORD '$POSTGRES_PASSWORD';
CREATE DATABASE $POSTGRES_DB OWNER $POSTGRES_USER;
SQL
    mv "$new" "$PGDATA"
    sync
}

chown postgres:postgres "$(dirname "$PGDATA")"
[ -s "$PGDATA/PG_VERSION" ] || create

# After a kill, syncfs spares the seconds of one fsync a file. The disk is 256 MiB: a few recycled segments keep
# WAL writable for a while after it has filled.
serve() {
    exec setpriv --reuid=postgres --regid=postgres --init-groups postgres -D "$PGDATA" \
        -c listen_addresses='*' -c max_connections=50 -c shared_buffers=32MB \
        -c min_wal_size=48MB -c max_wal_size=64MB -c checkpoint_timeout=2min \
        -c recovery_init_sync_method=syncfs
}

# On a full disk it cannot even start. The engine waits longer before each restart of a container that dies, up to a
# minute, and so long would the shop be down though there is space again. Tried every second, it is back in one or two.
asked=
trap 'asked=1; kill -INT "$server"' INT TERM
while :; do
    serve &
    server=$!
    code=0
    wait "$server" || code=$?
    # A trap ends wait early.
    while kill -0 "$server" 2>/dev/null; do wait "$server" || code=$?; done
    [ -z "$asked" ] || exit 0
    echo "postgres ended with $code; again in a second" >&2
    sleep 1
done
