#!/bin/sh
# A run waits for somebody: it is seen, answered from another process, and goes on; killed while it
# waits it waits on; nobody decides twice; the answer is shown.
set -eu
cp "$ROOT/examples/approval/pipeline.yaml" .
"$TRACKBED" validate pipeline.yaml
"$TRACKBED" graph pipeline.yaml | grep -q 'approval: Release the model?'
"$TRACKBED" run --dry-run pipeline.yaml | grep -q 'sign-off  *approval'

asks() { until "$TRACKBED" runs 2>/dev/null | grep -q 'running, asks for approval: sign-off'; do sleep 0.05; done; }

"$TRACKBED" run pipeline.yaml > run.txt 2>&1 &
driver=$!
asks
"$TRACKBED" show latest | grep -q '?  sign-off .* waiting .*Release the model? Its accuracy is 0.97.'
"$TRACKBED" explain latest sign-off | grep -q 'for the approval of somebody: Release the model?'
"$TRACKBED" runs --json | grep -q '"asks_for_approval":\["sign-off"\]'
code=0
"$TRACKBED" approve latest train 2> error.txt || code=$?
[ "$code" = 2 ]
grep -q 'runs something; it waits for no approval' error.txt
"$TRACKBED" logs latest sign-off 2> error.txt && exit 1
grep -q 'is an approval, which has no log' error.txt

# Killed while it waits; answered while nobody drives it; taken up.
until grep -q 'sign-off .*waits for approval: Release the model?' run.txt; do sleep 0.05; done
kill -9 "$driver"
wait "$driver" || true
grep -q 'answer it: trackbed approve approval-[a-z0-9]* sign-off' run.txt
"$TRACKBED" approve latest sign-off --by ada --comment 'better than the last one' > said.txt
grep -q 'approved by ada: better than the last one' said.txt
grep -q 'continue with: trackbed resume approval-' said.txt
code=0
"$TRACKBED" reject latest sign-off --by bob 2> error.txt || code=$?
[ "$code" = 2 ]
grep -q 'is decided already: approved by ada: better than the last one' error.txt
"$TRACKBED" resume latest > resumed.txt
"$TRACKBED" show latest | grep -q 'sign-off .*succeeded .*approved by ada: better than the last one'
"$TRACKBED" show latest | grep -q 'release .*succeeded'
"$TRACKBED" show latest --json | grep -q '"comment": "better than the last one"'
"$TRACKBED" events latest | grep -q '"event":"approval_decided","task":"sign-off","attempt":1,"approved":true,"by":"ada"'

# Rejected from another process while somebody drives it; by the one who runs this.
"$TRACKBED" run pipeline.yaml > run.txt 2>&1 &
driver=$!
asks
"$TRACKBED" reject latest sign-off -m 'recall is too low' > said.txt
grep -q "rejected by $(id -un): recall is too low" said.txt
code=0
wait "$driver" || code=$?
[ "$code" = 1 ]
grep -q "task \"sign-off\" failed: rejected by $(id -un): recall is too low" run.txt
"$TRACKBED" show latest | grep -q 'release .*skipped'
"$TRACKBED" show latest | grep -q 'file-report .*succeeded'
