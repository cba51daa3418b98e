# A map from the command line: its batches run, their results are put together in order, what failed
# is found, tried again and nothing else is, and a run that was killed goes on with its map.
set -eu

cat > pipeline.yaml <<'YAML'
name: fan
tasks:
- name: list
  command: echo 'items=["a b", "c", 3]' >> "$TRACKBED_OUTPUT"
  outputs: [items]
- name: work
  dependencies: [list]
  cache: false
  map: {over: "${{ tasks.list.outputs.items }}", concurrency: 2}
  command: |
    echo at ${{ item.index }}: ${{ item }} of $TRACKBED_MAP_ITEMS
    test ${{ item }} != 3 || test -e "$BROKEN_UNTIL" || exit 1
    echo ${{ item }} > "$TRACKBED_OUTPUTS/said"
    echo "length=$(printf %s ${{ item }} | wc -c)" >> "$TRACKBED_OUTPUT"
  environment: {BROKEN_UNTIL: MARK}
  outputs: {length: integer}
- name: join
  dependencies: [work]
  command: |
    cat "$TRACKBED_INPUTS"/work/*/said > "$TRACKBED_OUTPUTS/all"
    echo ${{ tasks.work.outputs.length }} >> "$TRACKBED_OUTPUTS/all"
results: {all: join/all}
YAML
sed -i "s|MARK|$PWD/mended|" pipeline.yaml
"$TRACKBED" validate pipeline.yaml
"$TRACKBED" graph pipeline.yaml | grep -q 'map over'

"$TRACKBED" run pipeline.yaml > run.txt 2> error.txt && exit 1
grep -q 'work\[2\] *failed: exit code 1' run.txt
grep -q 'task "work" failed: exit code 1: batch 2 of 3 of run fan-' error.txt
grep -q "whole log:  trackbed logs fan-[a-z0-9]* 'work\[2\]'" error.txt

test "$("$TRACKBED" logs latest 'work[1]')" = 'at 1: c of ["c"]'
"$TRACKBED" logs latest work 2> error.txt && exit 1
grep -q 'has a log for each of its batches: work\[0\], work\[1\]' error.txt
"$TRACKBED" logs latest 'work[3]' 2> error.txt && exit 1
grep -q 'has 3 batches, from 0 on' error.txt
"$TRACKBED" why latest 'work[0]' | grep -q 'not cached: the task says cache: false'
"$TRACKBED" explain latest 'work[2]' | grep -q 'it has failed: exit code 1'

# One run is listed, and the run of the map shown when asked for.
test "$("$TRACKBED" runs | wc -l)" = 2
run=$("$TRACKBED" show latest --json | sed -n 's/^ *"run": "\(.*\)",/\1/p')
"$TRACKBED" show "$run/work/1" | grep -q '2  *failed'
"$TRACKBED" retry "$run/work/1" 2> error.txt && exit 1
grep -q "is of a map; it goes on and ends with run $run" error.txt

touch mended
"$TRACKBED" retry latest > run.txt
test "$("$TRACKBED" show "$run/work/1" | grep -c 'succeeded *1 ')" = 2
"$TRACKBED" show "$run/work/1" | grep -q 'succeeded *2 '
printf 'a b\nc\n3\n[3,1,1]\n' | cmp - .trackbed/results/fan/all

# Killed while batches run, it goes on: each batch runs once.
cat > slow.yaml <<'YAML'
name: slow
tasks:
- name: work
  map: {over: 6, batch: 2, concurrency: 2}
  command: |
    for i in $(seq "$TRACKBED_MAP_FIRST" $((TRACKBED_MAP_FIRST + TRACKBED_MAP_COUNT - 1))); do
      echo "$i" >> BEGUN
    done
    while ! test -e GO; do sleep 0.1; done
YAML
sed -i "s|BEGUN|$PWD/begun|; s|GO|$PWD/go|" slow.yaml
touch begun
"$TRACKBED" run slow.yaml > run.txt 2>&1 &
driver=$!
for _ in $(seq 300); do
  test "$(wc -l < begun)" -ge 4 && break
  sleep 0.1
done
kill -9 $driver
wait $driver || true
"$TRACKBED" explain latest work | grep -q 'nobody drives its run'
touch go
"$TRACKBED" resume latest > run.txt 2>&1
test "$(sort -n begun | tr '\n' ' ')" = '0 1 2 3 4 5 '

"$TRACKBED" run "$ROOT/examples/map/pipeline.yaml" --param texts="$ROOT/examples/digits" > run.txt
test "$(wc -l < .trackbed/results/count-words/most-frequent.txt)" = 10
