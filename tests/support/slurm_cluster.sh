# shellcheck shell=sh
# Sourced by tests that need a Slurm cluster: starts one of their own on this machine, apart from any
# that it may have: munged, slurmctld and a slurmd that offers 8 processors, 4000 MB and two made-up
# GPUs, and SLURM_MEMBERS (0) more nodes of 4 processors in the partition "many".
# Leaves with 77, saying why, where that cannot be.
#
#   slurm_controller_start, slurm_controller_kill  start the controller (again), kill it the hard way
#   slurm_rest_start USER AUTHENTICATION           slurmrestd, on $SLURM_REST (a socket for
#                                                  rest_auth/local, http://… for rest_auth/jwt)
#   slurm_no_jobs                                  waits until no job is left
#   slurm_operator_start                           puts nodes back that a killed controller drained

skip() {
  echo "SKIPPED: $*" >&2
  exit 77
}

[ "$(id -u)" = 0 ] || skip "Slurm is tested as root only"
for program in slurmctld slurmd sbatch squeue scancel sinfo munged; do
  command -v "$program" >/dev/null 2>&1 || skip "there is no $program"
done

# Sockets have short paths.
SLURM_FOLDER=$(mktemp -d /tmp/trackbed-slurm.XXXXXX)
chmod 755 "$SLURM_FOLDER"
for folder in state spool run; do mkdir "$SLURM_FOLDER/$folder"; done
CONTROLLER_PID='' NODE_PID='' MUNGE_PID='' REST_PID='' OPERATOR_PID=''
SLURM_MEMBERS=${SLURM_MEMBERS:-0}

# Ports that nobody uses just now.
slurm_ports() { # slurm_ports COUNT
  python3 - "$1" <<'P'
import socket
import sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for each in sockets:
    each.bind(("127.0.0.1", 0))
print(*[each.getsockname()[1] for each in sockets])
P
}
ports=$(slurm_ports $((3 + SLURM_MEMBERS))) || skip "there is no python3"
CONTROLLER_PORT=$(echo "$ports" | cut -d ' ' -f 1)
NODE_PORT=$(echo "$ports" | cut -d ' ' -f 2)
REST_PORT=$(echo "$ports" | cut -d ' ' -f 3)
host=$(hostname -s)

dd if=/dev/urandom of="$SLURM_FOLDER/run/key" bs=128 count=1 2>/dev/null
head -c 32 /dev/urandom >"$SLURM_FOLDER/run/jwt"
chmod 600 "$SLURM_FOLDER/run/key" "$SLURM_FOLDER/run/jwt"
tokens=''
if ls /usr/lib/*/slurm-wlm/auth_jwt.so >/dev/null 2>&1; then
  tokens="AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key=$SLURM_FOLDER/run/jwt"
fi
cat >"$SLURM_FOLDER/slurm.conf" <<CONF
ClusterName=trackbed
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$CONTROLLER_PORT
SlurmdPort=$NODE_PORT
AuthType=auth/munge
$tokens
AuthInfo=socket=$SLURM_FOLDER/run/munge
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$SLURM_FOLDER/state
SlurmdSpoolDir=$SLURM_FOLDER/spool/%n
SlurmctldPidFile=$SLURM_FOLDER/run/slurmctld.pid
SlurmdPidFile=$SLURM_FOLDER/run/slurmd.%n.pid
SlurmctldLogFile=$SLURM_FOLDER/slurmctld.log
SlurmdLogFile=$SLURM_FOLDER/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
MinJobAge=60
DefMemPerCPU=400
VSizeFactor=110
ReturnToService=2
SlurmdParameters=config_overrides
DebugFlags=NO_CONF_HASH
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 RealMemory=4000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=60 State=UP
PartitionName=other Nodes=$host MaxTime=60 State=UP
PartitionName=urgent Nodes=$host MaxTime=60 State=UP PriorityTier=10
CONF
members=''
for port in $(echo "$ports" | cut -d ' ' -f 4-); do
  members="$members${members:+,}m$port"
  echo "NodeName=m$port NodeHostname=$host NodeAddr=127.0.0.1 Port=$port CPUs=4 RealMemory=2000" \
    "Gres=gpu:2 State=UNKNOWN" >>"$SLURM_FOLDER/slurm.conf"
done
if [ -n "$members" ]; then
  echo "PartitionName=many Nodes=$members MaxTime=60 State=UP" >>"$SLURM_FOLDER/slurm.conf"
fi
cat >"$SLURM_FOLDER/gres.conf" <<CONF
Name=gpu File=/dev/zero
Name=gpu File=/dev/full
CONF
SLURM_CONF=$SLURM_FOLDER/slurm.conf
export SLURM_CONF

slurm_log() { tail -n 15 "$SLURM_FOLDER"/*.log "$SLURM_FOLDER"/*.out 2>/dev/null; }

slurm_controller_start() {
  slurmctld -D >"$SLURM_FOLDER/slurmctld.out" 2>&1 &
  CONTROLLER_PID=$!
}
slurm_controller_kill() {
  kill -9 "$CONTROLLER_PID" 2>/dev/null || true
  wait "$CONTROLLER_PID" 2>/dev/null || true
}

# One that was killed right after it had started a job starts it again where it still runs; the node
# is then taken out of service until somebody puts it back.
slurm_operator_start() {
  while :; do
    for node in $(sinfo --noheader --Node --states=drain,down --format=%N 2>/dev/null | sort -u); do
      scontrol update "NodeName=$node" State=RESUME >/dev/null 2>&1 || true
    done
    sleep 1
  done &
  OPERATOR_PID=$!
}
# False, with their list, when jobs do not end in time. Those of gangs take some seconds.
slurm_no_jobs() {
  tries=0
  until [ -z "$(squeue --noheader --format='%i %T %r %j')" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { squeue --format='%i %T %r %j' && return 1; }
    sleep 0.1
  done
}
slurm_rest_start() { # slurm_rest_start USER local|jwt
  command -v slurmrestd >/dev/null 2>&1 || skip "there is no slurmrestd"
  [ "$2" != jwt ] || [ -n "$tokens" ] || skip "Slurm has no auth/jwt here"
  SLURM_REST=http://127.0.0.1:$REST_PORT
  where=127.0.0.1:$REST_PORT
  if [ "$2" = local ]; then
    mkdir -p "$SLURM_FOLDER/rest"
    chown "$1" "$SLURM_FOLDER/rest"
    where=unix:$SLURM_FOLDER/rest/socket
    SLURM_REST=unix://$SLURM_FOLDER/rest/socket
  fi
  login=
  [ "$2" = local ] || login=SLURM_JWT=daemon
  # It refuses to be root. Its other plugins need accounting.
  # shellcheck disable=SC2086  # none or one word
  env $login setpriv --reuid="$1" --regid="$(id -g "$1")" --clear-groups \
    slurmrestd -a "rest_auth/$2" -s openapi/v0.0.38,openapi/v0.0.37,openapi/v0.0.36 "$where" \
    >"$SLURM_FOLDER/slurmrestd.out" 2>&1 &
  REST_PID=$!
  tries=0
  until "$TRACKBED" doctor --slurm-endpoint "$SLURM_REST" 2>&1 | grep -q '^ok *slurm .*slurmrestd'; do
    tries=$((tries + 1))
    [ "$tries" -lt 50 ] || skip "slurmrestd does not come up: $(slurm_log)"
    sleep 0.2
  done
}

slurm_end() {
  scancel --me --quiet >/dev/null 2>&1 || true
  for pid in $OPERATOR_PID $REST_PID $NODE_PID $CONTROLLER_PID $MUNGE_PID; do
    kill "$pid" 2>/dev/null || true
  done
  for pid in $OPERATOR_PID $REST_PID $NODE_PID $CONTROLLER_PID $MUNGE_PID; do
    tries=0
    while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 50 ]; do
      tries=$((tries + 1))
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
  done
  rm -rf "$SLURM_FOLDER" 2>/dev/null || { sleep 1 && rm -rf "$SLURM_FOLDER"; }
}
trap slurm_end EXIT
trap 'exit 130' INT TERM

munged --foreground --force --socket="$SLURM_FOLDER/run/munge" \
  --key-file="$SLURM_FOLDER/run/key" --seed-file="$SLURM_FOLDER/run/seed" \
  --pid-file="$SLURM_FOLDER/run/munge.pid" --log-file="$SLURM_FOLDER/munged.log" \
  >"$SLURM_FOLDER/munged.out" 2>&1 &
MUNGE_PID=$!
tries=0
until [ -S "$SLURM_FOLDER/run/munge" ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || skip "munged does not start: $(slurm_log)"
  sleep 0.1
done
slurm_controller_start
for node in "$host" $(echo "$members" | tr , ' '); do
  mkdir "$SLURM_FOLDER/spool/$node"
  slurmd -D -N "$node" >"$SLURM_FOLDER/slurmd.$node.out" 2>&1 &
  NODE_PID="$NODE_PID $!"
done
tries=0
until [ "$(sinfo --noheader --Node --format=%T 2>/dev/null | sort -u)" = idle ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 300 ] || skip "Slurm does not come up: $(sinfo 2>&1) $(slurm_log)"
  sleep 0.1
done
