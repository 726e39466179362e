// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// ICMP errors about packets of a connection: which they are, and what NAT does to them. They are rare, so all of this goes by
// helpers that copy. See `error` in balancer/forward/frame.rs and `rewritten_error` in nat.rs.

#pragma once

#define ICMP_CHECK 2 // where the checksum is, in ICMP and ICMPv6

// The packet that an error is about, as far as it is quoted.
struct quoted {
	struct endpoint source;
	struct endpoint destination;
	__u32 at;         // its IP header
	__u32 payload_at; // its ports
	__u32 end;        // of the error
};

static __always_inline int is_error(__u16 family, __u8 type)
{
	if (family == FAMILY_IPV4) // unreachable, time exceeded, parameter problem (RFC 792)
		return type == 3 || type == 11 || type == 12;
	return type >= 1 && type <= 4; // unreachable, too big, time exceeded, parameter problem (RFC 4443)
}

static __always_inline __u8 read_quoted_ipv4(struct __sk_buff *skb, struct quoted *quoted)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, quoted->at, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl * 4 < sizeof(ip) ||
	    ip.frag_off & bpf_htons(OFFSET_BITS))
		return 0;
	quoted->payload_at = quoted->at + ip.ihl * 4;
	set_ipv4(&quoted->source.address, ip.saddr);
	set_ipv4(&quoted->destination.address, ip.daddr);
	return ip.protocol;
}

static __always_inline __u8 read_quoted_ipv6(struct __sk_buff *skb, struct quoted *quoted)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, quoted->at, &ip, sizeof(ip)) || ip.version != 6)
		return 0;
	quoted->payload_at = quoted->at + sizeof(ip);
	set_ipv6(&quoted->source.address, &ip.saddr);
	set_ipv6(&quoted->destination.address, &ip.daddr);
	return ip.nexthdr;
}

static __always_inline int same_address(const struct address *a, const struct address *b)
{
	return a->words[0] == b->words[0] && a->words[1] == b->words[1] && a->words[2] == b->words[2] &&
	       a->words[3] == b->words[3];
}

// Reads what an error is about; 0 if the message is none, or about something else than TCP and UDP.
static __noinline int read_quoted(struct __sk_buff *skb, const struct packet *packet, struct quoted *quoted)
{
	__be16 ports[2];
	__u8 type, protocol;

	if (!packet || !quoted || bpf_skb_load_bytes(skb, packet->payload_at, &type, sizeof(type)) ||
	    !is_error(packet->family, type))
		return 0;
	quoted->at = packet->payload_at + ICMP_BYTES;
	quoted->end = ETH_HLEN + packet->length;
	protocol = packet->family == FAMILY_IPV4 ? read_quoted_ipv4(skb, quoted) : read_quoted_ipv6(skb, quoted);
	// It goes to whom the quoted packet came from.
	if ((protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) ||
	    quoted->payload_at + QUOTED_BYTES_MIN > quoted->end ||
	    !same_address(&quoted->source.address, &packet->destination.address) ||
	    bpf_skb_load_bytes(skb, quoted->payload_at, ports, sizeof(ports)))
		return 0;
	quoted->source.port = ports[0];
	quoted->destination.port = ports[1];
	quoted->source.protocol = protocol;
	quoted->destination.protocol = protocol;
	return 1;
}

// Where an address is in an IP header.
static __always_inline __u32 address_at(__u16 family, enum side side)
{
	if (family == FAMILY_IPV4)
		return side == SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr);
	return side == SOURCE ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr);
}

static __always_inline int store_address(struct __sk_buff *skb, __u16 family, __u32 at, const struct address *to)
{
	if (family == FAMILY_IPV4)
		return bpf_skb_store_bytes(skb, at, &to->words[3], sizeof(__be32), 0) == 0;
	return bpf_skb_store_bytes(skb, at, to, sizeof(*to), 0) == 0;
}

// Updates a checksum in the frame; what that changes in a sum over the checksum itself is added to `covering`.
static __always_inline int update_check(struct __sk_buff *skb, __u32 at, __u64 change, int is_optional, __u64 *covering)
{
	__be16 before, after;

	if (bpf_skb_load_bytes(skb, at, &before, sizeof(before)))
		return 0;
	if (is_optional && before == 0)
		return 1;
	after = updated(before, change);
	if (is_optional && after == 0)
		after = 0xffff;
	*covering += changed16(before, after);
	return bpf_skb_store_bytes(skb, at, &after, sizeof(after), 0) == 0;
}

// Puts `to` in the place of one side of the quoted packet, and its address in the place of the other side of the error itself,
// since an error travels against the packet that it is about. The TTL is lowered already.
static __noinline int rewrite_error(struct __sk_buff *skb, const struct packet *packet, const struct quoted *quoted,
				    enum side side, const struct endpoint *to)
{
	const struct endpoint *from;
	const struct address *outer;
	__u64 outer_change, change, port_change, icmp = 0, nothing = 0;
	__u32 check_at;
	__u16 family;
	int is_udp;

	if (!packet || !quoted || !to)
		return 0;
	family = packet->family;
	from = side == SOURCE ? &quoted->source : &quoted->destination;
	outer = side == SOURCE ? &packet->destination.address : &packet->source.address;
	outer_change = changed_address(family, outer, &to->address);
	change = changed_address(family, &from->address, &to->address);
	port_change = changed16(from->port, to->port);
	is_udp = to->protocol == IPPROTO_UDP;

	// The pseudo header of ICMPv6 covers the addresses; ICMP has none, but an IPv4 header has a checksum.
	if (family == FAMILY_IPV4) {
		if (!update_check(skb, IP_CHECK, outer_change, 0, &nothing) ||
		    !update_check(skb, quoted->at + offsetof(struct iphdr, check), change, 0, &icmp))
			return 0;
	} else {
		icmp += outer_change;
	}
	// Of TCP the quotation may end before the checksum.
	check_at = quoted->payload_at + (is_udp ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));
	if (check_at + sizeof(__be16) <= quoted->end && !update_check(skb, check_at, change + port_change, is_udp, &icmp))
		return 0;
	icmp += change + port_change;
	return store_address(skb, family, ETH_HLEN + address_at(family, side == SOURCE ? DESTINATION : SOURCE),
			     &to->address) &&
	       store_address(skb, family, quoted->at + address_at(family, side), &to->address) &&
	       bpf_skb_store_bytes(skb, quoted->payload_at + (side == SOURCE ? 0 : sizeof(__be16)), &to->port,
				   sizeof(to->port), 0) == 0 &&
	       update_check(skb, packet->payload_at + ICMP_CHECK, icmp, 0, &nothing);
}
