# Installs what a stage needs and the machine lacks. Sourced by .ci/run.
# shellcheck shell=bash

# Runs a command as root: directly, or through sudo where there is one.
as_root() {
    if [[ $EUID == 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo --non-interactive "$@"
    else
        return 1
    fi
}

have_package() {
    [[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

# Reads the package lists, once a run. A source that fails is no reason to stop: what is wanted may
# be there, or come from another one, and whoever needs it says so.
update_lists() {
    [[ ! -f "$work/lists-updated" ]] || return 0
    as_root apt-get -qq update || echo "apt-get update did not succeed"
    touch "$work/lists-updated"
}

# Installs Debian packages, if they are not there. Returns non-zero if that cannot be done.
install_packages() {
    local missing=() package
    for package in "$@"; do
        have_package "$package" || missing+=("$package")
    done
    ((${#missing[@]} > 0)) || return 0
    command -v apt-get >/dev/null || { echo "no apt-get here to install ${missing[*]}"; return 1; }
    echo "installing ${missing[*]}"
    update_lists
    DEBIAN_FRONTEND=noninteractive as_root apt-get -qq install --no-install-recommends --yes \
        "${missing[@]}" >"$work/install.log" 2>&1 || { tail -n 20 "$work/install.log"; return 1; }
}

# The programs that TLS is tried with.
install_tls_peers() {
    local missing=()
    command -v openssl >/dev/null || missing+=(openssl ca-certificates)
    command -v python3 >/dev/null || missing+=(python3)
    command -v curl >/dev/null || missing+=(curl)
    command -v gnutls-serv >/dev/null || missing+=(gnutls-bin)
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

# The programs that HTTP is tried with.
install_http_peers() {
    local missing=()
    command -v h2load >/dev/null || missing+=(nghttp2-client)
    command -v wrk >/dev/null || missing+=(wrk)
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

# The servers that clients of databases are tried with.
install_databases() {
    local missing=()
    command -v redis-server >/dev/null || missing+=(redis-server)
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

# The Rust release that Cargo.toml promises to support: 1.85.
declared_msrv() {
    sed -n 's/^rust-version = "\([0-9]*\.[0-9]*\).*"/\1/p' Cargo.toml
}

# Unpacks Debian's build of the oldest supported compiler, with std's source, below the target
# folder, and prints the path of a `rustc`. Nothing is installed. Says on stderr why it cannot.
old_rustc() {
    local release root package version libraries packages=()
    release="$(declared_msrv)"
    root="$work/rust-$release"
    if [[ ! -x "$root/rustc" ]]; then
        command -v apt-get dpkg-deb >/dev/null || { echo "there is no apt-get" >&2; return 1; }
        rm -rf "$root" && mkdir -p "$root"
        version="$(debian_version rustc-web "$release")"
        if [[ -z "$version" ]]; then
            update_lists >&2
            version="$(debian_version rustc-web "$release")"
        fi
        if [[ -z "$version" ]]; then
            echo "Debian's sources offer no rustc-web $release" >&2
            return 1
        fi
        for package in rustc-web libstd-rust-web-dev "libstd-rust-web-$release" rust-web-src; do
            packages+=("$package=$version")
        done
        packages+=("$(apt-cache show "libstd-rust-web-$release=$version" |
            sed -n 's/^Depends:.*\(libllvm[0-9]*\).*/\1/p' | head -n 1)")
        if ! (cd "$root" && apt-get -qq download "${packages[@]}") >"$root/log" 2>&1; then
            tail -n 5 "$root/log" >&2
            echo "apt-get download ${packages[*]} did not succeed" >&2
            return 1
        fi
        for package in "$root"/*.deb; do
            dpkg-deb --extract "$package" "$root"
        done
        rm -f "$root"/*.deb
        # What LLVM links to; where this fails, the compiler's own message below says what lacks.
        install_packages libedit2 libffi8 libxml2 libz3-4 libzstd1 zlib1g >&2 || true
        # Its own libraries only for itself: a linker or cargo must not find them.
        libraries="$(dirname "$(find "$root/usr/lib" -name 'librustc_driver-*.so' | head -n 1)")"
        printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s/usr/bin/rustc" "$@"\n' \
            "$libraries" "$root" >"$root/rustc.new"
        chmod +x "$root/rustc.new"
        "$root/rustc.new" --version >"$root/log" 2>&1 || { cat "$root/log" >&2; return 1; }
        mv "$root/rustc.new" "$root/rustc"
    fi
    echo "$root/rustc"
}

# The newest version of a package that belongs to a release, from the lists already read.
debian_version() {
    apt-cache madison "$1" 2>/dev/null | awk -F'|' -v release="$2." '
        { gsub(/ /, "", $2) }
        index($2, release) == 1 && !found++ { print $2 }'
}
