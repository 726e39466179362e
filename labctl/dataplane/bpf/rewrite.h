// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// What the forwarding methods do to a packet: balancer/forward/nat.rs, tun.rs and dr.rs.

#pragma once

#define IP_CHECK (ETH_HLEN + offsetof(struct iphdr, check))
#define TUNNEL_TTL 64
#define OVERHEAD_V4 sizeof(struct iphdr)
#define OVERHEAD_V6 sizeof(struct ipv6hdr)

enum side { SOURCE, DESTINATION };

// Sums of the internet checksum are kept unfolded in 64 bits: one's complement addition does not care in what portions.
static __always_inline __u64 changed(__u32 from, __u32 to)
{
	return (__u64)(__u32)~from + to;
}

static __always_inline __u64 changed16(__u16 from, __u16 to)
{
	return (__u64)(__u16)~from + to;
}

static __always_inline __u64 changed_address(__u16 family, const struct address *from, const struct address *to)
{
	__u64 sum = changed(from->words[3], to->words[3]);

	if (family == FAMILY_IPV6)
		sum += changed(from->words[0], to->words[0]) + changed(from->words[1], to->words[1]) +
		       changed(from->words[2], to->words[2]);
	return sum;
}

static __always_inline __u32 folded32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	return sum;
}

static __always_inline __u16 folded(__u64 sum)
{
	__u32 small = folded32(sum);

	small = (small & 0xffff) + (small >> 16);
	small = (small & 0xffff) + (small >> 16);
	return small;
}

// RFC 1624, equation 3.
static __always_inline __u16 updated(__u16 check, __u64 change)
{
	return ~folded((__u64)(__u16)~check + change);
}

// One hop further.
static __always_inline void lower_ttl(struct iphdr *ip)
{
	__u16 before = *(__u16 *)&ip->ttl, after;

	ip->ttl -= 1;
	after = *(__u16 *)&ip->ttl;
	ip->check = updated(ip->check, changed16(before, after));
}

static __always_inline int pass_on(struct __sk_buff *skb, const struct packet *packet)
{
	void *data = (void *)(long)skb->data + ETH_HLEN, *end = (void *)(long)skb->data_end;

	if (packet->family == FAMILY_IPV4) {
		struct iphdr *ip = data;

		if ((void *)(ip + 1) > end)
			return 0;
		lower_ttl(ip);
	} else {
		struct ipv6hdr *ip = data;

		if ((void *)(ip + 1) > end)
			return 0;
		ip->hop_limit -= 1;
	}
	return 1;
}

// Puts `to` in the place of one side's address and port, one hop further. The checksum of TCP and UDP is the helper's
// business, because of a segment whose checksum the hardware will finish only the pseudo header counts.
static __always_inline int rewrite(struct __sk_buff *skb, const struct packet *packet, enum side side,
				   const struct endpoint *to)
{
	const struct endpoint *from = side == SOURCE ? &packet->source : &packet->destination;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 at = packet->payload_at, check_at;
	__u64 change, flags = 0;
	__be16 *ports;

	change = changed_address(packet->family, &from->address, &to->address);
	if (packet->family == FAMILY_IPV4) {
		struct iphdr *ip = data + ETH_HLEN;

		if ((void *)(ip + 1) > end)
			return 0;
		lower_ttl(ip);
		ip->check = updated(ip->check, change);
		*(side == SOURCE ? &ip->saddr : &ip->daddr) = to->address.words[3];
	} else {
		struct ipv6hdr *ip = data + ETH_HLEN;

		if ((void *)(ip + 1) > end)
			return 0;
		ip->hop_limit -= 1;
		__builtin_memcpy(side == SOURCE ? &ip->saddr : &ip->daddr, &to->address, sizeof(to->address));
	}
	if (at > HEADER_AT_MAX)
		return 0;
	ports = data + at;
	if ((void *)(ports + 2) > end)
		return 0;
	ports[side == SOURCE ? 0 : 1] = to->port;
	if (to->protocol == IPPROTO_TCP) {
		check_at = at + offsetof(struct tcphdr, check);
	} else {
		check_at = at + offsetof(struct udphdr, check);
		flags = BPF_F_MARK_MANGLED_0;
	}
	if (bpf_l4_csum_replace(skb, check_at, 0, folded32(change), flags | BPF_F_PSEUDO_HDR))
		return 0;
	return from->port == to->port ||
	       bpf_l4_csum_replace(skb, check_at, from->port, to->port, flags | sizeof(__be16)) == 0;
}

// Segments of a super-packet stay as long as they are: whether they fit has been seen to.
#define ENCAPSULATES (BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET)

static __always_inline int prepend(struct __sk_buff *skb, const void *header, __u32 length, __u64 family)
{
	return bpf_skb_adjust_room(skb, length, BPF_ADJ_ROOM_MAC, ENCAPSULATES | family) == 0 &&
	       bpf_skb_store_bytes(skb, ETH_HLEN, header, length, BPF_F_INVALIDATE_HASH) == 0;
}

static __always_inline int encapsulate_v4(struct __sk_buff *skb, const struct packet *packet, __be32 from, __be32 to)
{
	struct iphdr outer = {
		.version = 4,
		.ihl = sizeof(outer) / 4,
		.tos = packet->class,
		.tot_len = bpf_htons(sizeof(outer) + packet->length),
		.frag_off = bpf_htons(DO_NOT_FRAGMENT),
		.ttl = TUNNEL_TTL,
		.protocol = IPPROTO_IPIP,
		.saddr = from,
		.daddr = to,
	};
	const __u16 *words = (const __u16 *)&outer;
	__u64 sum = 0;

	for (unsigned int word = 0; word < sizeof(outer) / sizeof(*words); word++)
		sum += words[word];
	outer.check = ~folded(sum);
	return prepend(skb, &outer, sizeof(outer), BPF_F_ADJ_ROOM_ENCAP_L3_IPV4);
}

static __always_inline int encapsulate_v6(struct __sk_buff *skb, const struct packet *packet, const struct address *from,
					  const struct address *to)
{
	struct ipv6hdr outer = {
		.version = 6,
		.priority = packet->class >> 4,
		.flow_lbl = { packet->class << 4 },
		.payload_len = bpf_htons(packet->length),
		.nexthdr = IPPROTO_IPV6,
		.hop_limit = TUNNEL_TTL,
	};

	__builtin_memcpy(&outer.saddr, from, sizeof(outer.saddr));
	__builtin_memcpy(&outer.daddr, to, sizeof(outer.daddr));
	return prepend(skb, &outer, sizeof(outer), BPF_F_ADJ_ROOM_ENCAP_L3_IPV6);
}

// Puts the packet into another one of its family.
static __always_inline int encapsulate(struct __sk_buff *skb, const struct packet *packet, const struct address *from,
				       const struct address *to)
{
	if (packet->family == FAMILY_IPV4)
		return encapsulate_v4(skb, packet, from->words[3], to->words[3]);
	return encapsulate_v6(skb, packet, from, to);
}
