/* SPDX-License-Identifier: Apache-2.0 */
#include "shim.h"

int weir_errno(void) { return rte_errno; }

unsigned int weir_lcore_id(void) { return rte_lcore_id(); }

uint64_t weir_rdtsc(void) { return rte_rdtsc(); }

uint16_t weir_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t max)
{
	return rte_eth_rx_burst(port, queue, frames, max);
}

uint16_t weir_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, frames, count);
}

struct rte_mbuf *weir_alloc(struct rte_mempool *pool) { return rte_pktmbuf_alloc(pool); }

int weir_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, frames, count);
}

void weir_free(struct rte_mbuf *frame) { rte_pktmbuf_free(frame); }

int weir_chain(struct rte_mbuf *head, struct rte_mbuf *tail) { return rte_pktmbuf_chain(head, tail); }

void weir_set_tx_lengths(struct rte_mbuf *frame, uint8_t l2, uint16_t l3, uint8_t l4, uint16_t tso_segment)
{
	frame->tx_offload = rte_mbuf_tx_offload(l2, l3, l4, tso_segment, 0, 0, 0);
}

uint64_t weir_tx_lengths(const struct rte_mbuf *frame) { return frame->tx_offload; }

int weir_link(uint16_t port, int *up, uint32_t *mbps)
{
	struct rte_eth_link link = {0};
	int answer = rte_eth_link_get_nowait(port, &link);

	*up = link.link_status == RTE_ETH_LINK_UP;
	*mbps = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
	return answer;
}
