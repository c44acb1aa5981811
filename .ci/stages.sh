# The stages of .ci/run, one function each: a command that fails ends its stage and the run.
# shellcheck shell=bash

# Leaves a remark for the table of times.
note() {
    echo "$*" | tee "$work/note.$stage"
}

# A hung test fails its stage in minutes, not the whole run at its limit.
limit() {
    timeout --kill-after=10 "$@" || {
        local status=$?
        [[ $status != 124 && $status != 137 ]] || echo "stopped: not done within $1 s"
        return $status
    }
}

# Adds up the closing lines of cargo test.
count_tests() {
    awk '/^test result: /{ passed += $4; failed += $6 }
        END { printf "%d passed, %d failed\n", passed, failed }' "$1"
}

about() {
    case $1 in
    setup) echo "tools and packages" ;;
    format) echo "rustfmt" ;;
    tree) echo "what the library depends on" ;;
    clippy) echo "lints over everything, fuzz/ too, warnings denied" ;;
    tests) echo "cargo test, as the README says" ;;
    sim) echo "the simulated world: against Linux, and soloio in it" ;;
    companions) echo "hyper, tokio's traits and more streams on soloio: tests, examples against curl and Python" ;;
    ecosystem) echo "crates of others on soloio, as docs/ecosystem.md says" ;;
    http) echo "HTTP by hyper on soloio and on tokio: instructions, memory, stops" ;;
    features) echo "the tests that features change, with each set of them" ;;
    docs) echo "documentation, warnings denied; the public names are those of tests/api.txt" ;;
    tour) echo "the tour, as a newcomer runs it" ;;
    loom) echo "the cross-thread code, every interleaving" ;;
    msrv) echo "the library with the oldest supported compiler" ;;
    kqueue) echo "the library type-checks for macOS and FreeBSD" ;;
    asan) echo "the tests under AddressSanitizer" ;;
    footprint) echo "bytes, lines and crates against tokio and their bounds" ;;
    benches) echo "each benchmark runs, briefly" ;;
    esac
}

stage_setup() {
    # A C linker for Rust, and names in the sanitizer's reports.
    if command -v apt-get >/dev/null; then
        command -v cc >/dev/null || install_packages gcc libc6-dev
        command -v ip >/dev/null || install_packages iproute2
        command -v sysctl >/dev/null || install_packages procps
        command -v valgrind >/dev/null || install_packages valgrind || echo "no valgrind"
        command -v llvm-symbolizer >/dev/null || install_packages llvm || echo "no llvm-symbolizer"
        command -v cargo >/dev/null || install_packages cargo-web rustfmt-web rust-web-clippy
        # Whom TLS is tried with; what cannot be had is left out of the comparison.
        install_tls_peers || echo "not all of them could be installed"
        install_http_peers || echo "not all of them could be installed"
    fi
    cargo --version
    rustc --version
    rustfmt --version
    cargo clippy --version
    if [[ -f Cargo.lock ]]; then
        cargo fetch --locked --quiet
    else
        echo "no Cargo.lock: the newest allowed packages are taken"
        cargo generate-lockfile --quiet
    fi
}

stage_format() {
    cargo fmt --all -- --check --color never
    # Workspaces of their own, which `--all` does not reach.
    local manifest
    for manifest in fuzz benches/http benches/footprint/soloio benches/footprint/tokio \
        crates/ecosystem crates/soloio-quinn; do
        cargo fmt --manifest-path "$manifest/Cargo.toml" --all -- --check --color never
    done
}

# The names of the packages below the library, by kind of edge.
packages_of_library() {
    cargo tree --package soloio --edges "$1" --prefix none --format '{p}' "${@:2}" |
        awk 'NF && $1 != "soloio" { print $1 }' | sort -u
}

stage_tree() {
    local found count runtimes
    runtimes='tokio|tokio-.*|async-std|smol|async-io|async-executor|async-global-executor|glommio'
    runtimes+='|monoio|compio|embassy-executor|futures-executor'
    # Development dependencies may bring `futures` for its combinators, and with it an executor.
    if found="$(packages_of_library normal,build,dev --target all --all-features |
        grep -Ex "${runtimes%|futures-executor}")"; then
        echo "an async runtime is in the library's tree, dev-dependencies included: $found"
        return 1
    fi
    if found="$(packages_of_library normal,build --target all --all-features |
        grep -Ex "$runtimes")"; then
        echo "an async runtime is in the library's tree: $found"
        return 1
    fi
    found="$(cargo tree --package soloio --edges normal,build --duplicates --quiet)"
    if [[ -n "$found" ]]; then
        printf 'two versions of one package in the library:\n%s\n' "$found"
        return 1
    fi
    local options stated wrong=0 counts=()
    for options in '' '--no-default-features' '--no-default-features --features aws-lc-rs' \
        '--features anyhow' '--features futures-core,futures-io' '--features idna' '--features log'; do
        # shellcheck disable=SC2086 # the options are words
        count="$(packages_of_library normal,build $options | wc -l)"
        echo "${options:-default}: $count"
        counts+=("$count")
        stated="$(stated_crates "${options:-default}")"
        if [[ "$stated" != "$count" ]]; then
            echo "docs/cost.md says '${stated:-nothing}' of the crates with '${options:-default}'," \
                "the library's tree has $count besides itself"
            wrong=1
        fi
    done
    if ! grep -q "brings ${counts[1]} crates in its core, ${counts[0]} with all" README.md; then
        echo "README.md's first screen says other numbers of crates"
        wrong=1
    fi
    ((wrong == 0)) || return 1
    # The first command of a newcomer, `cargo run --release --example tour`.
    count="$(cargo tree --package soloio-examples --edges normal,build,dev --prefix none \
        --format '{p}' | awk 'NF && $1 != "soloio-examples" { print $1 }' | sort -u | wc -l)"
    if ((count > 30)); then
        echo "the tour compiles $count crates, 30 at most"
        return 1
    fi
    note "ok, crates as docs/cost.md says: ${counts[*]}, the tour $count, no runtime"
}

# The number in the table of docs/cost.md that has a row for each set of features.
stated_crates() {
    awk -F'|' -v options="$1" '
        { gsub(/[` ]+$|^[` ]+/, "", $2); gsub(/ /, "", $3) }
        $2 == options && $3 ~ /^[0-9]+$/ { print $3; exit }' docs/cost.md
}

# What is linted in other ways: the core with what its tests need, TLS without a provider, with the
# other one.
lint_sets=(
    '--no-default-features'
    '--no-default-features --features extras,guest'
    '--no-default-features --features full,tls'
    '--features aws-lc-rs,anyhow,futures-core,futures-io,idna,log'
)

# What is tested in other ways: the core with what its tests need and TLS that has no provider; the
# other one, and anyhow.
test_sets=(
    '--no-default-features --features extras,guest,tls'
    '--no-default-features --features full,aws-lc-rs,anyhow,futures-core,futures-io,idna,log'
)

# Those of `full` in Cargo.toml, and others: each is to compile alone, and with TLS.
single_features() {
    awk '/^full = \[/{ inside = 1; next } inside && /^\]/{ exit }
        inside { gsub(/[", ]/, ""); print }' Cargo.toml
    printf '%s\n' futures-core futures-io idna log
}

stage_clippy() {
    cargo clippy --workspace --all-targets --features soloio-hyper/client,soloio-hyper/tls \
        -- -D warnings
    local options
    for options in "${lint_sets[@]}"; do
        echo "with $options"
        # shellcheck disable=SC2086 # the options are words
        cargo clippy --package soloio --all-targets $options -- -D warnings
    done
    # A workspace of its own, which nothing else looks at. What is not linked needs no libFuzzer.
    echo "in fuzz"
    CUSTOM_LIBFUZZER_PATH="$work/libfuzzer.a" CARGO_TARGET_DIR="$target" \
        cargo clippy --manifest-path fuzz/Cargo.toml -- -D warnings
}

stage_tests() {
    limit 1200 cargo test 2>&1 | tee "$work/tests.log"
    local counted
    counted="$(count_tests "$work/tests.log")"
    [[ "$counted" != "0 passed"* ]] || { echo "no test ran"; return 1; }
    note "ok, $counted"
}

# The world that tests run in: it does what Linux does, and soloio loses nothing in it.
stage_sim() {
    # That src has not moved away from the bugs that are planted by hand.
    python3 crates/soloio-sim/planted.py --check
    # A process has one world at a time.
    export SOLOIO_PROCESSES=2
    limit 600 cargo test --package soloio-sim 2>&1 | tee "$work/sim.log"
    limit 600 cargo test --package soloio-sim-suites 2>&1 | tee -a "$work/sim.log"
    # In these the library takes most of the time, unless it is optimised; its assertions stay.
    local optimised=profile.dev.package.soloio.opt-level=2
    SOLOIO_SEEDS=10000 limit 600 cargo test --config "$optimised" --package soloio-sim --test mixed 2>&1 |
        tee -a "$work/sim.log"
    local counted
    counted="$(count_tests "$work/sim.log")"
    [[ "$counted" != "0 passed"* ]] || { echo "no test ran"; return 1; }
    note "ok, $counted"
}

# Crates of their own: tests, examples against curl and Python.
stage_companions() {
    limit 600 cargo test --package soloio-hyper --package soloio-tokio-io --package soloio-streams \
        --all-features 2>&1 |
        tee "$work/companions.log"
    local counted
    counted="$(count_tests "$work/companions.log")"
    [[ "$counted" != "0 passed"* ]] || { echo "no test ran"; return 1; }
    note "ok, $counted"
}

# A workspace of its own, with a lock and a target folder of its own: nothing else sees its crates.
stage_ecosystem() {
    # What clients of databases are tried with; a test without its server says so.
    if command -v apt-get >/dev/null; then
        install_databases || echo "not all of them could be installed"
    fi
    local manifest=(--manifest-path crates/ecosystem/Cargo.toml)
    RUSTFLAGS='-D warnings' CARGO_TARGET_DIR="$work/ecosystem" limit 900 \
        cargo test "${manifest[@]}" 2>&1 | tee "$work/ecosystem.log"
    local counted
    counted="$(count_tests "$work/ecosystem.log")"
    [[ "$counted" != "0 passed"* ]] || { echo "no test ran"; return 1; }
    note "ok, $counted"
    companions_with_old_rustc
}

# The versions of Rust that the companions' Cargo.toml state.
companions_with_old_rustc() {
    local rustc
    if ! rustc="$(old_rustc 2>"$work/why")"; then
        echo "no oldest compiler, because $(tail -n 1 "$work/why")"
        return 0
    fi
    export RUSTC="$rustc" CARGO_TARGET_DIR="$work/msrv"
    cargo check --package soloio-hyper --package soloio-tokio-io --package soloio-streams \
        --features soloio-hyper/client,soloio-hyper/tls,soloio-streams/json,soloio-streams/tls
    cargo check --manifest-path crates/ecosystem/Cargo.toml --package soloio-quinn
}

# A workspace of its own, too: the bounds on what does not depend on the machine's load.
stage_http() {
    CARGO_TARGET_DIR="$work/http" limit 1200 python3 benches/http.py --check
}

# Every test of the core; with the other provider those of TLS. The core alone, and with each feature
# alone, is only checked.
stage_features() {
    local options filter feature
    for feature in '' full $(single_features) $(single_features | sed 's/$/,tls/'); do
        echo "with ${feature:-no feature} alone"
        RUSTFLAGS='-D warnings' CARGO_TARGET_DIR="$work/single" \
            cargo check --quiet --package soloio --lib --no-default-features --features "$feature"
    done
    rm -f "$work/features.log"
    for options in "${test_sets[@]}"; do
        filter=
        [[ "$options" != *anyhow* ]] || filter='tls clean_up futures_traits records'
        echo "with $options"
        # shellcheck disable=SC2086 # the options and the filter are words
        limit 900 cargo test --package soloio $options --lib --test it -- $filter 2>&1 | tee -a "$work/features.log"
    done
    note "ok, $(count_tests "$work/features.log")"
}

stage_docs() {
    RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --package soloio --package soloio-sim \
        --package soloio-tokio-io --package soloio-hyper --package soloio-streams \
        --features soloio-hyper/client,soloio-hyper/tls,soloio-streams/json,soloio-streams/tls
    python3 tests/api.py
}

# Only the tour is built for release: cargo test builds and runs all examples.
stage_tour() {
    cargo build --release --example tour
    limit 120 cargo run --release --quiet --example tour | tee "$work/tour.log"
    [[ -s "$work/tour.log" ]] || { echo "the tour printed nothing"; return 1; }
}

# `--cfg loom` swaps the locks for loom's, so it needs a folder of its own.
stage_loom() {
    RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR="$work/loom" \
        limit 1200 cargo test --test loom --release 2>&1 | tee "$work/loom.log"
    local counted
    counted="$(count_tests "$work/loom.log")"
    [[ "$counted" != "0 passed"* ]] || { echo "no model ran"; return 1; }
    note "ok, $counted"
}

stage_msrv() {
    local rustc
    if ! rustc="$(old_rustc 2>"$work/why")"; then
        note "not checked, because $(tail -n 1 "$work/why")"
        return 0
    fi
    "$rustc" --version
    RUSTC="$rustc" CARGO_TARGET_DIR="$work/msrv" cargo check --package soloio --lib
    note "ok, $("$rustc" --version | cut -d ' ' -f 1,2)"
}

# The crypto providers are left out: they need a C compiler for the target. std is built from source.
# The compiler that goes with the source is the same one as for the oldest supported version; a
# rustc-web that is installed will do as well.
stage_kqueue() {
    local rustc
    if ! rustc="$(old_rustc 2>"$work/why")"; then
        cat "$work/why"
        install_packages rustc-web rust-web-src || {
            echo "no compiler with std's source: this check cannot be left out"
            return 1
        }
        rustc=/usr/bin/rustc
    fi
    # -Zwarnings: code that no other platform uses is a warning only here.
    RUSTC="$rustc" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/kqueue" \
        CARGO_PROFILE_DEV_DEBUG=0 CARGO_BUILD_WARNINGS=deny \
        cargo check --package soloio --lib --no-default-features --features full,native-certs \
        -Zwarnings -Zbuild-std=std,panic_abort \
        --target aarch64-apple-darwin --target x86_64-unknown-freebsd
}

# Tests that leak on purpose have `forg` in their names (forget, forgotten): see .ci/leaks.txt.
stage_asan() {
    local options=detect_stack_use_after_return=1:strict_string_checks=1
    if command -v llvm-symbolizer >/dev/null; then
        options+=:detect_leaks=1
    else
        echo "no llvm-symbolizer: leaks are not looked for, since wanted ones have no names"
        options+=:detect_leaks=0
    fi
    # Without optimisation: the tests run for three minutes, but to optimise them takes more than
    # ten. The examples are built because tests run some of them. The build scripts' side of
    # --target stays as it is.
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Zsanitizer=address' CARGO_TARGET_DIR="$work/asan"
    export CARGO_PROFILE_DEV_DEBUG=line-tables-only
    export ASAN_OPTIONS="$options"
    export LSAN_OPTIONS="suppressions=$PWD/.ci/leaks.txt:print_suppressions=0"
    local host
    host="$(rustc -vV | sed -n 's/^host: //p')"
    cargo build --examples --target "$host"
    limit 1500 cargo test --tests --target "$host" 2>&1 | tee "$work/asan.log"
    note "ok, $(count_tests "$work/asan.log")"
}

# Sizes as ratios to tokio's, which are exact; the seconds of builds are not looked at.
stage_footprint() {
    CARGO_TARGET_DIR="$work/footprint" limit 900 python3 benches/footprint.py --check |
        tee "$work/footprint.log"
}

stage_benches() {
    limit 900 cargo run --release --package soloio-benches -- --quick
    limit 300 cargo run --release --package soloio-benches -- peers --quick
    limit 300 cargo run --release --package soloio-benches -- growth --quick
    limit 300 cargo check --quiet --package soloio-benches --features peers
    limit 600 cargo run --release --package soloio-benches -- instructions --rounds 1 \
        --against docs/instructions.txt
}
