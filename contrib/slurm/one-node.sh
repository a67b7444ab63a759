#!/usr/bin/env bash
# Starts a Slurm of one node, this machine, from Debian's packages, to try sweeps out before they go to a cluster. Needs root.
#
#   contrib/slurm/one-node.sh start     installs what is missing, writes a configuration, starts the daemons
#   contrib/slurm/one-node.sh stop      ends them
set -euo pipefail

folder=${GLEANER_SLURM_DIR:-/var/tmp/gleaner-slurm}

start() {
  if ! command -v slurmctld >/dev/null || ! command -v slurmd >/dev/null || ! command -v munged >/dev/null; then
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge
  fi
  mkdir -p "$folder"/{state,spool,log}
  local host
  host=$(hostname -s)
  cat >"$folder/slurm.conf" <<CONF
ClusterName=gleaner
SlurmctldHost=$host(127.0.0.1)
AuthType=auth/munge
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd
MaxArraySize=100001
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
  mkdir -p /run/munge && chown munge: /run/munge
  pgrep -x munged >/dev/null || runuser -u munge -- /usr/sbin/munged
  export SLURM_CONF="$folder/slurm.conf"
  pgrep -x slurmctld >/dev/null || slurmctld
  pgrep -x slurmd >/dev/null || slurmd -N "$host"
  for _ in $(seq 30); do
    if sinfo --noheader --format=%T 2>/dev/null | grep -qE 'idle|mixed|allocated'; then
      echo "export SLURM_CONF=$SLURM_CONF"
      return
    fi
    scontrol update NodeName="$host" State=RESUME 2>/dev/null || true
    sleep 1
  done
  echo "the node did not come up: see $folder/log" >&2
  exit 1
}

stop() {
  for daemon in slurmd slurmctld munged; do
    pkill -x "$daemon" || true
  done
}

case ${1:-} in
  start) start ;;
  stop) stop ;;
  *)
    echo "usage: $0 start|stop" >&2
    exit 2
    ;;
esac
