# Sourced by the other tools: finds a Python, and keeps a virtual environment of the project's own in .venv.

cd "$(dirname "$0")/.."

say() {
    printf '%s\n' "$*" >&2
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "This needs root: $*"
        return 1
    fi
}

# lacking PACKAGE...: those that are not installed, each after a space.
lacking() {
    found=$(dpkg-query -W -f ' ${Package}:${db:Status-Status} ' "$@" 2>/dev/null || true)
    for package in "$@"; do
        case $found in *" $package:installed "*) ;; *) printf ' %s' "$package" ;; esac
    done
}

# need PACKAGE...: installs Debian packages that are missing.
need() {
    missing=$(lacking "$@")
    [ -z "$missing" ] && return
    say "Installing$missing"
    as_root apt-get update -qq
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# need_idle PACKAGE...: the same for packages that bring a service of their name, which is neither started now nor at boot.
need_idle() {
    new=$(lacking "$@")
    [ -z "$new" ] && return
    policy=/usr/sbin/policy-rc.d  # what Debian asks before it starts anything
    if [ -e "$policy" ]; then
        need "$@"
    else
        (
            trap 'as_root rm -f "$policy"' EXIT
            printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
            as_root chmod 755 "$policy"
            need "$@"
        )
    fi
    if [ -d /run/systemd/system ]; then
        for package in $new; do
            as_root systemctl disable -q "${package%-light}.service"
        done
    fi
}

find_python() {
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "pacarchive needs Python 3.11 or later."
    return 1
}

# environment EXTRA...: makes .venv what pyproject.toml says, with the named extras.
environment() {
    if [ ! -x .venv/bin/pip ]; then
        python=$(find_python)
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            need "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
        fi
        rm -rf .venv
        "$python" -m venv .venv
    fi
    stamp=".venv/installed-$(printf '%s' "$*" | tr -c 'a-z' '-')"
    if [ ! "$stamp" -nt pyproject.toml ]; then
        say "Installing pacarchive into .venv"
        extras=$(printf '%s' "$*" | tr ' ' ',')
        .venv/bin/pip install -q --disable-pip-version-check -e ".${extras:+[$extras]}"
        touch "$stamp"
    fi
}
