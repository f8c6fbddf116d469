#!/bin/sh
# Back up an installation into a folder, and remove backups that are older than 30 days.
# beseda-backup.service runs it every night with the settings of /etc/beseda.env.
set -eu
umask 0077
folder=$1
name=$folder/beseda-$(date -u +%Y-%m-%d-%H%M%S)
cd -P "$(dirname "$0")/.."

case ${DATABASE_URL:-sqlite:} in
sqlite:*)
    # The database, the pictures and, if the installation has made its own, the signing key.
    .venv/bin/flask --app wsgi backup "$name.tar"
    ;;
*)
    # Arguments can be read in the list of processes, so the password of the database belongs into ~/.pgpass.
    if printf '%s' "$DATABASE_URL" | grep -q '://[^/@]*:[^/@]*@'; then
        echo "DATABASE_URL has a password: put it into ~/.pgpass, or back up with your provider's tools" >&2
        exit 1
    fi
    # The database first: files are only added while it is dumped, so the copy has all that it names.
    pg_dump --format=custom --file="$name.part" "$(printf '%s' "$DATABASE_URL" | sed 's/^postgres[a-z+0-9]*:/postgresql:/')"
    if [ -d "${MEDIA_ROOT:-}" ]; then
        tar --create --file="$name-media.tar" --directory="$MEDIA_ROOT" .
    fi
    mv "$name.part" "$name.dump" # the name says that the backup is complete
    ;;
esac

find "$folder" -maxdepth 1 -name 'beseda-*' -mtime +30 -delete
