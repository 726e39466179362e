// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The balancer's data plane: VS/NAT, VS/TUN and VS/DR on the ingress of two interfaces. `from_street` sits where clients come
// in and takes what is for a virtual service to a real server; `from_reals` sits where real servers are and, for NAT, takes their
// answers to the clients. What both must do, packet for packet, is written down in balancer/forward/, and a test
// compares the two. They decide nothing about health or weights: user space does, and leaves the outcome in maps.
//
// Whatever is not surely ours goes on to the kernel unchanged (TCX_NEXT): fragments, VLANs, malformed headers, a TTL at
// its end, a service without a real server. The kernel then does what a host or router without a balancer would do, but
// for segments to a virtual service, which a netfilter rule of the node drops, so that nothing resets a connection.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "packet.h"
#include "flows.h"
#include "rewrite.h"
#include "errors.h"
#include "answer.h"

// Verdicts of a tcx program. Linux 6.6 brought them; the headers of Debian 12 are older.
#define NEXT (-1) // TCX_NEXT
#define DROP 2    // TCX_DROP

#define SKIP_NEIGHBOUR (1 << 3) // BPF_FIB_LOOKUP_SKIP_NEIGH, of Linux 6.3

static __always_inline int is_active(void)
{
	__u32 zero = 0;
	__u32 *value = bpf_map_lookup_elem(&active, &zero);

	return value && *value;
}

static __always_inline struct service *service_of(const struct endpoint *address)
{
	void *value = bpf_map_lookup_elem(&services, address);
	__u32 zero = 0;

	return value ? bpf_map_lookup_elem(value, &zero) : 0;
}

static __always_inline int is_none(const volatile struct address *address)
{
	return !(address->words[0] | address->words[1] | address->words[2] | address->words[3]);
}

// What stays inside was never sent to a virtual service: above all, answers to our own health checks.
static __always_inline int stays_inside(const struct address *address)
{
	for (__u32 which = 0; which < INSIDE_MAX; which++) {
		const volatile struct network *network = &inside[which];

		if (which < inside_count && (address->words[3] & network->mask.words[3]) == network->address.words[3] &&
		    (address->words[2] & network->mask.words[2]) == network->address.words[2] &&
		    (address->words[1] & network->mask.words[1]) == network->address.words[1] &&
		    (address->words[0] & network->mask.words[0]) == network->address.words[0])
			return 1;
	}
	return 0;
}

// How long a packet to the real servers of a service may be; 0 if there is no way for this one.
static __always_inline __u32 way_to(const struct service *service, const struct packet *packet)
{
	__u32 overhead = packet->family == FAMILY_IPV4 ? OVERHEAD_V4 : OVERHEAD_V6;

	if (packet->ttl <= 1) {
		COUNT(ttl_ended);
		return 0;
	}
	if (service->method != TUN)
		return back_mtu;
	if (is_none(packet->family == FAMILY_IPV4 ? &own : &own6)) {
		COUNT(no_tunnel);
		return 0;
	}
	return back_mtu - overhead;
}

// A packet that is too big for the way is answered if its sender has forbidden to fragment it, else left to the kernel.
static __always_inline int too_big(struct __sk_buff *skb, const struct packet *packet, const struct address *from,
				   __u32 way_mtu)
{
	int answered;

	if (packet->may_fragment) {
		COUNT(too_long);
		return NEXT;
	}
	COUNT(answered);
	if (packet->family == FAMILY_IPV4)
		answered = answer_v4(skb, from->words[3], packet->source.address.words[3], way_mtu);
	else
		answered = answer_v6(skb, from, &packet->source.address, way_mtu);
	return answered ? bpf_redirect(skb->ifindex, 0) : DROP;
}

static __always_inline int send_to(__u32 index, __u16 family, const struct address *next_hop)
{
	struct bpf_redir_neigh neighbour = { .nh_family = family };

	if (family == FAMILY_IPV4)
		neighbour.ipv4_nh = next_hop->words[3];
	else
		__builtin_memcpy(neighbour.ipv6_nh, next_hop, sizeof(*next_hop));
	return bpf_redirect_neigh(index, &neighbour, sizeof(neighbour), 0);
}

// Sends a packet out by the kernel's routes. `fallback` is where the kernel looks for itself, and drops it if in vain.
static __always_inline int send_by_route(struct __sk_buff *skb, __u16 family, __u8 protocol, __u32 fallback,
					 const struct address *from, const struct address *to)
{
	struct bpf_fib_lookup route = {
		.family = family,
		.l4_protocol = protocol,
		.ifindex = skb->ifindex,
	};
	struct bpf_redir_neigh neighbour = {};

	if (family == FAMILY_IPV4) {
		route.ipv4_src = from->words[3];
		route.ipv4_dst = to->words[3];
	} else {
		__builtin_memcpy(route.ipv6_src, from, sizeof(*from));
		__builtin_memcpy(route.ipv6_dst, to, sizeof(*to));
	}
	if (bpf_fib_lookup(skb, &route, sizeof(route), SKIP_NEIGHBOUR) != BPF_FIB_LKUP_RET_SUCCESS)
		return bpf_redirect_neigh(fallback, 0, 0, 0);
	neighbour.nh_family = route.family;
	__builtin_memcpy(neighbour.ipv6_nh, route.ipv6_dst, sizeof(neighbour.ipv6_nh));
	return bpf_redirect_neigh(route.ifindex, &neighbour, sizeof(neighbour), 0);
}

static __always_inline void count_to_real(__u32 id, const struct packet *packet)
{
	struct usage *usage = bpf_map_lookup_elem(&usages, &id);

	if (usage) {
		usage->packets_in += 1;
		usage->bytes_in += packet->length;
	}
	COUNT(to_real);
}

static __always_inline void count_to_client(__u32 id, const struct packet *packet)
{
	struct usage *usage = bpf_map_lookup_elem(&usages, &id);

	if (usage) {
		usage->packets_out += 1;
		usage->bytes_out += packet->length;
	}
	COUNT(to_client);
}

static __always_inline int tunnel_to(struct __sk_buff *skb, const struct packet *packet, const struct real *real)
{
	const volatile struct address *begins = packet->family == FAMILY_IPV4 ? &own : &own6;
	const struct address to = real->endpoint.address;
	struct address from;

	// Word by word, because the compiler would take what is copied at once for the zeros in the object.
	for (int word = 0; word < 4; word++)
		from.words[word] = begins->words[word];
	if (!pass_on(skb, packet) || !encapsulate(skb, packet, &from, &to))
		return DROP;
	if (real->flags & ON_LINK)
		return send_to(back_index, packet->family, &to);
	return send_by_route(skb, packet->family, packet->family == FAMILY_IPV4 ? IPPROTO_IPIP : IPPROTO_IPV6, back_index,
			     &from, &to);
}

// The real server that has the connection, or gets it now.
static __always_inline __u32 real_of(struct service *service, const struct packet *packet)
{
	struct flow_key key = { .client = packet->source.address, .port = packet->source.port, .service = service->id };
	struct flow *entry = bpf_map_lookup_elem(&flows, &key);
	int is_flow = entry != 0;
	__u32 id;

	if (!entry && packet->source.protocol == IPPROTO_TCP)
		entry = opening_of(&key);
	if (entry) {
		id = kept(&key, packet->stage, entry, is_flow);
		if (id != NOBODY) {
			COUNT(kept);
			return id;
		}
		forget(&key, entry->state);
	}
	id = chosen(service, packet, &key);
	if (id == NOBODY)
		COUNT(no_real);
	else if (packet->stage == OPENS || packet->source.protocol == IPPROTO_UDP)
		COUNT(opened);
	else
		COUNT(missed);
	return id;
}

// What a client sends to a service.
static __always_inline int request(struct __sk_buff *skb, const struct packet *packet)
{
	struct service *service = service_of(&packet->destination);
	struct real *real;
	__u32 way_mtu, id;

	if (!service)
		return NEXT;
	way_mtu = way_to(service, packet);
	if (!way_mtu)
		return NEXT;
	if (packet->largest > way_mtu)
		return too_big(skb, packet, &packet->destination.address, way_mtu);
	id = real_of(service, packet);
	real = bpf_map_lookup_elem(&reals, &id);
	if (!real)
		return NEXT;
	count_to_real(id, packet);
	if (service->method == TUN)
		return tunnel_to(skb, packet, real);
	if (!(service->method == NAT ? rewrite(skb, packet, DESTINATION, &real->endpoint) : pass_on(skb, packet)))
		return DROP;
	return send_to(back_index, packet->family, &real->endpoint.address);
}

// What a router or a client says about a packet that it had from a service: to the real server that sent it.
static __always_inline int error_to_real(struct __sk_buff *skb, const struct packet *packet)
{
	struct quoted quoted = {};
	struct flow_key key = {};
	struct service *service;
	struct real *real = 0;
	struct flow *entry;
	__u32 way_mtu, id;

	if (!read_quoted(skb, packet, &quoted))
		return NEXT;
	service = service_of(&quoted.source);
	if (!service)
		return NEXT;
	way_mtu = way_to(service, packet);
	if (!way_mtu)
		return NEXT;
	if (packet->length > way_mtu) {
		COUNT(too_long);
		return NEXT;
	}
	key.client = quoted.destination.address;
	key.port = quoted.destination.port;
	key.service = service->id;
	entry = bpf_map_lookup_elem(&flows, &key);
	if (!entry)
		entry = opening_of(&key);
	if (entry) {
		id = entry->state & REAL_BITS;
		real = installed(id);
	}
	if (!real) {
		id = by_source(service, packet->family, &key);
		real = bpf_map_lookup_elem(&reals, &id);
	}
	if (!real) {
		COUNT(no_real);
		return NEXT;
	}
	COUNT(errors);
	count_to_real(id, packet);
	if (service->method == TUN)
		return tunnel_to(skb, packet, real);
	if (!pass_on(skb, packet) ||
	    (service->method == NAT && !rewrite_error(skb, packet, &quoted, SOURCE, &real->endpoint)))
		return DROP;
	return send_to(back_index, packet->family, &real->endpoint.address);
}

SEC("classifier")
int from_street(struct __sk_buff *skb)
{
	struct packet packet = {};

	if (!is_active())
		return NEXT;
	switch (read_packet(skb, &packet)) {
	case SEGMENT:
		return request(skb, &packet);
	case ERROR:
		return error_to_real(skb, &packet);
	case PIECE:
		COUNT(fragments);
		return NEXT;
	default:
		return NEXT;
	}
}

// What a real server answers, or what it or a router before it says about a packet from a client.
static __always_inline int to_client(struct __sk_buff *skb, const struct packet *packet, const struct quoted *quoted)
{
	struct answer *answer;

	if (stays_inside(&packet->destination.address))
		return NEXT;
	answer = bpf_map_lookup_elem(&answers, quoted ? &quoted->destination : &packet->source);
	if (!answer)
		return NEXT;
	if (packet->ttl <= 1) {
		COUNT(ttl_ended);
		return NEXT;
	}
	if (packet->largest > front_mtu) {
		if (!quoted)
			return too_big(skb, packet, &answer->service.address, front_mtu);
		COUNT(too_long);
		return NEXT;
	}
	if (quoted)
		COUNT(errors);
	count_to_client(answer->real, packet);
	if (!(quoted ? pass_on(skb, packet) && rewrite_error(skb, packet, quoted, DESTINATION, &answer->service)
		     : rewrite(skb, packet, SOURCE, &answer->service)))
		return DROP;
	// By the route of the service's address: the holder's default route may leave by a macvlan on the front instead of by
	// the front itself.
	return send_by_route(skb, packet->family, packet->source.protocol, front_index, &answer->service.address,
			     &packet->destination.address);
}

SEC("classifier")
int from_reals(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct quoted quoted = {};

	if (!is_active())
		return NEXT;
	switch (read_packet(skb, &packet)) {
	case SEGMENT:
		return to_client(skb, &packet, 0);
	case ERROR:
		return read_quoted(skb, &packet, &quoted) ? to_client(skb, &packet, &quoted) : NEXT;
	case PIECE:
		COUNT(fragments);
		return NEXT;
	default:
		return NEXT;
	}
}

char _license[] SEC("license") = "Dual MIT/GPL";
