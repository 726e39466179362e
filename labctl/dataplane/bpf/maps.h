// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// What user space tells the programs and what they remember: the maps of the balancer. The layouts and sizes are mirrored
// in dataplane/layout.rs.

#pragma once

#define REALS_MAX 256         // of one service: a slot is one byte
#define SLOTS_MAX 65537       // prime, and at least 100 times REALS_MAX, so shares are right to one per cent
#define SERVICES_MAX 64
#define REAL_IDS_MAX 16384    // SERVICES_MAX * REALS_MAX
#define FLOWS_MAX 65536       // unless the loader says otherwise
#define INSIDE_MAX 4
#define FRESH_BYTES (1 << 18) // some thousand fresh flows between two looks of user space

// An IPv6 address, or an IPv4 one as ::ffff:a.b.c.d.
struct address {
	__be32 words[4];
};

struct endpoint {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 unused;
};

struct network {
	struct address address;
	struct address mask;
};

enum method { NAT = 0, TUN = 1, DR = 2 };

enum scheduler {
	IN_TURN = 0,            // rr, wrr: the slots know the weights
	LEAST_LOADED = 1,       // lc, wlc: the candidates know whether weights count
	SHORTEST_DELAY = 2,     // sed
	NEVER_QUEUE = 3,        // nq
	BY_ADDRESS = 4,         // sh
	BY_ADDRESS_AND_PORT = 5 // mh
};

// A real server that takes new connections, where they are counted to choose one.
struct candidate {
	__u32 real;
	__u32 weight;
};

// Everything about one virtual service in one value, so that replacing the map that holds it is one atomic change.
struct service {
	__u32 id; // names it in the keys of flows
	__u32 method;
	__u32 scheduler;
	__u32 slot_count;
	__u32 candidate_count;
	__u32 unused[11]; // so that taking turns does not disturb those who only read
	__u32 turn;
	__u32 unused_too[15];
	struct candidate candidates[REALS_MAX]; // by name, which decides between equals
	__u32 reals[REALS_MAX];                 // ids, as the slots number them
	__u8 slots[SLOTS_MAX];
};

#define INSTALLED (1 << 0) // it belongs to a service that is balanced
#define TAKES_NEW (1 << 1) // it gets new connections
#define ON_LINK (1 << 2)   // it is its own next hop

// A real server of a service. Its number stands for the two for as long as any flow may name it.
struct real {
	struct endpoint endpoint;
	__u32 flags;
};

// Whom a real server's port answers for.
struct answer {
	struct endpoint service;
	__u32 real;
};

// A connection: the virtual service stands for its address, port and protocol.
struct flow_key {
	struct address client;
	__be16 port;
	__u16 service;
};

#define REAL_BITS 0xffff
#define CLOSED (1 << 16)  // the client has said goodbye, and the connection is not counted any more
#define SETTLED (1 << 17) // an opening that has become a flow: as good as removed, and cheaper

struct flow {
	__u32 state; // the number of the real server, CLOSED, SETTLED
	__u32 seen;  // when its last packet passed, in units of 2^30 nanoseconds
};

struct fresh_flow {
	struct flow_key key;
	__u32 real;
};

// What became of packets; balancer/forward/counters.rs says what each means.
struct counters {
	__u64 to_real;
	__u64 to_client;
	__u64 answered;
	__u64 opened;
	__u64 kept;
	__u64 missed;
	__u64 errors;
	__u64 no_real;
	__u64 no_tunnel;
	__u64 ttl_ended;
	__u64 fragments;
	__u64 too_long;
};

struct usage {
	__u64 connections;
	__u64 packets_in;
	__u64 packets_out;
	__u64 bytes_in;
	__u64 bytes_out;
};

// Set while this node holds the virtual address. Without it a demoted holder would go on balancing.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} active SEC(".maps");

// A map with one value for each service. Inside a map of maps, key and value are given by their sizes: clang only
// announces `struct service` there, and loaders could not tell how large it is.
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, SERVICES_MAX);
	__type(key, struct endpoint);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(max_entries, 1);
		__uint(key_size, sizeof(__u32));
		__uint(value_size, sizeof(struct service));
	});
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REAL_IDS_MAX);
	__type(key, __u32);
	__type(value, struct real);
} reals SEC(".maps");

// Active connections by real server. Apart from `reals`, so that a change of services cannot set one back.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REAL_IDS_MAX);
	__type(key, __u32);
	__type(value, __s64);
} loads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REAL_IDS_MAX);
	__type(key, __u32);
	__type(value, struct usage);
} usages SEC(".maps");

// By the real server's endpoint; only those that answer through this director.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, REAL_IDS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint);
	__type(value, struct answer);
} answers SEC(".maps");

// Connections whose SYN was seen, and nothing else: what a flood fills.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOWS_MAX);
	__type(key, struct flow_key);
	__type(value, struct flow);
} openings SEC(".maps");

// Connections with a packet after the SYN, and all of UDP: what a flood must not touch.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOWS_MAX);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

// What entered `flows`, for other directors.
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, FRESH_BYTES);
} fresh SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

// Set by the loader.
const volatile __u32 front_index = 0;
const volatile __u32 back_index = 0;
const volatile __u32 front_mtu = 1500;
const volatile __u32 back_mtu = 1500;
const volatile struct address own = {};  // where IPv4 tunnels begin; zero for nowhere
const volatile struct address own6 = {}; // the same of IPv6
const volatile struct network inside[INSIDE_MAX] = {}; // what the real servers and this machine share
const volatile __u32 inside_count = 0;
const volatile __u32 tells = 0; // of fresh flows?

static __always_inline struct counters *counted(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counters, &zero);
}

#define COUNT(what)                                                                                                    \
	do {                                                                                                           \
		struct counters *counters_here = counted();                                                            \
		if (counters_here)                                                                                     \
			counters_here->what += 1;                                                                      \
	} while (0)
