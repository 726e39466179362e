// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The balancer's data plane: VS/NAT on the ingress of two interfaces. `to_real` sits on the front and rewrites the
// destination of what clients send to a virtual service; `to_client` sits on the back and rewrites the source of what
// real servers answer. What it must do, packet for packet, is written down in balancer/forward/nat.rs, and a test
// compares the two. It decides nothing about health or scheduling: user space does, and leaves the outcome in maps.
//
// Whatever is not surely ours goes on to the kernel unchanged (TCX_NEXT): fragments, VLANs, malformed headers, a TTL at
// its end, a service without a real server. The kernel then does what a host or router without a balancer would do, but
// for segments to a virtual service, which a netfilter rule of the node drops, so that nothing resets a connection.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// The layouts and sizes below are mirrored in dataplane/layout.rs.

#define REALS_MAX 256    // a slot is one byte
#define SLOTS_MAX 65537  // prime, and at least 100 times REALS_MAX, so shares are right to one per cent
#define SERVICES_MAX 64
#define FLOWS_MAX 65536

// Verdicts of a tcx program. Linux 6.6 brought them; the headers of Debian 12 are older.
#define NEXT (-1) // TCX_NEXT
#define DROP 2    // TCX_DROP

#define FAMILY_IPV4 2          // AF_INET, which only the C library's headers define
#define FRAGMENT_BITS 0x3fff   // "more fragments" and the offset (RFC 791 section 3.1)
#define SKIP_NEIGHBOUR (1 << 3) // BPF_FIB_LOOKUP_SKIP_NEIGH, of Linux 6.3

enum scheduler { ROUND_ROBIN = 0, SOURCE_HASH = 1 };

struct endpoint {
	__be32 address;
	__be16 port;
	__u16 protocol;
};

// Everything about one virtual service in one value, so that replacing the map that holds it is one atomic change.
struct service {
	__u32 scheduler;
	__u32 slot_count;
	__u32 turn;
	struct endpoint reals[REALS_MAX];
	__u8 slots[SLOTS_MAX];
};

// A real server's port: the one service that it answers for, and whether that gives it new connections.
struct real {
	struct endpoint service;
	__u32 takes_new;
};

struct flow {
	struct endpoint client;
	struct endpoint service;
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
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SERVICES_MAX * REALS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint);
	__type(value, struct real);
} reals SEC(".maps");

// Which real server a connection has.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOWS_MAX);
	__type(key, struct flow);
	__type(value, struct endpoint);
} flows SEC(".maps");

enum counter { TO_REAL, TO_CLIENT, NEW_FLOWS, KEPT_FLOWS, MISSED_FLOWS, NO_REAL, TTL_ENDED, COUNTERS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

// Set by the loader.
const volatile __u32 front_index = 0;
const volatile __u32 back_index = 0;
const volatile __be32 inside_network = 0; // the network of the real servers, ours included
const volatile __be32 inside_mask = 0;

// What the programs need of a packet, copied out because helpers invalidate pointers into it.
struct packet {
	struct endpoint source;
	struct endpoint destination;
	__u32 tcp_at;
	__u8 ttl;
	__u8 opens; // SYN without ACK: a new connection
};

static __always_inline void count(enum counter what)
{
	__u32 key = what;
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	if (value)
		*value += 1;
}

static __always_inline int is_active(void)
{
	__u32 zero = 0;
	__u32 *value = bpf_map_lookup_elem(&active, &zero);

	return value && *value;
}

// Makes at least `length` bytes of the frame readable.
static __always_inline int pull(struct __sk_buff *skb, __u32 length)
{
	if ((void *)(long)skb->data + length <= (void *)(long)skb->data_end)
		return 1;
	return skb->len >= length && bpf_skb_pull_data(skb, length) == 0;
}

// Is the frame for this machine? One with a virtual hardware address (RFC 9568 section 7.3) is, as long as the machine is
// active: it is for a macvlan on this interface, and the kernel takes it for somebody else's until the macvlan has it.
static __always_inline int is_for_us(const struct __sk_buff *skb, const struct ethhdr *eth)
{
	const __u8 *mac = eth->h_dest;

	if (skb->pkt_type == PACKET_HOST)
		return 1;
	return skb->pkt_type == PACKET_OTHERHOST && mac[0] == 0x00 && mac[1] == 0x00 && mac[2] == 0x5e &&
	       mac[3] == 0x00 && mac[4] == 0x01;
}

// Reads a whole TCP segment over IPv4 that is addressed to this machine; 0 for anything else.
static __always_inline int read_packet(struct __sk_buff *skb, struct packet *packet)
{
	struct ethhdr *eth;
	struct iphdr *ip;
	struct tcphdr *tcp;
	void *data, *end;
	__u32 header, total;

	if (skb->vlan_present || !pull(skb, ETH_HLEN + sizeof(*ip)))
		return 0;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	eth = data;
	ip = data + ETH_HLEN;
	if ((void *)(ip + 1) > end || !is_for_us(skb, eth))
		return 0;
	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->version != 4 || header < sizeof(*ip) ||
	    ip->protocol != IPPROTO_TCP || (ip->frag_off & bpf_htons(FRAGMENT_BITS)) ||
	    total < header + sizeof(*tcp) || total + ETH_HLEN > skb->len)
		return 0;
	packet->source.address = ip->saddr;
	packet->destination.address = ip->daddr;
	packet->ttl = ip->ttl;
	packet->tcp_at = ETH_HLEN + header;

	if (!pull(skb, ETH_HLEN + header + sizeof(*tcp)))
		return 0;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	tcp = data + ETH_HLEN + header;
	if ((void *)(tcp + 1) > end)
		return 0;
	packet->source.port = tcp->source;
	packet->destination.port = tcp->dest;
	packet->source.protocol = IPPROTO_TCP;
	packet->destination.protocol = IPPROTO_TCP;
	packet->opens = tcp->syn && !tcp->ack;
	return 1;
}

// The one function that a client's address is hashed with, MurmurHash3's finalizer; balancer/schedule.rs has it too.
static __always_inline __u32 source_hash(__be32 address)
{
	__u32 hash = bpf_ntohl(address);

	hash ^= hash >> 16;
	hash *= 0x85ebca6b;
	hash ^= hash >> 13;
	hash *= 0xc2b2ae35;
	hash ^= hash >> 16;
	return hash;
}

static __always_inline int same(const struct endpoint *a, const struct endpoint *b)
{
	return a->address == b->address && a->port == b->port && a->protocol == b->protocol;
}

// The real server that the flow table has for a connection, if it may keep it.
static __always_inline int kept(const struct packet *packet, const struct flow *flow, struct endpoint *to)
{
	struct endpoint *entry = bpf_map_lookup_elem(&flows, flow);
	struct real *real;

	if (!entry) {
		if (!packet->opens)
			count(MISSED_FLOWS);
		return 0;
	}
	*to = *entry;
	real = bpf_map_lookup_elem(&reals, to);
	return real && same(&real->service, &packet->destination) && (real->takes_new || !packet->opens);
}

// Chooses a real server for a connection that has none: in turn if it is new and the scheduler says so, else by its
// source, which any other director would choose too.
static __always_inline int choose(struct service *service, const struct packet *packet, struct endpoint *to)
{
	__u32 slots = service->slot_count, number, slot;

	if (slots == 0 || slots > SLOTS_MAX)
		return 0;
	if (packet->opens && service->scheduler == ROUND_ROBIN)
		number = __sync_fetch_and_add(&service->turn, 1);
	else
		number = source_hash(packet->source.address);
	slot = number % slots;
	// The compiler knows that this holds and would drop it; the verifier does not know.
	barrier_var(slot);
	if (slot >= SLOTS_MAX)
		return 0;
	*to = service->reals[service->slots[slot]];
	return 1;
}

// RFC 1624, equation 3, on 16 bits at a time.
static __always_inline __u16 updated_checksum(__u16 check, __u32 from, __u32 to)
{
	__u32 sum = (__u16)~check;

	sum += (__u16)~(from & 0xffff);
	sum += (__u16)~(from >> 16);
	sum += to & 0xffff;
	sum += to >> 16;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

enum side { SOURCE, DESTINATION };

// Puts `to` in the place of one side's address and port, and counts the hop. The TCP checksum is the helper's
// business, because for a segment whose checksum the hardware will finish only the pseudo header counts.
static __always_inline int rewrite(struct __sk_buff *skb, const struct packet *packet, enum side side,
				   const struct endpoint *to)
{
	const struct endpoint *from = side == SOURCE ? &packet->source : &packet->destination;
	__u32 check_at = packet->tcp_at + offsetof(struct tcphdr, check);
	__u32 port_at = packet->tcp_at +
			(side == SOURCE ? offsetof(struct tcphdr, source) : offsetof(struct tcphdr, dest));
	struct iphdr *ip;
	__u16 before, after;

	if (bpf_l4_csum_replace(skb, check_at, from->address, to->address, BPF_F_PSEUDO_HDR | sizeof(__be32)))
		return 0;
	if (from->port != to->port) {
		if (bpf_l4_csum_replace(skb, check_at, from->port, to->port, sizeof(__be16)) ||
		    bpf_skb_store_bytes(skb, port_at, &to->port, sizeof(__be16), 0))
			return 0;
	}
	ip = (void *)(long)skb->data + ETH_HLEN;
	if ((void *)(ip + 1) > (void *)(long)skb->data_end)
		return 0;
	before = *(__u16 *)&ip->ttl;
	ip->ttl -= 1;
	after = *(__u16 *)&ip->ttl;
	ip->check = updated_checksum(ip->check, before, after);
	ip->check = updated_checksum(ip->check, from->address, to->address);
	if (side == SOURCE)
		ip->saddr = to->address;
	else
		ip->daddr = to->address;
	return 1;
}

SEC("classifier")
int to_real(struct __sk_buff *skb)
{
	struct bpf_redir_neigh next_hop = { .nh_family = FAMILY_IPV4 };
	struct packet packet = {};
	struct endpoint to = {};
	struct service *service;
	struct flow flow;
	__u32 zero = 0;
	void *value;

	if (!is_active() || !read_packet(skb, &packet))
		return NEXT;
	value = bpf_map_lookup_elem(&services, &packet.destination);
	if (!value)
		return NEXT;
	service = bpf_map_lookup_elem(value, &zero);
	if (!service)
		return NEXT;
	if (packet.ttl <= 1) {
		count(TTL_ENDED);
		return NEXT;
	}
	flow.client = packet.source;
	flow.service = packet.destination;
	if (kept(&packet, &flow, &to)) {
		count(KEPT_FLOWS);
	} else if (choose(service, &packet, &to)) {
		bpf_map_update_elem(&flows, &flow, &to, BPF_ANY);
		if (packet.opens)
			count(NEW_FLOWS);
	} else {
		count(NO_REAL);
		return NEXT;
	}
	if (!rewrite(skb, &packet, DESTINATION, &to))
		return DROP;
	count(TO_REAL);
	next_hop.ipv4_nh = to.address;
	return bpf_redirect_neigh(back_index, &next_hop, sizeof(next_hop), 0);
}

// Sends what real servers answer on to the street, by the route from the virtual service's address: the holder's default
// route may leave by a macvlan on the front instead of by the front itself.
static __always_inline int send_on(struct __sk_buff *skb, __be32 source, __be32 destination)
{
	struct bpf_fib_lookup route = {
		.family = FAMILY_IPV4,
		.l4_protocol = IPPROTO_TCP,
		.ifindex = back_index,
		.ipv4_src = source,
		.ipv4_dst = destination,
	};
	struct bpf_redir_neigh next_hop = { .nh_family = FAMILY_IPV4 };

	if (bpf_fib_lookup(skb, &route, sizeof(route), SKIP_NEIGHBOUR) != BPF_FIB_LKUP_RET_SUCCESS ||
	    route.family != FAMILY_IPV4)
		return bpf_redirect_neigh(front_index, 0, 0, 0); // the kernel looks for itself, and drops it if in vain
	next_hop.ipv4_nh = route.ipv4_dst;
	return bpf_redirect_neigh(route.ifindex, &next_hop, sizeof(next_hop), 0);
}

SEC("classifier")
int to_client(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct endpoint service;
	struct real *real;

	if (!is_active() || !read_packet(skb, &packet))
		return NEXT;
	// What stays inside was never sent to the virtual service: above all, answers to our own health checks.
	if ((packet.destination.address & inside_mask) == inside_network)
		return NEXT;
	real = bpf_map_lookup_elem(&reals, &packet.source);
	if (!real)
		return NEXT;
	if (packet.ttl <= 1) {
		count(TTL_ENDED);
		return NEXT;
	}
	service = real->service;
	if (!rewrite(skb, &packet, SOURCE, &service))
		return DROP;
	count(TO_CLIENT);
	return send_on(skb, service.address, packet.destination.address);
}

char _license[] SEC("license") = "Dual MIT/GPL";
