#!/bin/sh
# Sees to the programs that the tests use and pip cannot install. As root on a Debian or Ubuntu machine the
# missing ones are installed; anywhere else they are named, with what is left out for want of them. Never
# fails for a missing program: the tests that need it skip themselves and say why.
set -eu

# program, or the path of a file | Debian package | what is left out without it
needs='
git|git|tests that clone repositories
sshd|openssh-server openssh-client|tests that clone repositories over SSH
docker|docker-cli docker.io|the Docker runner and its tests (the demo runs its jobs as processes)
dockerd|docker.io|tests on a Docker engine of their own, where none answers already
iptables|iptables|tests on a Docker engine of their own, where none answers already
debootstrap|debootstrap|tests in a Debian base image (a smaller one is made of the Python at hand)
docker-registry|docker-registry|tests that pull from a registry
ip|iproute2|tests on a real Kubernetes node
socat|socat|tests on a real Kubernetes node
/usr/lib/cni/bridge|containernetworking-plugins|tests on a real Kubernetes node
gcc|gcc|tests on a real Kubernetes node
/usr/include/stdlib.h|libc6-dev|tests on a real Kubernetes node
pkg-config|pkg-config|tests on a real Kubernetes node
/usr/include/seccomp.h|libseccomp-dev|tests on a real Kubernetes node
newuidmap|uidmap|tests of BuildKit without root
'

# dockerd and iptables live in sbin, which a user's PATH need not hold.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

missing() { # prints the lines of $needs whose program or file is not there
    echo "$needs" | while IFS='|' read -r program packages without; do
        if [ -n "$program" ] && ! command -v "$program" >/dev/null 2>&1 && [ ! -e "$program" ]; then
            echo "$program|$packages|$without"
        fi
    done
}

install() { # one package after the other: a release that lacks one still gets the rest
    export DEBIAN_FRONTEND=noninteractive
    said=$(apt-get update -q 2>&1) || echo "warning: apt-get update failed; using the lists at hand: $said" >&2
    for package in $1; do
        apt-cache show "$package" >/dev/null 2>&1 || continue
        echo "installing $package"
        said=$(apt-get install -q -y --no-install-recommends "$package" 2>&1) ||
            echo "warning: apt-get install $package failed: $said" >&2
    done
}

if [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    wanted=$(missing | cut -d'|' -f2 | tr ' ' '\n' | sort -u | tr '\n' ' ')
    if [ -n "$(echo "$wanted" | tr -d ' ')" ]; then install "$wanted"; fi
fi

missing | while IFS='|' read -r program packages without; do
    echo "left out: $without: no $program (Debian: apt-get install ${packages##* })"
done
