# shellcheck shell=sh
# Sourced by tests that need a Slurm cluster: starts one of their own on this machine, apart from any
# that it may have: munged, slurmctld and one slurmd that offers 8 processors, 4000 MB and two made-up
# GPUs. Leaves with 77, saying why, where that cannot be. slurm_controller_start and
# slurm_controller_kill start the controller (again) and kill it the hard way.

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
CONTROLLER_PID='' NODE_PID='' MUNGE_PID=''

# Ports that nobody uses just now.
slurm_ports() {
  python3 - <<'P'
import socket
sockets = [socket.socket() for _ in range(2)]
for each in sockets:
    each.bind(("127.0.0.1", 0))
print(*[each.getsockname()[1] for each in sockets])
P
}
ports=$(slurm_ports) || skip "there is no python3"
host=$(hostname -s)

dd if=/dev/urandom of="$SLURM_FOLDER/run/key" bs=128 count=1 2>/dev/null
chmod 600 "$SLURM_FOLDER/run/key"
cat >"$SLURM_FOLDER/slurm.conf" <<CONF
ClusterName=trackbed
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ports% *}
SlurmdPort=${ports#* }
AuthType=auth/munge
AuthInfo=socket=$SLURM_FOLDER/run/munge
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$SLURM_FOLDER/state
SlurmdSpoolDir=$SLURM_FOLDER/spool
SlurmctldPidFile=$SLURM_FOLDER/run/slurmctld.pid
SlurmdPidFile=$SLURM_FOLDER/run/slurmd.pid
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
CONF
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

slurm_end() {
  scancel --me --quiet >/dev/null 2>&1 || true
  for pid in $NODE_PID $CONTROLLER_PID $MUNGE_PID; do
    kill "$pid" 2>/dev/null || true
  done
  for pid in $NODE_PID $CONTROLLER_PID $MUNGE_PID; do
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
slurmd -D -N "$host" >"$SLURM_FOLDER/slurmd.out" 2>&1 &
NODE_PID=$!
tries=0
until [ "$(sinfo --noheader --format=%T --partition=main 2>/dev/null)" = idle ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 300 ] || skip "Slurm does not come up: $(sinfo 2>&1) $(slurm_log)"
  sleep 0.1
done
