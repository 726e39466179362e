// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The end of a tunnel on a real server of VS/TUN, for a kernel without a tunnel device: IPv4 in IPv4 (RFC 2003) and IPv6 in IPv6
// (RFC 2473) to this machine lose their outer header, if the inner packet is for a virtual address, and go on into the
// stack. Whatever else comes goes on unchanged (TCX_NEXT), and the kernel does with it what it would do without us.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VIRTUALS_MAX 256
#define FRAGMENT_BITS 0x3fff // "more fragments" and the offset (RFC 791 section 3.1)

// Verdicts of a tcx program. Linux 6.6 brought them; the headers of Debian 12 are older.
#define NEXT (-1) // TCX_NEXT
#define DROP 2    // TCX_DROP

// Flags of bpf_skb_adjust_room, of Linux 6.4.
#define DECAP_L3_IPV4 (1ULL << 7)
#define DECAP_L3_IPV6 (1ULL << 8)

#define FAMILY_IPV4 2  // AF_INET, which only the C library's headers define
#define FAMILY_IPV6 10 // AF_INET6

#define ECN_BITS 3
#define CONGESTION 3 // met on the way of the tunnel (RFC 3168)

// An IPv6 address, or an IPv4 one as ::ffff:a.b.c.d.
struct address {
	__be32 words[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, VIRTUALS_MAX);
	__type(key, struct address);
	__type(value, __u32);
} virtuals SEC(".maps");

struct tunnel_v4 {
	struct ethhdr eth;
	struct iphdr outer;
	struct iphdr inner;
} __attribute__((packed));

struct tunnel_v6 {
	struct ethhdr eth;
	struct ipv6hdr outer;
	struct ipv6hdr inner;
} __attribute__((packed));

static __always_inline int pull(struct __sk_buff *skb, __u32 length)
{
	if ((void *)(long)skb->data + length <= (void *)(long)skb->data_end)
		return 1;
	return skb->len >= length && bpf_skb_pull_data(skb, length) == 0;
}

// Does the tunnel end here? Its packets are for our hardware address; if they are for another host, then the kernel has a
// way to it. Of a machine that forwards nothing the helper says so, and such a machine is the end.
static __always_inline int ends_here(struct __sk_buff *skb, struct bpf_fib_lookup *route)
{
	route->ifindex = skb->ifindex;
	return bpf_fib_lookup(skb, route, sizeof(*route), 0) != BPF_FIB_LKUP_RET_SUCCESS;
}

// Takes the outer header off. Segments of a super-packet are as long as they were before the tunnel. Congestion on the way of
// the tunnel is passed on, and to those who do not understand it as a loss (RFC 6040 section 4.2).
static __always_inline int strip(struct __sk_buff *skb, int length, __u64 family, __u8 class)
{
	if (bpf_skb_adjust_room(skb, -length, BPF_ADJ_ROOM_MAC,
				family | BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return DROP;
	return (class & ECN_BITS) == CONGESTION && !bpf_skb_ecn_set_ce(skb) ? DROP : NEXT;
}

static __always_inline int decapsulate_v4(struct __sk_buff *skb)
{
	struct tunnel_v4 *tunnel;
	struct address to = { .words = { 0, 0, bpf_htonl(0xffff), 0 } };
	struct bpf_fib_lookup route = { .family = FAMILY_IPV4, .l4_protocol = IPPROTO_IPIP };
	__u8 class;

	if (!pull(skb, sizeof(*tunnel)))
		return NEXT;
	tunnel = (void *)(long)skb->data;
	if ((void *)(tunnel + 1) > (void *)(long)skb->data_end || tunnel->outer.protocol != IPPROTO_IPIP ||
	    tunnel->outer.ihl != sizeof(tunnel->outer) / 4 || tunnel->outer.frag_off & bpf_htons(FRAGMENT_BITS) ||
	    tunnel->inner.version != 4)
		return NEXT;
	to.words[3] = tunnel->inner.daddr;
	route.ipv4_src = tunnel->outer.saddr;
	route.ipv4_dst = tunnel->outer.daddr;
	class = tunnel->outer.tos;
	if (!bpf_map_lookup_elem(&virtuals, &to) || !ends_here(skb, &route))
		return NEXT;
	return strip(skb, sizeof(tunnel->outer), DECAP_L3_IPV4, class);
}

static __always_inline int decapsulate_v6(struct __sk_buff *skb)
{
	struct tunnel_v6 *tunnel;
	struct bpf_fib_lookup route = { .family = FAMILY_IPV6, .l4_protocol = IPPROTO_IPV6 };
	struct address to;
	__u8 class;

	if (!pull(skb, sizeof(*tunnel)))
		return NEXT;
	tunnel = (void *)(long)skb->data;
	if ((void *)(tunnel + 1) > (void *)(long)skb->data_end || tunnel->outer.nexthdr != IPPROTO_IPV6 ||
	    tunnel->inner.version != 6)
		return NEXT;
	__builtin_memcpy(&to, &tunnel->inner.daddr, sizeof(to));
	__builtin_memcpy(route.ipv6_src, &tunnel->outer.saddr, sizeof(to));
	__builtin_memcpy(route.ipv6_dst, &tunnel->outer.daddr, sizeof(to));
	class = tunnel->outer.flow_lbl[0] >> 4;
	if (!bpf_map_lookup_elem(&virtuals, &to) || !ends_here(skb, &route))
		return NEXT;
	return strip(skb, sizeof(tunnel->outer), DECAP_L3_IPV6, class);
}

SEC("classifier")
int decapsulate(struct __sk_buff *skb)
{
	if (skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return NEXT;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return decapsulate_v4(skb);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return decapsulate_v6(skb);
	return NEXT;
}

char _license[] SEC("license") = "Dual MIT/GPL";
