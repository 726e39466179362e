# `just` without arguments lists these.
default:
    @just --list

# The one gate: what CI runs.
check:
    .ci/run

# Unit and property tests only.
unit:
    cargo test --all-features --lib --bins

# Scenarios, all or those whose name contains the words.
features *words:
    cargo test --all-features --test features -- {{words}}

# Scenarios of every database engine, PostgreSQL included, with what they need.
engines:
    cargo run --all-features -- setup etcd redis postgres
    cargo test --all-features --test features -- engines

# The main job.
demo:
    cargo run --release -- drill run topologies/drills/proxy-crash.yaml

# Figures: up, failover, database, memory, coupling or all.
bench what="all":
    cargo bench --all-features --bench site -- {{what}}

# Ours beside keepalived: what each fault costs the client, and whether two nodes ever answered for the VIP.
bench-failover *args:
    cargo bench --bench failover -- {{args}}

# What each way of balancing costs beside plain routing.
bench-balancer *args:
    cargo bench --bench balancer -- {{args}}

# What three VRRP daemons make of every requirement, and eight ways of balancing of every promise: the committed matrices.
conformance:
    cargo run --release -- conformance vrrp --engine labctl --engine keepalived --engine frr --out reports/conformance
    cargo run --release -- conformance balancer --engine nat --engine tun --engine dr --engine proxy \
        --engine haproxy --engine nginx --engine nft --engine ipvs --out reports/conformance

# Renew what is generated and committed: JSON Schemas, the sample report and the eBPF object.
renew:
    LABCTL_UPDATE=1 cargo test --lib -- schema sample
    labctl/dataplane/bpf/build.sh
