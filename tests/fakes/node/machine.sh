#!/bin/sh
# The first process of the node's "machine": namespaces of its own for mounts, network and processes, so that all
# that kubelet, containerd and the pods make there ends with it. Takes the node's folder.
set -eu
node=$1

# Kubernetes wants mounts that pods make to be seen by the kubelet.
mount --make-rshared /
mount -t tmpfs tmpfs /run
for there in /var/log /var/lib/cni; do
    if [ -d "$there" ]; then
        mkdir -p "$node$there"
        mount --bind "$node$there" "$there"
    fi
done

# The kubelet sets these for the whole system; here it finds them set, and the system's stay as they are.
shield() {
    if [ -e "/proc/sys/$1" ]; then
        mkdir -p "/run/shield/${1%/*}"
        echo "$2" >"/run/shield/$1"
        mount --bind "/run/shield/$1" "/proc/sys/$1"
    fi
}
shield vm/overcommit_memory 1
shield vm/panic_on_oom 0
shield kernel/panic 10
shield kernel/panic_on_oops 1
shield kernel/keys/root_maxkeys 1000000
shield kernel/keys/root_maxbytes 25000000

ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
: >"$node/machine.ready"
# It waits for whatever loses its parent in here, as a first process must.
while :; do sleep 3600; done
