#!/bin/sh
# Prints the path of a Chromium, after installing Debian's if there is none. $CHROMIUM names another one.
# Exit code 0: there is one. 77: there is none and none can be had, for the reason on standard error.
set -u

find_chromium() {
    for name in ${CHROMIUM:-chromium chromium-browser google-chrome}; do
        command -v "$name" && exit 0
    done
}

refuse() {
    echo "there is no Chromium: $1; install one, or give its path in CHROMIUM" >&2
    exit 77
}

find_chromium
[ -z "${CHROMIUM:-}" ] || refuse "CHROMIUM=$CHROMIUM is no program"
command -v apt-get >/dev/null || refuse "this system has no apt-get to install Debian's with"
[ "$(id -u)" = 0 ] || refuse "only root can install Debian's"
# Another test may be installing it, too: wait for its lock, then there is nothing left to do.
quickly="-qq -o DPkg::Lock::Timeout=600 -o Acquire::Retries=1 -o Acquire::http::Timeout=30"
{
    apt-get $quickly update && DEBIAN_FRONTEND=noninteractive apt-get $quickly install -y --no-install-recommends chromium
} >&2 || refuse "apt-get cannot install it"
find_chromium
refuse "apt-get installed it under no name that is known here"
