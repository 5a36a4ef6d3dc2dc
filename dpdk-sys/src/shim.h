/* SPDX-License-Identifier: Apache-2.0
 *
 * What bindgen reads, and what it cannot see by itself: functions that DPDK defines inline, macros with casts, and the
 * places of rte_mbuf's fields (whose anonymous unions change their shape between releases, while their names do not).
 * No value is retyped here: each comes from DPDK's own header when this is compiled.
 */
#ifndef WEIR_DPDK_SHIM_H
#define WEIR_DPDK_SHIM_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* Where rte_mbuf keeps what the packet path reads and writes, in bytes. */
enum {
	WEIR_MBUF_SIZE = sizeof(struct rte_mbuf),
	WEIR_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	WEIR_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	WEIR_MBUF_REFCNT = offsetof(struct rte_mbuf, refcnt),
	WEIR_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	WEIR_MBUF_PORT = offsetof(struct rte_mbuf, port),
	WEIR_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	WEIR_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	WEIR_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	WEIR_MBUF_VLAN_TCI = offsetof(struct rte_mbuf, vlan_tci),
	WEIR_MBUF_HASH_RSS = offsetof(struct rte_mbuf, hash.rss),
	WEIR_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	WEIR_MBUF_NEXT = offsetof(struct rte_mbuf, next),
};

#define WEIR_U64(name) static const uint64_t WEIR_##name = name
WEIR_U64(RTE_MBUF_F_INDIRECT);
WEIR_U64(RTE_MBUF_F_EXTERNAL);
WEIR_U64(RTE_MBUF_F_RX_RSS_HASH);
WEIR_U64(RTE_MBUF_F_RX_IP_CKSUM_MASK);
WEIR_U64(RTE_MBUF_F_RX_IP_CKSUM_BAD);
WEIR_U64(RTE_MBUF_F_RX_IP_CKSUM_GOOD);
WEIR_U64(RTE_MBUF_F_RX_IP_CKSUM_NONE);
WEIR_U64(RTE_MBUF_F_RX_L4_CKSUM_MASK);
WEIR_U64(RTE_MBUF_F_RX_L4_CKSUM_BAD);
WEIR_U64(RTE_MBUF_F_RX_L4_CKSUM_GOOD);
WEIR_U64(RTE_MBUF_F_RX_L4_CKSUM_NONE);
WEIR_U64(RTE_MBUF_F_TX_IPV4);
WEIR_U64(RTE_MBUF_F_TX_IPV6);
WEIR_U64(RTE_MBUF_F_TX_IP_CKSUM);
WEIR_U64(RTE_MBUF_F_TX_TCP_CKSUM);
WEIR_U64(RTE_MBUF_F_TX_UDP_CKSUM);
WEIR_U64(RTE_MBUF_F_TX_TCP_SEG);
WEIR_U64(RTE_ETH_RX_OFFLOAD_IPV4_CKSUM);
WEIR_U64(RTE_ETH_RX_OFFLOAD_TCP_CKSUM);
WEIR_U64(RTE_ETH_RX_OFFLOAD_UDP_CKSUM);
WEIR_U64(RTE_ETH_RX_OFFLOAD_SCATTER);
WEIR_U64(RTE_ETH_RX_OFFLOAD_RSS_HASH);
WEIR_U64(RTE_ETH_TX_OFFLOAD_IPV4_CKSUM);
WEIR_U64(RTE_ETH_TX_OFFLOAD_TCP_CKSUM);
WEIR_U64(RTE_ETH_TX_OFFLOAD_UDP_CKSUM);
WEIR_U64(RTE_ETH_TX_OFFLOAD_TCP_TSO);
WEIR_U64(RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
WEIR_U64(RTE_ETH_RSS_IPV4);
WEIR_U64(RTE_ETH_RSS_NONFRAG_IPV4_TCP);
WEIR_U64(RTE_ETH_RSS_NONFRAG_IPV4_UDP);
WEIR_U64(RTE_ETH_RSS_FRAG_IPV4);
WEIR_U64(RTE_ETH_RSS_NONFRAG_IPV4_OTHER);
WEIR_U64(RTE_ETH_RSS_FRAG_IPV6);
WEIR_U64(RTE_ETH_RSS_NONFRAG_IPV6_OTHER);
WEIR_U64(RTE_ETH_RSS_IPV6);
WEIR_U64(RTE_ETH_RSS_NONFRAG_IPV6_TCP);
WEIR_U64(RTE_ETH_RSS_NONFRAG_IPV6_UDP);
WEIR_U64(RTE_ETH_RETA_GROUP_SIZE);
WEIR_U64(RTE_MEMPOOL_CACHE_MAX_SIZE);
#undef WEIR_U64

/* Thread-local state that DPDK keeps behind macros. */
int weir_errno(void);
unsigned int weir_lcore_id(void);
uint64_t weir_rdtsc(void);

/* The burst calls: one indirect call each, so the shim's own call disappears in a burst. */
uint16_t weir_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t max);
uint16_t weir_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);

/* Buffers. weir_alloc gives NULL and weir_alloc_bulk not 0 when the pool is empty. */
struct rte_mbuf *weir_alloc(struct rte_mempool *pool);
int weir_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int count);
void weir_free(struct rte_mbuf *frame);
int weir_chain(struct rte_mbuf *head, struct rte_mbuf *tail);
/* The layer lengths that transmit offloads need; bit fields, so written here. */
void weir_set_tx_lengths(struct rte_mbuf *frame, uint8_t l2, uint16_t l3, uint8_t l4, uint16_t tso_segment);
uint64_t weir_tx_lengths(const struct rte_mbuf *frame);

/* rte_eth_link is a bit field in some releases and a union of one in others. Gives a negative number on failure. */
int weir_link(uint16_t port, int *up, uint32_t *mbps);

#endif
