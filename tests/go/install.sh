#!/bin/sh
# install.sh GO BUILD FOLDER: builds somebody else's program in Go against an installed Trackbed.
set -eu
go=$1 build=$2 folder=$3
unset PKG_CONFIG_PATH LD_LIBRARY_PATH
rm -rf "$folder"
mkdir -p "$folder/program"
prefix=$folder/prefix
cmake --install "$build" --prefix "$prefix" >"$folder/install.log" || {
  cat "$folder/install.log"
  exit 1
}
module=$(find "$prefix" -path '*/trackbed/go/go.mod' -exec dirname {} ';')
package=$(find "$prefix" -name trackbed-c.pc -exec dirname {} ';')
library=$(find "$prefix" -name libtrackbed.so -exec dirname {} ';')
if [ -z "$package" ] || [ -z "$library" ]; then
  echo "skipped: the C library is not installed"
  exit 77
fi
cd "$folder/program"
cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"

	"trackbed"
)

func main() {
	pipeline, err := trackbed.Parse([]byte("name: x\ntasks: [{name: a, command: 'true'}]\n"),
		trackbed.ParseOptions{})
	check(err)
	defer pipeline.Close()
	engine, err := trackbed.Open(trackbed.EngineOptions{Home: os.Args[1]})
	check(err)
	defer engine.Close()
	run, err := engine.Submit(pipeline, trackbed.SubmitOptions{})
	check(err)
	state, err := engine.Wait(context.Background(), run)
	check(err)
	fmt.Println(state.Status)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
GO
"$go" mod init example/program 2>/dev/null
"$go" mod edit -require trackbed@v0.0.0 -replace "trackbed=$module"
PKG_CONFIG_PATH=$package "$go" build -o program .
# The supervisor is found from where the library lies.
unset TRACKBED_SUPERVISOR
said=$(LD_LIBRARY_PATH=$library ./program "$folder/home")
[ "$said" = succeeded ] || {
  echo "found $said, expected succeeded"
  exit 1
}
