//! The data plane in the kernel: loader and maps of the eBPF object in `bpf/`.
