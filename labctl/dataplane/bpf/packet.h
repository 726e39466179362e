// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Reads a frame, as balancer/forward/frame.rs says: whatever is not surely a whole TCP or UDP packet for this machine, or an
// ICMP error about one, is none of ours.

#pragma once

// Of <linux/if_vlan.h>, <sys/socket.h> and others, which a BPF target cannot include.
#define FAMILY_IPV4 2  // AF_INET
#define FAMILY_IPV6 10 // AF_INET6

#define FRAGMENT_BITS 0x3fff // "more fragments" and the offset (RFC 791 section 3.1)
#define DO_NOT_FRAGMENT 0x4000
#define OFFSET_BITS 0x1fff   // the offset alone

#define ICMP_BYTES 8
#define QUOTED_BYTES_MIN 8 // of a packet after its IP header (RFC 792): enough for the ports

// Extension headers of IPv6 (RFC 8200 section 4), at most so many and so long.
#define HOP_BY_HOP 0
#define ROUTING 43
#define FRAGMENT 44
#define DESTINATION_OPTIONS 60
#define EXTENSIONS_MAX 8
#define EXTENSION_BYTES_MAX 256

// No header of a frame that we read begins beyond this.
#define HEADER_AT_MAX 511

enum reading {
	OTHER,   // the kernel's
	SEGMENT, // of TCP or UDP, with its whole header
	ERROR,   // an ICMP message that may be an error; more of it is read where it is needed
	PIECE,   // a fragment
};

// What a segment says of its connection; of several things the first in this order: opens, resets, closes.
enum stage { GOES_ON, OPENS, RESETS, CLOSES };

// What the programs need of a packet, copied out because helpers invalidate pointers into it.
struct packet {
	struct endpoint source;
	struct endpoint destination;
	__u32 length;     // of the IP packet, by its own word
	__u32 largest;    // what of it must fit the way: a super-packet leaves in segments
	__u32 payload_at; // where TCP, UDP or ICMP begin
	__u16 family;
	__u8 ttl;
	__u8 class; // DSCP and ECN
	__u8 may_fragment;
	__u8 stage;
};

// Makes at least `length` bytes of the frame readable.
static __always_inline int pull(struct __sk_buff *skb, __u32 length)
{
	if ((void *)(long)skb->data + length <= (void *)(long)skb->data_end)
		return 1;
	return skb->len >= length && bpf_skb_pull_data(skb, length) == 0;
}

static __always_inline void set_ipv4(struct address *address, __be32 ipv4)
{
	address->words[0] = 0;
	address->words[1] = 0;
	address->words[2] = bpf_htonl(0xffff);
	address->words[3] = ipv4;
}

static __always_inline void set_ipv6(struct address *address, const struct in6_addr *ipv6)
{
	__builtin_memcpy(address, ipv6, sizeof(*address));
}

// Is the frame for this machine? One with a virtual hardware address (RFC 9568 section 7.3) is, as long as the machine is
// active: it is for a macvlan on this interface, and the kernel takes it for somebody else's until the macvlan has it.
static __always_inline int is_for_us(const struct __sk_buff *skb, const struct ethhdr *eth, __u8 virtual_family)
{
	const __u8 *mac = eth->h_dest;

	if (skb->pkt_type == PACKET_HOST)
		return 1;
	return skb->pkt_type == PACKET_OTHERHOST && mac[0] == 0x00 && mac[1] == 0x00 && mac[2] == 0x5e &&
	       mac[3] == 0x00 && mac[4] == virtual_family;
}

static __always_inline enum reading read_ports(struct __sk_buff *skb, struct packet *packet, __u8 protocol)
{
	__u32 at = packet->payload_at, header;
	__be16 *ports;
	void *payload;

	if (protocol == IPPROTO_TCP)
		header = sizeof(struct tcphdr);
	else if (protocol == IPPROTO_UDP)
		header = sizeof(struct udphdr);
	else
		return OTHER;
	if (at > HEADER_AT_MAX || at + header > ETH_HLEN + packet->length || !pull(skb, at + header))
		return OTHER;
	payload = (void *)(long)skb->data + at;
	if (payload + sizeof(struct udphdr) > (void *)(long)skb->data_end)
		return OTHER;
	ports = payload;
	packet->source.port = ports[0];
	packet->destination.port = ports[1];
	packet->source.protocol = protocol;
	packet->destination.protocol = protocol;
	packet->stage = GOES_ON;
	if (protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = payload;

		if ((void *)(tcp + 1) > (void *)(long)skb->data_end)
			return OTHER;
		if (tcp->syn && !tcp->ack)
			packet->stage = OPENS;
		else if (tcp->rst)
			packet->stage = RESETS;
		else if (tcp->fin)
			packet->stage = CLOSES;
		header = tcp->doff * 4;
	}
	if (skb->gso_size)
		packet->largest = at - ETH_HLEN + header + skb->gso_size;
	return SEGMENT;
}

static __always_inline enum reading read_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	struct ethhdr *eth = (void *)(long)skb->data;
	struct iphdr *ip = (void *)(eth + 1);
	__u32 header;

	if ((void *)(ip + 1) > (void *)(long)skb->data_end)
		return OTHER;
	header = ip->ihl * 4;
	packet->length = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header < sizeof(*ip) || packet->length < header ||
	    packet->length + ETH_HLEN > skb->len || !is_for_us(skb, eth, 1))
		return OTHER;
	if (ip->frag_off & bpf_htons(FRAGMENT_BITS))
		return PIECE;
	packet->largest = packet->length;
	packet->family = FAMILY_IPV4;
	packet->payload_at = ETH_HLEN + header;
	packet->ttl = ip->ttl;
	packet->class = ip->tos;
	packet->may_fragment = !(ip->frag_off & bpf_htons(DO_NOT_FRAGMENT));
	set_ipv4(&packet->source.address, ip->saddr);
	set_ipv4(&packet->destination.address, ip->daddr);
	if (ip->protocol == IPPROTO_ICMP)
		return ERROR;
	return read_ports(skb, packet, ip->protocol);
}

// Skips extension headers. Returns where the next header begins and, in the last byte, which it is; 0 if they are not as
// they should be.
static __noinline __u32 skip_extensions(struct __sk_buff *skb, __u32 next, __u32 length)
{
	__u32 at = ETH_HLEN + sizeof(struct ipv6hdr), end = ETH_HLEN + length;
	struct {
		__u8 next, words, type, segments_left;
	} extension;

	for (int count = 0; count < EXTENSIONS_MAX; count++) {
		if (next != HOP_BY_HOP && next != ROUTING && next != DESTINATION_OPTIONS)
			break;
		if (bpf_skb_load_bytes(skb, at, &extension, sizeof(extension)))
			return 0;
		// A packet that is to be routed on from here has another destination still.
		if (next == ROUTING && extension.segments_left != 0)
			return 0;
		next = extension.next;
		at += 8 * (extension.words + 1);
		if (at > end || at > ETH_HLEN + sizeof(struct ipv6hdr) + EXTENSION_BYTES_MAX)
			return 0;
	}
	return at << 8 | next;
}

static __always_inline enum reading read_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	struct ethhdr *eth;
	struct ipv6hdr *ip;
	__u32 next;

	if (!pull(skb, ETH_HLEN + sizeof(*ip)))
		return OTHER;
	eth = (void *)(long)skb->data;
	ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > (void *)(long)skb->data_end)
		return OTHER;
	packet->length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	if (ip->version != 6 || packet->length + ETH_HLEN > skb->len || !is_for_us(skb, eth, 2))
		return OTHER;
	packet->largest = packet->length;
	packet->family = FAMILY_IPV6;
	packet->ttl = ip->hop_limit;
	packet->class = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	packet->may_fragment = 0;
	set_ipv6(&packet->source.address, &ip->saddr);
	set_ipv6(&packet->destination.address, &ip->daddr);
	packet->payload_at = ETH_HLEN + sizeof(*ip);
	next = ip->nexthdr;
	if (next == HOP_BY_HOP || next == ROUTING || next == DESTINATION_OPTIONS) {
		next = skip_extensions(skb, next, packet->length);
		if (next == 0)
			return OTHER;
		packet->payload_at = next >> 8;
		next &= 0xff;
	}
	if (next == FRAGMENT)
		return PIECE;
	if (next == IPPROTO_ICMPV6)
		return ERROR;
	return read_ports(skb, packet, next);
}

static __always_inline enum reading read_packet(struct __sk_buff *skb, struct packet *packet)
{
	struct ethhdr *eth;

	if (skb->vlan_present || !pull(skb, ETH_HLEN + sizeof(struct iphdr)))
		return OTHER;
	eth = (void *)(long)skb->data;
	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return OTHER;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return read_ipv4(skb, packet);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return read_ipv6(skb, packet);
	return OTHER;
}
