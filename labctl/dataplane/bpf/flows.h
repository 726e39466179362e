// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// Which real server a packet goes to: the one that its connection has, or one that is chosen now. What is remembered and what
// is counted is said in balancer/forward/director.rs and flows.rs, how one is chosen in balancer/schedule.rs.

#pragma once

#define NOBODY REAL_IDS_MAX

// The finalizer of MurmurHash3; balancer/schedule.rs has the same functions, and they must never change.
static __always_inline __u32 mixed(__u32 hash)
{
	hash ^= hash >> 16;
	hash *= 0x85ebca6b;
	hash ^= hash >> 13;
	hash *= 0xc2b2ae35;
	hash ^= hash >> 16;
	return hash;
}

static __always_inline __u32 source_hash(__u16 family, const struct address *client)
{
	__u32 hash = 0;

	if (family == FAMILY_IPV6) {
		hash = mixed(bpf_ntohl(client->words[0]));
		hash = mixed(hash ^ bpf_ntohl(client->words[1]));
		hash = mixed(hash ^ bpf_ntohl(client->words[2]));
	}
	return mixed(hash ^ bpf_ntohl(client->words[3]));
}

static __always_inline struct real *installed(__u32 id)
{
	struct real *real = bpf_map_lookup_elem(&reals, &id);

	return real && real->flags & INSTALLED ? real : 0;
}

static __always_inline void count_connection(__u32 id)
{
	struct usage *usage = bpf_map_lookup_elem(&usages, &id);
	__s64 *load = bpf_map_lookup_elem(&loads, &id);

	if (usage)
		usage->connections += 1;
	if (load)
		__sync_fetch_and_add(load, 1);
}

// A connection may have begun before its real server came back to the service, which then never counted it.
static __always_inline void count_end(__u32 id)
{
	__s64 *load = bpf_map_lookup_elem(&loads, &id);

	if (installed(id) && load && *load > 0)
		__sync_fetch_and_add(load, -1);
}

static __always_inline __u32 now(void)
{
	return bpf_ktime_get_coarse_ns() >> 30;
}

static __always_inline void tell(const struct flow_key *key, __u32 id)
{
	struct fresh_flow *flow;

	if (!tells)
		return;
	flow = bpf_ringbuf_reserve(&fresh, sizeof(*flow), 0);
	if (!flow)
		return; // the other director learns of it by its next whole copy
	flow->key = *key;
	flow->real = id;
	bpf_ringbuf_submit(flow, 0);
}

// Marks a connection closed that the client says goodbye to, and takes it off the count if it is the first to do so.
static __always_inline void close(struct flow *flow)
{
	if (!(flow->state & CLOSED) && !(__sync_fetch_and_or(&flow->state, CLOSED) & CLOSED))
		count_end(flow->state & REAL_BITS);
}

// Enters a flow. Of two packets of one connection on two processors only one does.
static __always_inline int enter(const struct flow_key *key, __u32 state)
{
	struct flow flow = { .state = state, .seen = now() };

	return bpf_map_update_elem(&flows, key, &flow, BPF_NOEXIST) == 0;
}

// An opening that has not become a flow yet.
static __always_inline struct flow *opening_of(const struct flow_key *key)
{
	struct flow *opening = bpf_map_lookup_elem(&openings, key);

	return opening && !(opening->state & SETTLED) ? opening : 0;
}

// The real server that a connection has already. An opening may not stay with one that takes no new connections, nor with one
// that the connection before it of the same client and port had; nothing stays with one that has left.
static __always_inline __u32 kept(const struct flow_key *key, enum stage stage, struct flow *entry, int is_flow)
{
	__u32 state = entry->state, id = state & REAL_BITS, seen = now();
	struct real *real = installed(id);

	if (!real || (stage == OPENS && (state & CLOSED || !(real->flags & TAKES_NEW))))
		return NOBODY;
	// Written only when it changes: processors then share what they only read.
	if (entry->seen != seen)
		entry->seen = seen;
	if (!is_flow && (stage == GOES_ON || stage == CLOSES)) {
		entry->state |= SETTLED;
		if (enter(key, state | (stage == CLOSES ? CLOSED : 0)))
			tell(key, id);
		if (stage == CLOSES && !(state & CLOSED))
			count_end(id);
	} else if (stage == CLOSES || stage == RESETS) {
		close(entry);
	}
	return id;
}

// Forgets what the tables have of a connection that begins anew.
static __noinline void forget(const struct flow_key *key, __u32 state)
{
	bpf_map_delete_elem(&flows, key);
	bpf_map_delete_elem(&openings, key);
	if (!(state & CLOSED))
		count_end(state & REAL_BITS);
}

// A comparison of candidates by load.
struct contest {
	struct service *service;
	__u64 load; // of the best so far
	__u32 weight;
	__u32 best;
	__u32 is_idle;
};

// Two fractions are compared by multiplying each with the other's denominator. Of equals the first one stays.
static long compare(__u32 index, struct contest *contest)
{
	struct service *service = contest->service;
	struct candidate *candidate;
	__u32 id, is_idle;
	__s64 *active;
	__u64 load;

	if (index >= REALS_MAX)
		return 1;
	candidate = &service->candidates[index];
	id = candidate->real;
	active = bpf_map_lookup_elem(&loads, &id);
	if (!active)
		return 1;
	load = *active;
	is_idle = service->scheduler == NEVER_QUEUE && load == 0;
	if (service->scheduler != LEAST_LOADED)
		load += 1;
	if (contest->best != NOBODY &&
	    (is_idle < contest->is_idle ||
	     (is_idle == contest->is_idle && load * contest->weight >= contest->load * candidate->weight)))
		return 0;
	contest->load = load;
	contest->weight = candidate->weight;
	contest->best = id;
	contest->is_idle = is_idle;
	return 0;
}

static __always_inline __u32 least_loaded(struct service *service)
{
	struct contest contest = { .service = service, .best = NOBODY };

	bpf_loop(service->candidate_count, compare, &contest, 0);
	return contest.best;
}

static __always_inline __u32 in_slot(struct service *service, __u32 number)
{
	__u32 slots = service->slot_count, slot;

	if (slots == 0 || slots > SLOTS_MAX)
		return NOBODY;
	slot = number % slots;
	// The compiler knows that this holds and would drop it; the verifier does not know.
	barrier_var(slot);
	if (slot >= SLOTS_MAX)
		return NOBODY;
	return service->reals[service->slots[slot]];
}

// By its source, which any other director would choose by too.
static __always_inline __u32 by_source(struct service *service, __u16 family, const struct flow_key *key)
{
	__u32 hash = source_hash(family, &key->client);

	if (service->scheduler == BY_ADDRESS_AND_PORT)
		hash = mixed(hash ^ bpf_ntohs(key->port));
	return in_slot(service, hash);
}

// For a new connection.
static __always_inline __u32 by_schedule(struct service *service, __u16 family, const struct flow_key *key)
{
	__u32 scheduler = service->scheduler;

	if (service->slot_count == 0)
		return NOBODY;
	if (scheduler >= BY_ADDRESS)
		return by_source(service, family, key);
	if (scheduler == IN_TURN)
		return in_slot(service, __sync_fetch_and_add(&service->turn, 1));
	return least_loaded(service);
}

// A real server for a connection that has none here, or may not keep `former`.
static __always_inline __u32 chosen(struct service *service, const struct packet *packet, const struct flow_key *key,
				    const struct flow *former)
{
	int opens = packet->stage == OPENS || packet->source.protocol == IPPROTO_UDP;
	__u32 id = opens ? by_schedule(service, packet->family, key) : by_source(service, packet->family, key);

	if (id >= NOBODY)
		return NOBODY;
	if (former)
		forget(key, former->state);
	if (packet->stage == OPENS) {
		// The same choice comes out of a hash again, so a flood of SYNs costs nothing.
		if (service->scheduler < BY_ADDRESS) {
			struct flow opening = { .state = id, .seen = now() };

			bpf_map_update_elem(&openings, key, &opening, BPF_ANY);
			count_connection(id);
		}
	} else if (packet->stage != RESETS) {
		if (enter(key, id | (packet->stage == CLOSES ? CLOSED : 0))) {
			count_connection(id);
			if (packet->stage == CLOSES)
				count_end(id);
			tell(key, id);
		}
	}
	return id;
}
