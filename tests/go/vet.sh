#!/bin/sh
# vet.sh GO FOLDER...: whether Go's own tools have no objection to the modules in these folders.
set -eu
go=$1
shift
for folder; do
  cd "$folder"
  unformatted=$("$("$go" env GOROOT)/bin/gofmt" -l .)
  [ -z "$unformatted" ] || {
    echo "$folder: not as gofmt would have it: $unformatted"
    exit 1
  }
  "$go" vet ./...
done
