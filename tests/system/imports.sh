#!/bin/sh
# A script sees only the files that its task names, though they come from a copy of the whole
# source: what it could import and is not in its cache key would make a stale result.
set -eu
cat > main.py <<'P'
import importlib.util, sys
assert importlib.util.find_spec("named"), "what is named cannot be imported"
assert not importlib.util.find_spec("other"), "what is not named can be imported"
P
echo 'x = 1' > named.py
echo 'x = 2' > other.py
cat > imports.yaml <<'Y'
name: imports
source: .
tasks:
- name: look
  command: python3 main.py
  files: [main.py, named.py]
Y
"$TRACKBED" run imports.yaml > out 2>&1 || { cat out; exit 1; }
echo 'x = 3' > other.py
"$TRACKBED" run imports.yaml > out 2>&1
grep -q 'look .*cached' out || { echo "a file that is not named changed the key"; cat out; exit 1; }
echo 'x = 4' > named.py
"$TRACKBED" run imports.yaml > out 2>&1
grep -q 'look .*started' out || { echo "a file that is named did not change the key"; cat out; exit 1; }
