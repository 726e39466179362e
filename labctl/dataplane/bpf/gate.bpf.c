// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// The lease gate on every link with a floating address. A leased address lives only as long as user space says, by a point
// on the monotonic clock: past it, this node does not answer for the address, does not announce it, and neither takes nor
// sends its packets. `gate_ingress` sits on the ingress and `gate_egress` on the egress, before every other program.
//
// It decides by the address alone. Whatever it cannot read goes on (TCX_NEXT): VLANs, malformed headers, other protocols.
// So do advertisements: the owner of an address sends them from it, and an election must go on without a lease.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// The layouts and sizes below are mirrored in dataplane/gate.rs.

#define ADDRESSES_MAX 1024 // four full advertisements

// Verdicts of a tcx program. Linux 6.6 brought them; the headers of Debian 12 are older.
#define NEXT (-1) // TCX_NEXT
#define DROP 2    // TCX_DROP

#define ETHERNET 1 // ARPHRD_ETHER
#define VRRP 112
#define NEIGHBOUR_SOLICITATION 135
#define NEIGHBOUR_ADVERTISEMENT 136

// An IPv6 address, or an IPv4 one as ::ffff:a.b.c.d.
struct address {
	__be32 words[4];
};

struct lease {
	__u64 answers_until; // nanoseconds of CLOCK_MONOTONIC
	__u64 passes_until;
	__u32 accept; // are packets to the address taken at all?
	__u32 unused;
};

// Preallocated, so that a renewal cannot fail for want of memory. An entry is replaced as a whole.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ADDRESSES_MAX);
	__type(key, struct address);
	__type(value, struct lease);
} leases SEC(".maps");

// RFC 826. The kernel's own header of it drags in more than a BPF target has.
struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__u8 sender[4];
	__u8 target_mac[ETH_ALEN];
	__u8 target[4];
} __attribute__((packed));

// Solicitation and advertisement begin alike (RFC 4861 sections 4.3 and 4.4).
struct discovery {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 flags;
	struct address target;
};

static __always_inline int alive(__u64 until)
{
	return bpf_ktime_get_ns() < until;
}

static __always_inline struct lease *lease_of(const struct address *address)
{
	return bpf_map_lookup_elem(&leases, address);
}

static __always_inline struct lease *lease_of_ipv4(__be32 address)
{
	struct address mapped = { .words = { 0, 0, bpf_htonl(0xffff), address } };

	return lease_of(&mapped);
}

static __always_inline struct lease *lease_of_ipv6(const struct in6_addr *address)
{
	struct address copy;

	__builtin_memcpy(&copy, address, sizeof(copy));
	return lease_of(&copy);
}

// The header of this length behind the Ethernet header and `before` more bytes; null if the frame is shorter.
static __always_inline void *header(struct __sk_buff *skb, __u32 before, __u32 length)
{
	__u32 end = ETH_HLEN + before + length;

	if ((void *)(long)skb->data + end > (void *)(long)skb->data_end &&
	    (skb->len < end || bpf_skb_pull_data(skb, end)))
		return 0;
	if ((void *)(long)skb->data + end > (void *)(long)skb->data_end)
		return 0;
	return (void *)(long)skb->data + ETH_HLEN + before;
}

static __always_inline __be16 ethertype(struct __sk_buff *skb)
{
	// An Ethernet header is in the linear part of every frame.
	struct ethhdr *eth = (void *)(long)skb->data;

	if (skb->vlan_present || (void *)(eth + 1) > (void *)(long)skb->data_end)
		return 0;
	return eth->h_proto;
}

// May packets to this address be taken?
static __always_inline int takes(const struct lease *lease)
{
	return !lease || (lease->accept && alive(lease->passes_until));
}

// May packets from this address be sent?
static __always_inline int sends(const struct lease *lease)
{
	return !lease || alive(lease->passes_until);
}

// May this node say that it has the address?
static __always_inline int answers(const struct lease *lease)
{
	return !lease || alive(lease->answers_until);
}

// The ICMPv6 type of a neighbour discovery message that a node with a leased address may send; 0 for anything else.
static __always_inline int discovery_type(struct __sk_buff *skb)
{
	struct discovery *message = header(skb, sizeof(struct ipv6hdr), sizeof(*message));

	if (!message)
		return 0;
	if (message->type != NEIGHBOUR_SOLICITATION && message->type != NEIGHBOUR_ADVERTISEMENT)
		return 0;
	return message->type;
}

static __always_inline int ingress_ipv4(struct __sk_buff *skb)
{
	struct iphdr *ip = header(skb, 0, sizeof(*ip));

	if (!ip || ip->version != 4 || ip->protocol == VRRP)
		return NEXT;
	return takes(lease_of_ipv4(ip->daddr)) ? NEXT : DROP;
}

static __always_inline int ingress_ipv6(struct __sk_buff *skb)
{
	struct ipv6hdr *ip = header(skb, 0, sizeof(*ip));

	if (!ip || ip->version != 6 || ip->nexthdr == VRRP)
		return NEXT;
	if (takes(lease_of_ipv6(&ip->daddr)))
		return NEXT;
	// RFC 9568 section 6.4.3: whatever Accept_Mode says, these are not dropped.
	if (ip->nexthdr == IPPROTO_ICMPV6 && discovery_type(skb))
		return NEXT;
	return DROP;
}

static __always_inline int egress_arp(struct __sk_buff *skb)
{
	struct arp_ipv4 *arp = header(skb, 0, sizeof(*arp));
	__be32 sender;

	if (!arp || arp->hardware != bpf_htons(ETHERNET) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->hardware_length != ETH_ALEN || arp->protocol_length != sizeof(sender))
		return NEXT;
	__builtin_memcpy(&sender, arp->sender, sizeof(sender));
	// A request from the address says where it lives no less than an answer does.
	return answers(lease_of_ipv4(sender)) ? NEXT : DROP;
}

static __always_inline int egress_ipv4(struct __sk_buff *skb)
{
	struct iphdr *ip = header(skb, 0, sizeof(*ip));

	if (!ip || ip->version != 4 || ip->protocol == VRRP)
		return NEXT;
	return sends(lease_of_ipv4(ip->saddr)) ? NEXT : DROP;
}

static __always_inline int egress_ipv6(struct __sk_buff *skb)
{
	struct ipv6hdr *ip = header(skb, 0, sizeof(*ip));
	struct discovery *message;
	struct lease *source;
	struct address target;

	if (!ip || ip->version != 6 || ip->nexthdr == VRRP)
		return NEXT;
	source = lease_of_ipv6(&ip->saddr);
	if (!sends(source))
		return DROP;
	if (ip->nexthdr != IPPROTO_ICMPV6)
		return NEXT;
	message = header(skb, sizeof(*ip), sizeof(*message));
	if (!message)
		return NEXT;
	if (message->type == NEIGHBOUR_SOLICITATION) // says where its source lives
		return answers(source) ? NEXT : DROP;
	if (message->type != NEIGHBOUR_ADVERTISEMENT)
		return NEXT;
	__builtin_memcpy(&target, &message->target, sizeof(target));
	return answers(lease_of(&target)) ? NEXT : DROP;
}

SEC("classifier")
int gate_ingress(struct __sk_buff *skb)
{
	__be16 type = ethertype(skb);

	if (type == bpf_htons(ETH_P_IP))
		return ingress_ipv4(skb);
	if (type == bpf_htons(ETH_P_IPV6))
		return ingress_ipv6(skb);
	return NEXT;
}

SEC("classifier")
int gate_egress(struct __sk_buff *skb)
{
	__be16 type = ethertype(skb);

	if (type == bpf_htons(ETH_P_ARP))
		return egress_arp(skb);
	if (type == bpf_htons(ETH_P_IP))
		return egress_ipv4(skb);
	if (type == bpf_htons(ETH_P_IPV6))
		return egress_ipv6(skb);
	return NEXT;
}

char _license[] SEC("license") = "Dual MIT/GPL";
