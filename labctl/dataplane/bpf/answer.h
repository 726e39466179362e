// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The one thing that a director says itself: a packet does not fit, and how long it may be (RFC 1191, RFC 4443 section 3.2).
// See balancer/forward/icmp.rs.

#pragma once

#define QUOTED_V4 (576 - 20 - 8)   // every host takes 576 bytes (RFC 1812 section 4.3.2.3)
#define QUOTED_V6 (1280 - 40 - 8)  // the least MTU there is (RFC 4443 section 2.4)
#define ANSWER_TTL 64
#define ANSWER_CLASS 0xc0          // "internetwork control" (RFC 1812 section 4.3.2.5)
#define SUM_BYTES_MAX 512          // that bpf_csum_diff took before Linux 6.13

struct icmp_answer {
	__u8 type;
	__u8 code;
	__be16 check;
	__be16 unused;
	__be16 mtu;
};

struct answer_v4 {
	struct iphdr ip;
	struct icmp_answer icmp;
};

struct answer_v6 {
	struct ipv6hdr ip;
	struct icmp_answer icmp;
};

// Cuts the packet to what is quoted, and makes room for headers before it.
static __always_inline int make_room(struct __sk_buff *skb, __u32 quoted, __u32 headers)
{
	return bpf_skb_change_tail(skb, ETH_HLEN + quoted, 0) == 0 &&
	       bpf_skb_adjust_room(skb, headers, BPF_ADJ_ROOM_MAC, 0) == 0 &&
	       bpf_skb_pull_data(skb, ETH_HLEN + headers + quoted) == 0;
}

// Sends the frame back to the hardware address that it came from.
static __always_inline void turn_round(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

static __always_inline __u32 sum_of(void *bytes, __u32 length, __u32 seed)
{
	return bpf_csum_diff(0, 0, bytes, length, seed);
}

static __noinline int answer_v4(struct __sk_buff *skb, __be32 from, __be32 to, __u16 way_mtu)
{
	struct answer_v4 *answer;
	struct ethhdr *eth;
	void *quoted;
	__u32 sum;

	if (!make_room(skb, QUOTED_V4, sizeof(*answer)))
		return 0;
	eth = (void *)(long)skb->data;
	answer = (void *)(eth + 1);
	quoted = answer + 1;
	if (quoted + QUOTED_V4 > (void *)(long)skb->data_end)
		return 0;
	turn_round(eth);
	*answer = (struct answer_v4){
		.ip = {
			.version = 4,
			.ihl = sizeof(answer->ip) / 4,
			.tos = ANSWER_CLASS,
			.tot_len = bpf_htons(sizeof(*answer) + QUOTED_V4),
			.frag_off = bpf_htons(DO_NOT_FRAGMENT),
			.ttl = ANSWER_TTL,
			.protocol = IPPROTO_ICMP,
			.saddr = from,
			.daddr = to,
		},
		.icmp = { .type = 3, .code = 4, .mtu = bpf_htons(way_mtu) }, // unreachable, fragmentation needed
	};
	answer->ip.check = ~folded(sum_of(&answer->ip, sizeof(answer->ip), 0));
	sum = sum_of(&answer->icmp, sizeof(answer->icmp), 0);
	sum = sum_of(quoted, SUM_BYTES_MAX, sum);
	sum = sum_of(quoted + SUM_BYTES_MAX, QUOTED_V4 - SUM_BYTES_MAX, sum);
	answer->icmp.check = ~folded(sum);
	return 1;
}

static __noinline int answer_v6(struct __sk_buff *skb, const struct address *from, const struct address *to, __u16 way_mtu)
{
	struct answer_v6 *answer;
	struct ethhdr *eth;
	void *quoted;
	__u32 sum;

	if (!from || !to || !make_room(skb, QUOTED_V6, sizeof(*answer)))
		return 0;
	eth = (void *)(long)skb->data;
	answer = (void *)(eth + 1);
	quoted = answer + 1;
	if (quoted + QUOTED_V6 > (void *)(long)skb->data_end)
		return 0;
	turn_round(eth);
	*answer = (struct answer_v6){
		.ip = {
			.version = 6,
			.priority = ANSWER_CLASS >> 4,
			.payload_len = bpf_htons(sizeof(answer->icmp) + QUOTED_V6),
			.nexthdr = IPPROTO_ICMPV6,
			.hop_limit = ANSWER_TTL,
		},
		.icmp = { .type = 2, .mtu = bpf_htons(way_mtu) }, // packet too big
	};
	__builtin_memcpy(&answer->ip.saddr, from, sizeof(*from));
	__builtin_memcpy(&answer->ip.daddr, to, sizeof(*to));
	// The pseudo header: both addresses, the length, and the protocol.
	sum = sum_of(&answer->ip.saddr, 2 * sizeof(*from), bpf_htons(sizeof(answer->icmp) + QUOTED_V6));
	sum = sum_of(&answer->icmp, sizeof(answer->icmp), sum);
	sum = sum_of(quoted, SUM_BYTES_MAX, sum);
	sum = sum_of(quoted + SUM_BYTES_MAX, SUM_BYTES_MAX, sum);
	sum = sum_of(quoted + 2 * SUM_BYTES_MAX, QUOTED_V6 - 2 * SUM_BYTES_MAX, sum);
	answer->icmp.check = ~folded((__u64)sum + bpf_htons(IPPROTO_ICMPV6));
	return 1;
}
